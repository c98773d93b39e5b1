//! Gradient clipping.

use candle_core::{CpuStorage, DType, Result as TensorResult, Storage, Tensor};
use rayon::prelude::*;

use super::Gradients;
use super::in_place::CHUNK;
use crate::op::is_fused;
use crate::{EngineError, Result};

/// Scales all gradients together so that their norm, taken as one vector, is at most `max_norm`:
/// `torch.nn.utils.clip_grad_norm_`. Returns them with the norm that they had.
///
/// A norm that is not finite is returned as it is, with gradients that are not either: whether to skip the step is the
/// caller's to say.
///
/// # Errors
/// When `max_norm` is not above 0, or of the tensors.
pub fn clip_grad_norm(gradients: Gradients, max_norm: f64) -> Result<(Gradients, f64)> {
    if max_norm.is_nan() || max_norm <= 0.0 {
        return Err(EngineError::argument(format!("gradients clipped to a norm of {max_norm}: it must be above 0")));
    }
    let squares: f64 = gradients.unscaled().map(|(_, gradient)| sum_of_squares(gradient)).sum::<TensorResult<_>>()?;
    let norm = gradients.factor().abs() * squares.sqrt();
    // As PyTorch has it: a little less than `max_norm`, and no division by zero.
    let factor = max_norm / (norm + 1e-6);
    if factor >= 1.0 {
        return Ok((gradients, norm));
    }
    Ok((gradients.scaled(factor), norm))
}

fn sum_of_squares(tensor: &Tensor) -> TensorResult<f64> {
    if !is_fused(tensor) {
        return tensor.to_dtype(DType::F32)?.sqr()?.sum_all()?.to_dtype(DType::F64)?.to_scalar();
    }
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let numbers = match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(numbers)), Some((start, end))) => numbers.get(start..end).unwrap_or_default(),
        _ => candle_core::bail!("a gradient that is not of f32 on the CPU"),
    };
    let arch = pulp::Arch::new();
    // Summed per piece, and the pieces in order: the same on any number of threads.
    let pieces: Vec<f64> = numbers.par_chunks(CHUNK).map(|piece| arch.dispatch(|| squares(piece))).collect();
    Ok(pieces.into_iter().sum())
}

/// In eight sums side by side, in f64: an addition waits for the one before it otherwise.
#[inline(always)]
fn squares(numbers: &[f32]) -> f64 {
    let mut sums = [0.0; 8];
    let (eights, rest) = numbers.as_chunks::<8>();
    for eight in eights {
        for (sum, number) in sums.iter_mut().zip(eight) {
            *sum += f64::from(*number) * f64::from(*number);
        }
    }
    sums.into_iter().sum::<f64>() + rest.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::noise::Noise;
    use crate::op::composed;

    fn gradients() -> Gradients {
        let noise = Noise::new(0);
        let tensor = |name: &str, n: usize| (name.to_owned(), noise.of(name).normal((n, 3), &Device::Cpu).unwrap());
        [tensor("large", 20_001), tensor("small", 7)].into_iter().collect()
    }

    fn norm(gradients: &Gradients) -> f64 {
        clip_grad_norm(gradients.clone(), f64::INFINITY).unwrap().1
    }

    #[test]
    fn the_norm_becomes_the_largest_that_is_allowed() {
        let plain: f64 = gradients()
            .unscaled()
            .flat_map(|(_, gradient)| gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap())
            .map(|number| f64::from(number).powi(2))
            .sum();
        assert!((norm(&gradients()) / plain.sqrt() - 1.0).abs() < 1e-12);
        let (clipped, before) = clip_grad_norm(gradients(), 2.5).unwrap();
        assert!((before - plain.sqrt()).abs() < 1e-9, "{before}");
        assert!((norm(&clipped) - 2.5).abs() < 1e-5, "{}", norm(&clipped));
        assert!((norm(&gradients().scaled(-0.5)) / before - 0.5).abs() < 1e-12);
        let (kept, _) = clip_grad_norm(gradients(), 1e4).unwrap();
        assert_eq!(norm(&kept), before);
        let by_candle = composed(|| norm(&gradients()));
        assert!((by_candle / before - 1.0).abs() < 1e-5, "{by_candle}");
    }

    #[test]
    fn what_is_not_finite_is_reported() {
        let bad: Gradients =
            [("a".to_owned(), Tensor::new(&[f32::NAN, 1.0], &Device::Cpu).unwrap())].into_iter().collect();
        assert!(clip_grad_norm(bad, 1.0).unwrap().1.is_nan());
        assert_eq!(clip_grad_norm(Gradients::from_iter([]), 1.0).unwrap().1, 0.0);
        assert!(clip_grad_norm(gradients(), 0.0).is_err());
        assert!(clip_grad_norm(gradients(), f64::NAN).is_err());
    }
}
