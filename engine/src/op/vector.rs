//! Functions of many numbers at once: written so that the compiler makes vector code of them, and compiled for the
//! instructions that the machine has, chosen when the program runs.

use pulp::Arch;

use super::storage::in_chunks;

/// Numbers that one thread takes at a time: enough to pay for handing them over.
const CHUNK: usize = 1 << 14;

/// Runs `work` with the widest vectors that the machine has. What it calls must be `#[inline(always)]`.
#[inline(always)]
pub(crate) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(work)
}

/// eˣ to two units in the last place; 0 below −87, and no more than e⁸⁸.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding 1.5·2²³ leaves the nearest whole number in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts: the product of the first with a whole number is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let is_zero = x < -87.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let rest = (x - whole * LN_2_HIGH) - whole * LN_2_LOW;
    // The coefficients of Cephes' expf: least error on ±ln 2 / 2.
    let mut sum = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        sum = sum * rest + coefficient;
    }
    let mantissa = sum * rest * rest + rest + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if is_zero { 0.0 } else { mantissa * power }
}

/// erf x and e^(−x²), the first to 4e-7 (Abramowitz and Stegun, 7.1.26).
#[inline(always)]
pub(crate) fn erf(x: f32) -> (f32, f32) {
    let size = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * size);
    let mut sum = 1.061_405_4;
    for coefficient in [-1.453_152, 1.421_413_8, -0.284_496_74, 0.254_829_6] {
        sum = sum * t + coefficient;
    }
    let bell = exp(-size * size);
    ((1.0 - sum * t * bell).copysign(x), bell)
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    // Of the exponential that cannot overflow.
    let small = exp(-x.abs());
    let upper = 1.0 / (1.0 + small);
    if x < 0.0 { small * upper } else { upper }
}

/// y = f(x), number by number, on every core.
#[inline(always)]
pub(crate) fn map(x: &[f32], f: impl Fn(f32) -> f32 + Copy + Sync + Send) -> Vec<f32> {
    in_chunks(x.len(), CHUNK, |index, y| {
        let x = &x[index * CHUNK..];
        vectorised(
            #[inline(always)]
            || y.iter_mut().zip(x).for_each(|(y, x)| *y = f(*x)),
        );
    })
}

/// z = f(x, y), number by number, on every core.
#[inline(always)]
pub(crate) fn map2(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32 + Copy + Sync + Send) -> Vec<f32> {
    in_chunks(x.len(), CHUNK, |index, z| {
        let (x, y) = (&x[index * CHUNK..], &y[index * CHUNK..]);
        vectorised(
            #[inline(always)]
            || z.iter_mut().zip(x.iter().zip(y)).for_each(|(z, (x, y))| *z = f(*x, *y)),
        );
    })
}

/// Σ f(i, x) over the numbers of a row, in sixteen sums: as many as a vector holds, which also lose less than one would.
#[inline(always)]
pub(crate) fn sum(x: &[f32], f: impl Fn(f32) -> f32 + Copy) -> f32 {
    let (blocks, rest) = x.as_chunks::<16>();
    let mut sums = [0.0_f32; 16];
    for block in blocks {
        for (sum, x) in sums.iter_mut().zip(block) {
            *sum += f(*x);
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|x| f(*x)).sum::<f32>()
}

/// Σ f(x, y) over two rows, in sixteen sums.
#[inline(always)]
pub(crate) fn sum2(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32 + Copy) -> f32 {
    let ((x_blocks, x_rest), (y_blocks, y_rest)) = (x.as_chunks::<16>(), y.as_chunks::<16>());
    let mut sums = [0.0_f32; 16];
    for (x, y) in x_blocks.iter().zip(y_blocks) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum += f(*x, *y);
        }
    }
    sums.iter().sum::<f32>() + x_rest.iter().zip(y_rest).map(|(x, y)| f(*x, *y)).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exact_to_rounding() {
        let points = (-1_000_000..=1_000_000).map(|step| step as f32 * 8.6e-5);
        let worst = points.map(|x| (f64::from(exp(x)) / f64::from(x).exp() - 1.0).abs()).fold(0.0, f64::max);
        assert!(worst < 2.5e-7, "{worst:e}");
        assert_eq!((exp(-100.0), exp(f32::NEG_INFINITY), exp(0.0)), (0.0, 0.0, 1.0));
        assert!(exp(1e9).is_finite());
    }

    #[test]
    fn erf_is_within_its_bound() {
        // Of the series and, beyond 3, of the complement's asymptotic form.
        let reference = |x: f64| {
            let (mut term, mut sum) = (x, x);
            for n in 1..200 {
                term *= -x * x / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            sum * 2.0 / std::f64::consts::PI.sqrt()
        };
        let points = (-300..=300).map(|step| step as f32 * 0.01);
        let worst = points.map(|x| (f64::from(erf(x).0) - reference(f64::from(x))).abs()).fold(0.0, f64::max);
        assert!(worst < 4e-7, "{worst:e}");
        assert_eq!((erf(9.0).0, erf(-9.0).0), (1.0, -1.0));
    }
}
