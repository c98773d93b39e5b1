//! Upsampling.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::storage::{in_chunks, numbers};

/// Doubles height and width of `x` (B, C, H, W) by repeating pixels.
///
/// # Errors
/// Of the tensors.
pub fn upsample_nearest_2x(x: &Tensor) -> Result<Tensor> {
    // Not candle's `upsample_nearest2d`: its gradient overwrites where it should add.
    let (batch, channels, height, width) = x.dims4()?;
    if super::is_fused(x) && x.elem_count() > 0 {
        return x.contiguous()?.apply_op1(Doubled);
    }
    x.reshape((batch, channels, height, 1, width, 1))?.broadcast_as((batch, channels, height, 2, width, 2))?.reshape((
        batch,
        channels,
        2 * height,
        2 * width,
    ))
}

struct Doubled;

impl CustomOp1 for Doubled {
    fn name(&self) -> &'static str {
        "upsample-nearest-2x"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = layout.shape().dims4()?;
        let x = numbers(x, layout)?;
        let plane = height * width;
        let y = in_chunks(4 * x.len(), 4 * plane, |index, y| {
            let x = x[index * plane..][..plane].chunks_exact(width);
            for (y, x) in y.chunks_exact_mut(4 * width).zip(x) {
                let (upper, lower) = y.split_at_mut(2 * width);
                upper.chunks_exact_mut(2).zip(x).for_each(|(pair, x)| pair.fill(*x));
                lower.copy_from_slice(upper);
            }
        });
        Ok((CpuStorage::F32(y), Shape::from((batch, channels, 2 * height, 2 * width))))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(grad.contiguous()?.apply_op1_no_bwd(&Halved)?))
    }
}

/// Sums of 2×2 pixels: the gradient of doubling.
struct Halved;

impl CustomOp1 for Halved {
    fn name(&self) -> &'static str {
        "upsample-nearest-2x-gradient"
    }

    fn cpu_fwd(&self, grad: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = layout.shape().dims4()?;
        let grad = numbers(grad, layout)?;
        let plane = height * width;
        let found = in_chunks(grad.len() / 4, plane / 4, |index, found| {
            let grad = grad[index * plane..][..plane].chunks_exact(2 * width);
            for (found, grad) in found.chunks_exact_mut(width / 2).zip(grad) {
                let (upper, lower) = grad.split_at(width);
                let pairs = upper.chunks_exact(2).zip(lower.chunks_exact(2));
                found.iter_mut().zip(pairs).for_each(|(sum, (upper, lower))| {
                    *sum = upper.iter().chain(lower).sum();
                });
            }
        });
        Ok((CpuStorage::F32(found), Shape::from((batch, channels, height / 2, width / 2))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agrees_with_pytorch, compare, normal};
    use super::*;

    #[test]
    fn fused_is_composed() {
        compare(&[normal(1, &[2, 3, 5, 4])], |tensors| upsample_nearest_2x(&tensors[0]));
    }

    #[test]
    fn gradients_of_all_uses_are_added() {
        // candle's own operation fails here.
        compare(&[normal(1, &[1, 2, 3, 3])], |tensors| {
            let doubled = upsample_nearest_2x(&tensors[0])?;
            doubled + upsample_nearest_2x(&tensors[0].sqr()?)?
        });
    }

    #[test]
    fn results_and_gradients_are_pytorchs() {
        for name in ["upsample.2x3x5x4", "upsample.1x2x1x7"] {
            agrees_with_pytorch(name, &["x"], |tensors| upsample_nearest_2x(&tensors[0]));
        }
    }
}
