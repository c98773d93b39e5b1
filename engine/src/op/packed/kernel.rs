//! The inner loop: a block of rows times a panel of outputs, in registers.
//!
//! Every output is a sum over inputs in the same order, however many rows are beside it: a row of a batch gives the same
//! bits as that row alone.

use half::slice::{HalfBitsSliceExt as _, HalfFloatSliceExt as _};
use pulp::bytemuck::{cast_slice, pod_read_unaligned};
use pulp::{Arch, NullaryFnOnce, Scalar, Simd};

/// Outputs in a panel.
pub(super) const PANEL: usize = 48;
/// Inputs after which a sum is put aside: fewer numbers in a sum lose less, and so many fit the nearest cache.
const DEPTH: usize = 256;

/// How a number of a weight is kept.
pub(crate) trait Format: 'static {
    /// Its bits.
    type Bits: pulp::bytemuck::Pod + Send + Sync;
    /// `L` of them, as a vector of the machine.
    fn widen<S: Wide<L>, const L: usize>(simd: S, bits: &[Self::Bits; L]) -> S::f32s;
    /// One of them.
    fn value(bits: Self::Bits) -> f32;
    /// As many as there are.
    fn values(bits: &[Self::Bits], found: &mut [f32]) {
        found.iter_mut().zip(bits).for_each(|(found, bits)| *found = Self::value(*bits));
    }
}

/// IEEE half precision.
pub(crate) struct Half;
/// The upper half of an f32.
pub(crate) struct Brain;
/// f32.
pub(crate) struct Single;

impl Format for Half {
    type Bits = u16;
    #[inline(always)]
    fn widen<S: Wide<L>, const L: usize>(simd: S, bits: &[u16; L]) -> S::f32s {
        simd.half(bits)
    }
    #[inline(always)]
    fn value(bits: u16) -> f32 {
        half::f16::from_bits(bits).to_f32()
    }
    /// Looks once, not for every number, whether the machine has an instruction for it.
    fn values(bits: &[u16], found: &mut [f32]) {
        bits.reinterpret_cast::<half::f16>().convert_to_f32_slice(found);
    }
}

impl Format for Brain {
    type Bits = u16;
    #[inline(always)]
    fn widen<S: Wide<L>, const L: usize>(simd: S, bits: &[u16; L]) -> S::f32s {
        simd.brain(bits)
    }
    #[inline(always)]
    fn value(bits: u16) -> f32 {
        f32::from_bits(u32::from(bits) << 16)
    }
}

impl Format for Single {
    type Bits = f32;
    #[inline(always)]
    fn widen<S: Wide<L>, const L: usize>(_: S, bits: &[f32; L]) -> S::f32s {
        pod_read_unaligned(cast_slice(bits))
    }
    #[inline(always)]
    fn value(bits: f32) -> f32 {
        bits
    }
}

/// Vectors of `L` numbers.
pub(crate) trait Wide<const L: usize>: Simd {
    /// Rows in a block: with three vectors of outputs each, as many sums as there are registers for.
    const ROWS: usize;
    /// Half precision to f32.
    fn half(self, bits: &[u16; L]) -> Self::f32s;
    /// The upper half of f32 to f32.
    fn brain(self, bits: &[u16; L]) -> Self::f32s;
}

#[cfg(target_arch = "x86_64")]
impl Wide<16> for pulp::x86::V4 {
    const ROWS: usize = 8;
    #[inline(always)]
    fn half(self, bits: &[u16; 16]) -> Self::f32s {
        pulp::bytemuck::cast(self.avx512f._mm512_cvtph_ps(pod_read_unaligned(cast_slice(bits))))
    }
    #[inline(always)]
    fn brain(self, bits: &[u16; 16]) -> Self::f32s {
        let wide = self.avx512f._mm512_cvtepu16_epi32(pod_read_unaligned(cast_slice(bits)));
        pulp::bytemuck::cast(self.avx512f._mm512_slli_epi32::<16>(wide))
    }
}

#[cfg(target_arch = "x86_64")]
impl Wide<8> for pulp::x86::V3 {
    const ROWS: usize = 4;
    #[inline(always)]
    fn half(self, bits: &[u16; 8]) -> Self::f32s {
        // Exponent and mantissa to their places; a product with 2¹¹² sets the exponent right, of subnormal numbers too.
        // Weights are finite: see `Packed`.
        let wide = self.avx2._mm256_cvtepu16_epi32(pod_read_unaligned(cast_slice(bits)));
        let size = self.avx2._mm256_and_si256(wide, pulp::bytemuck::cast([0x7fff_u32; 8]));
        let size = self.avx._mm256_castsi256_ps(self.avx2._mm256_slli_epi32::<13>(size));
        let size = self.avx._mm256_mul_ps(size, pulp::bytemuck::cast([f32::from_bits(239 << 23); 8]));
        let sign = self.avx2._mm256_and_si256(wide, pulp::bytemuck::cast([0x8000_u32; 8]));
        let sign = self.avx2._mm256_slli_epi32::<16>(sign);
        pulp::bytemuck::cast(self.avx2._mm256_or_si256(self.avx._mm256_castps_si256(size), sign))
    }
    #[inline(always)]
    fn brain(self, bits: &[u16; 8]) -> Self::f32s {
        let wide = self.avx2._mm256_cvtepu16_epi32(pod_read_unaligned(cast_slice(bits)));
        pulp::bytemuck::cast(self.avx2._mm256_slli_epi32::<16>(wide))
    }
}

impl Wide<1> for Scalar {
    const ROWS: usize = 4;
    #[inline(always)]
    fn half(self, bits: &[u16; 1]) -> f32 {
        Half::value(bits[0])
    }
    #[inline(always)]
    fn brain(self, bits: &[u16; 1]) -> f32 {
        Brain::value(bits[0])
    }
}

