//! The transforms of Winograd's F(4×4, 3×3): six points (0, ±1, ±2, ∞) on each axis (Lavin and Gray, arXiv 1509.09308).
//!
//! Each is a function of one line, applied to columns, then to rows, for [`LANES`] tiles at once. All are inlined into their caller, which is compiled for AVX.

/// Tiles, or channels, side by side in one vector.
pub(super) const LANES: usize = 16;
pub(super) type Lanes = [f32; LANES];
/// Squares of `N` by `N` numbers, one in each lane.
pub(super) type Square<const N: usize> = [[Lanes; N]; N];

/// A square of zeros.
#[inline(always)]
pub(super) fn zeros<const N: usize>() -> Square<N> {
    [[[0.0; LANES]; N]; N]
}

/// Work on one part of something, compiled for the vectors of this machine. A closure given to pulp would not be: it is
/// called through a function that is not inlined.
pub(super) struct OnVectors<'a, F, T: ?Sized> {
    pub(super) work: &'a F,
    pub(super) at: usize,
    pub(super) into: &'a mut T,
}

impl<F: Fn(usize, &mut T), T: ?Sized> pulp::WithSimd for OnVectors<'_, F, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        (self.work)(self.at, self.into);
    }
}

/// Copies the first lanes: all of them as one vector.
#[inline(always)]
pub(super) fn copy(into: &mut [f32], lanes: &Lanes) {
    match <&mut Lanes>::try_from(&mut *into) {
        Ok(all) => *all = *lanes,
        Err(_) => into.iter_mut().zip(lanes).for_each(|(into, value)| *into = *value),
    }
}

/// Fills the first lanes: all of them as one vector.
#[inline(always)]
pub(super) fn fill(lanes: &mut Lanes, from: &[f32]) {
    match <&Lanes>::try_from(from) {
        Ok(all) => *lanes = *all,
        Err(_) => lanes.iter_mut().zip(from).for_each(|(lane, value)| *lane = *value),
    }
}

/// `line` applied to every column, then to every row.
#[inline(always)]
pub(super) fn apply<const I: usize, const O: usize>(
    square: &Square<I>,
    line: impl Fn([f32; I]) -> [f32; O],
) -> Square<O> {
    let mut half = [[[0.0; LANES]; I]; O];
    for column in 0..I {
        for lane in 0..LANES {
            let mut from = [0.0; I];
            for row in 0..I {
                from[row] = square[row][column][lane];
            }
            let to = line(from);
            for row in 0..O {
                half[row][column][lane] = to[row];
            }
        }
    }
    let mut whole = zeros::<O>();
    for row in 0..O {
        for lane in 0..LANES {
            let mut from = [0.0; I];
            for column in 0..I {
                from[column] = half[row][column][lane];
            }
            let to = line(from);
            for column in 0..O {
                whole[row][column][lane] = to[column];
            }
        }
    }
    whole
}

/// Bᵀ: six pixels of the input.
#[inline(always)]
pub(super) fn input(d: [f32; 6]) -> [f32; 6] {
    let (even, odd) = (d[4] - 4.0 * d[2], d[3] - 4.0 * d[1]);
    let (even2, odd2) = (d[4] - d[2], 2.0 * (d[3] - d[1]));
    [4.0 * d[0] - 5.0 * d[2] + d[4], even + odd, even - odd, even2 + odd2, even2 - odd2, 4.0 * d[1] - 5.0 * d[3] + d[5]]
}

/// G: three taps of the kernel.
#[inline(always)]
pub(super) fn kernel(g: [f32; 3]) -> [f32; 6] {
    let (even, odd) = ((g[0] + g[2]) * (-1.0 / 6.0), g[1] * (-1.0 / 6.0));
    let (even2, odd2) = (g[0] * (1.0 / 24.0) + g[2] * (1.0 / 6.0), g[1] * (1.0 / 12.0));
    [0.25 * g[0], even + odd, even - odd, even2 + odd2, even2 - odd2, g[2]]
}

/// Aᵀ: four pixels of the output, of six products.
#[inline(always)]
pub(super) fn output(m: [f32; 6]) -> [f32; 4] {
    let (sum, difference) = (m[1] + m[2], m[1] - m[2]);
    let (sum2, difference2) = (m[3] + m[4], m[3] - m[4]);
    [m[0] + sum + sum2, difference + 2.0 * difference2, sum + 4.0 * sum2, difference + 8.0 * difference2 + m[5]]
}

/// A, the adjoint of [`output`]: what four gradients give the six products.
#[inline(always)]
pub(super) fn output_adjoint(g: [f32; 4]) -> [f32; 6] {
    let (even, odd) = (g[0] + g[2], g[1] + g[3]);
    let (even2, odd2) = (g[0] + 4.0 * g[2], 2.0 * g[1] + 8.0 * g[3]);
    [g[0], even + odd, even - odd, even2 + odd2, even2 - odd2, g[3]]
}

/// Gᵀ, the adjoint of [`kernel`]: what the gradients of six products give three taps.
#[inline(always)]
pub(super) fn kernel_adjoint(u: [f32; 6]) -> [f32; 3] {
    let (sum, difference) = ((u[1] + u[2]) * (-1.0 / 6.0), (u[1] - u[2]) * (-1.0 / 6.0));
    let (sum2, difference2) = (u[3] + u[4], (u[3] - u[4]) * (1.0 / 12.0));
    [0.25 * u[0] + sum + sum2 * (1.0 / 24.0), difference + difference2, sum + sum2 * (1.0 / 6.0) + u[5]]
}
