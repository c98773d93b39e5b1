//! The fused RMS norm.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::super::storage::numbers;
use super::super::vector::{sum, sum2, vectorised};

/// Rows that one thread takes at a time.
const BLOCK: usize = 16;

/// On contiguous tensors.
#[derive(Clone, Copy)]
pub(super) struct RmsNorm {
    pub(super) eps: f32,
}

/// y = x / √(mean(x²) + ε)·w, row by row.
pub(crate) fn rms_norm_rows(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let width = weight.len();
    let mut y = vec![0.0; x.len()];
    y.par_chunks_mut(BLOCK * width).zip(x.par_chunks(BLOCK * width)).for_each(|(y, x)| {
        vectorised(
            #[inline(always)]
            || {
                for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    let scale = scale_of(x, eps);
                    y.iter_mut().zip(x.iter().zip(weight)).for_each(|(y, (x, weight))| *y = x * scale * weight);
                }
            },
        );
    });
    y
}

/// 1 / √(mean(x²) + ε).
#[inline(always)]
fn scale_of(row: &[f32], eps: f32) -> f32 {
    1.0 / (sum(row, |x| x * x) / row.len() as f32 + eps).sqrt()
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, weight: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = rms_norm_rows(numbers(x, lx)?, numbers(weight, lw)?, self.eps);
        Ok((CpuStorage::F32(y), lx.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (x_now, grad) = (x.detach().contiguous()?, grad.contiguous()?);
        let of_x = if x.track_op() {
            Some(x_now.apply_op3_no_bwd(&weight.detach(), &grad, &InputGradient(*self))?)
        } else {
            None
        };
        let of_weight =
            if weight.track_op() { Some(x_now.apply_op2_no_bwd(&grad, &WeightGradient(*self))?) } else { None };
        Ok((of_x, of_weight))
    }
}

/// Of x, the weight, and the gradient of y.
struct InputGradient(RmsNorm);

impl CustomOp3 for InputGradient {
    fn name(&self) -> &'static str {
        "rms-norm-input-gradient"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        weight: &CpuStorage,
        lw: &Layout,
        grad: &CpuStorage,
        lg: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight, grad) = (numbers(x, lx)?, numbers(weight, lw)?, numbers(grad, lg)?);
        let width = weight.len();
        let mut found = vec![0.0; x.len()];
        let blocks = x.par_chunks(BLOCK * width).zip(grad.par_chunks(BLOCK * width));
        found.par_chunks_mut(BLOCK * width).zip(blocks).for_each(|(found, (x, grad))| {
            let rows = found.chunks_exact_mut(width).zip(x.chunks_exact(width).zip(grad.chunks_exact(width)));
            for (found, (x, grad)) in rows {
                vectorised(
                    #[inline(always)]
                    || {
                        let scale = scale_of(x, self.0.eps);
                        // dx = (w·g − x̂·mean(w·g·x̂)) / rms
                        let products = found.iter_mut().zip(grad.iter().zip(weight));
                        products.for_each(|(found, (grad, weight))| *found = grad * weight);
                        let inner = sum2(found, x, |grad, x| grad * x) * scale * scale / width as f32;
                        found.iter_mut().zip(x).for_each(|(found, x)| *found = (*found - x * inner) * scale);
                    },
                );
            }
        });
        Ok((CpuStorage::F32(found), lx.shape().clone()))
    }
}

/// Of x and the gradient of y: that of the weight, (C).
struct WeightGradient(RmsNorm);

impl CustomOp2 for WeightGradient {
    fn name(&self) -> &'static str {
        "rms-norm-weight-gradient"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, grad: &CpuStorage, lg: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, grad) = (numbers(x, lx)?, numbers(grad, lg)?);
        let width = lx.dims().last().copied().unwrap_or(1).max(1);
        let mut found = vec![0.0; width];
        for (x, grad) in x.chunks_exact(width).zip(grad.chunks_exact(width)) {
            let scale = scale_of(x, self.0.eps);
            found.iter_mut().zip(x.iter().zip(grad)).for_each(|(found, (x, grad))| *found += grad * x * scale);
        }
        Ok((CpuStorage::F32(found), Shape::from(width)))
    }
}