/// Rows in a block of `x`, on this machine.
pub(crate) fn rows(arch: Arch) -> usize {
    match arch {
        #[cfg(target_arch = "x86_64")]
        Arch::V4(_) => <pulp::x86::V4 as Wide<16>>::ROWS,
        #[cfg(target_arch = "x86_64")]
        Arch::V3(_) => <pulp::x86::V3 as Wide<8>>::ROWS,
        _ => <Scalar as Wide<1>>::ROWS,
    }
}

/// out (rows, `PANEL`) += x·panel: `x` is in blocks (see [`blocks`]), `panel` is (inputs, `PANEL`).
pub(super) fn panel<F: Format>(arch: Arch, x: &[f32], n_in: usize, weights: &[F::Bits], out: &mut [f32]) {
    match arch {
        #[cfg(target_arch = "x86_64")]
        Arch::V4(simd) => simd.vectorize(Panel::<_, F, 16, 3> { simd, x, n_in, weights, out }),
        #[cfg(target_arch = "x86_64")]
        Arch::V3(simd) => simd.vectorize(Panel::<_, F, 8, 3> { simd, x, n_in, weights, out }),
        _ => Panel::<_, F, 1, 48> { simd: Scalar, x, n_in, weights, out }.call(),
    }
}

/// A closure would not do: the compiler puts a call before it, which it does not inline when so much is behind it, and what
/// is not inlined is not compiled for the machine's vectors.
struct Panel<'a, S, F: Format, const L: usize, const N: usize> {
    simd: S,
    x: &'a [f32],
    n_in: usize,
    weights: &'a [F::Bits],
    out: &'a mut [f32],
}

impl<S: Wide<L>, F: Format, const L: usize, const N: usize> NullaryFnOnce for Panel<'_, S, F, L, N> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        in_vectors::<S, F, L, N>(self.simd, self.x, self.n_in, self.weights, self.out);
    }
}

/// Rows of `n_in` numbers in blocks of [`rows`], each (inputs, rows in it).
pub(crate) fn blocks(arch: Arch, x: &[f32], n_in: usize) -> Vec<f32> {
    let mut blocked = vec![0.0; x.len()];
    let size = rows(arch) * n_in;
    for (blocked, x) in blocked.chunks_mut(size).zip(x.chunks(size)) {
        let n_rows = x.len() / n_in;
        for (row, x) in x.chunks_exact(n_in).enumerate() {
            for (blocked, x) in blocked.chunks_exact_mut(n_rows).zip(x) {
                blocked[row] = *x;
            }
        }
    }
    blocked
}

#[inline(always)]
fn in_vectors<S: Wide<L>, F: Format, const L: usize, const N: usize>(
    simd: S,
    x: &[f32],
    n_in: usize,
    weights: &[F::Bits],
    out: &mut [f32],
) {
    for first in (0..n_in).step_by(DEPTH) {
        let end = (first + DEPTH).min(n_in);
        let weights = &weights[first * PANEL..end * PANEL];
        let blocks = x.chunks(S::ROWS * n_in).zip(out.chunks_mut(S::ROWS * PANEL));
        for (x, out) in blocks {
            let n_rows = out.len() / PANEL;
            let x = &x[first * n_rows..end * n_rows];
            match n_rows {
                1 => tiles::<S, F, L, N, 1>(simd, x, weights, out),
                2 => tiles::<S, F, L, N, 2>(simd, x, weights, out),
                3 => tiles::<S, F, L, N, 3>(simd, x, weights, out),
                4 => tiles::<S, F, L, N, 4>(simd, x, weights, out),
                5 => tiles::<S, F, L, N, 5>(simd, x, weights, out),
                6 => tiles::<S, F, L, N, 6>(simd, x, weights, out),
                7 => tiles::<S, F, L, N, 7>(simd, x, weights, out),
                _ => tiles::<S, F, L, N, 8>(simd, x, weights, out),
            }
        }
    }
}

#[inline(always)]
fn tiles<S: Wide<L>, F: Format, const L: usize, const N: usize, const M: usize>(
    simd: S,
    x: &[f32],
    weights: &[F::Bits],
    out: &mut [f32],
) {
    for first in (0..PANEL).step_by(N * L) {
        let sums = tile::<S, F, L, N, M>(simd, x, weights, (PANEL, first), [[simd.splat_f32s(0.0); N]; M]);
        for (out, sums) in out.chunks_exact_mut(PANEL).zip(&sums) {
            let sums: &[f32] = cast_slice(sums);
            out[first..first + N * L].iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
        }
    }
}

/// `sums`, plus those over inputs of x (inputs, `M`) times `N`·`L` outputs from `first` on, in rows of `stride` outputs.
#[inline(always)]
pub(crate) fn tile<S: Wide<L>, F: Format, const L: usize, const N: usize, const M: usize>(
    simd: S,
    x: &[f32],
    weights: &[F::Bits],
    (stride, first): (usize, usize),
    mut sums: [[S::f32s; N]; M],
) -> [[S::f32s; N]; M] {
    for (x, weights) in x.as_chunks::<M>().0.iter().zip(weights.chunks(stride)) {
        let weights = weights[first..first + N * L].as_chunks::<L>().0;
        let mut wide = [simd.splat_f32s(0.0); N];
        for (wide, weights) in wide.iter_mut().zip(weights) {
            *wide = F::widen(simd, weights);
        }
        for (sums, x) in sums.iter_mut().zip(x) {
            let x = simd.splat_f32s(*x);
            for (sum, weight) in sums.iter_mut().zip(&wide) {
                *sum = simd.mul_add_f32s(x, *weight, *sum);
            }
        }
    }
    sums
}
