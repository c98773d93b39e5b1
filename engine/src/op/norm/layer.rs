//! The fused layer norm.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::super::storage::{in_chunks, numbers};
use super::super::vector::{sum, sum2, vectorised};

/// Rows that one thread takes at a time.
const BLOCK: usize = 16;

/// On contiguous tensors.
#[derive(Clone, Copy)]
pub(super) struct LayerNorm {
    pub(super) eps: f32,
}

/// Mean and 1/√(variance + ε) of a row.
#[inline(always)]
fn moments(row: &[f32], eps: f32) -> (f32, f32) {
    let count = row.len() as f32;
    let mean = sum(row, |x| x) / count;
    let variance = sum(row, |x| (x - mean) * (x - mean)) / count;
    (mean, 1.0 / (variance + eps).sqrt())
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        weight: &CpuStorage,
        lw: &Layout,
        bias: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight, bias) = (numbers(x, lx)?, numbers(weight, lw)?, numbers(bias, lb)?);
        let width = weight.len();
        let y = in_chunks(x.len(), BLOCK * width, |index, y| {
            let x = &x[index * BLOCK * width..];
            vectorised(
                #[inline(always)]
                || {
                    for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                        let (mean, scale) = moments(x, self.eps);
                        for ((y, x), (weight, bias)) in y.iter_mut().zip(x).zip(weight.iter().zip(bias)) {
                            *y = (x - mean) * scale * weight + bias;
                        }
                    }
                },
            );
        });
        Ok((CpuStorage::F32(y), lx.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let of_x = if x.track_op() {
            Some(x.detach().contiguous()?.apply_op3_no_bwd(&weight.detach(), &grad, &InputGradient(*self))?)
        } else {
            None
        };
        if !weight.track_op() && !bias.track_op() {
            return Ok((of_x, None, None));
        }
        let affine = x.detach().contiguous()?.apply_op2_no_bwd(&grad, &AffineGradient(*self))?; // (2, C)
        Ok((of_x, Some(affine.get(0)?), Some(affine.get(1)?)))
    }
}

/// Of x, the weight, and the gradient of y.
struct InputGradient(LayerNorm);

impl CustomOp3 for InputGradient {
    fn name(&self) -> &'static str {
        "layer-norm-input-gradient"
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
        let found = in_chunks(x.len(), BLOCK * width, |index, found| {
            let (x, grad) = (&x[index * BLOCK * width..], &grad[index * BLOCK * width..]);
            let rows = found.chunks_exact_mut(width).zip(x.chunks_exact(width).zip(grad.chunks_exact(width)));
            for (found, (x, grad)) in rows {
                vectorised(
                    #[inline(always)]
                    || {
                        let (mean, scale) = moments(x, self.0.eps);
                        // dx = (w·g − mean(w·g) − x̂·mean(w·g·x̂)) / σ
                        found
                            .iter_mut()
                            .zip(grad.iter().zip(weight))
                            .for_each(|(found, (grad, weight))| *found = grad * weight);
                        let first = sum(found, |grad| grad) / width as f32;
                        let second = sum2(found, x, |grad, x| grad * (x - mean)) * scale / width as f32;
                        for (found, x) in found.iter_mut().zip(x) {
                            *found = (*found - first - (x - mean) * scale * second) * scale;
                        }
                    },
                );
            }
        });
        Ok((CpuStorage::F32(found), lx.shape().clone()))
    }
}

/// Of x and the gradient of y: those of weight and bias, (2, C).
struct AffineGradient(LayerNorm);

impl CustomOp2 for AffineGradient {
    fn name(&self) -> &'static str {
        "layer-norm-affine-gradient"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, grad: &CpuStorage, lg: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, grad) = (numbers(x, lx)?, numbers(grad, lg)?);
        let width = lx.dims().last().copied().unwrap_or(1).max(1);
        let mut found = vec![0.0; 2 * width];
        let (of_weight, of_bias) = found.split_at_mut(width);
        for (x, grad) in x.chunks_exact(width).zip(grad.chunks_exact(width)) {
            vectorised(
                #[inline(always)]
                || {
                    let (mean, scale) = moments(x, self.0.eps);
                    for ((of_weight, of_bias), (x, grad)) in
                        of_weight.iter_mut().zip(&mut *of_bias).zip(x.iter().zip(grad))
                    {
                        *of_weight += grad * (x - mean) * scale;
                        *of_bias += grad;
                    }
                },
            );
        }
        Ok((CpuStorage::F32(found), Shape::from((2, width))))
    }
}
