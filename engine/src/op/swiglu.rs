//! SwiGLU (arXiv 2002.05202).

use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::storage::numbers;
use super::vector::{sigmoid, vectorised};

/// SwiGLU of `x` (…, 2C): the SiLU of its first half times its second, as Llama's MLP has it. Returns (…, C).
///
/// # Errors
/// When the last dimension is odd, or of the tensors.
pub fn swiglu(x: &Tensor) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    if width == 0 || !width.is_multiple_of(2) {
        bail!("SwiGLU of {:?}: the last dimension cannot be halved", x.dims());
    }
    if super::is_fused(x) {
        return x.contiguous()?.apply_op1(Swiglu);
    }
    let (gate, value) = (x.narrow(D::Minus1, 0, width / 2)?, x.narrow(D::Minus1, width / 2, width / 2)?);
    super::silu(&gate.contiguous()?)? * value
}

/// SwiGLU of rows of 2·`half` numbers.
pub(crate) fn swiglu_rows(x: &[f32], half: usize) -> Vec<f32> {
    let mut y = vec![0.0; x.len() / 2];
    y.par_chunks_mut(half).with_min_len(8).zip(x.par_chunks(2 * half)).for_each(|(y, x)| {
        let (gate, value) = x.split_at(half);
        vectorised(
            #[inline(always)]
            || {
                let pairs = gate.iter().zip(value);
                y.iter_mut().zip(pairs).for_each(|(y, (gate, value))| *y = gate * sigmoid(*gate) * value);
            },
        );
    });
    y
}

struct Swiglu;

impl CustomOp1 for Swiglu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut dims = layout.dims().to_vec();
        let Some(last) = dims.last_mut() else { bail!("SwiGLU of a scalar") };
        *last /= 2;
        let y = swiglu_rows(numbers(x, layout)?, *last);
        Ok((CpuStorage::F32(y), Shape::from(dims)))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(x.detach().contiguous()?.apply_op2_no_bwd(&grad.contiguous()?, self)?))
    }
}

/// The gradient of x, of x and the gradient of y.
impl CustomOp2 for Swiglu {
    fn name(&self) -> &'static str {
        "swiglu-gradient"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, grad: &CpuStorage, lg: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, grad) = (numbers(x, lx)?, numbers(grad, lg)?);
        let half = lx.dims().last().copied().unwrap_or(2) / 2;
        let mut found = vec![0.0; x.len()];
        found.par_chunks_mut(2 * half).zip(x.par_chunks(2 * half).zip(grad.par_chunks(half))).for_each(
            |(found, (x, grad))| {
                let (gate, value) = x.split_at(half);
                let (of_gate, of_value) = found.split_at_mut(half);
                vectorised(
                    #[inline(always)]
                    || {
                        let rows = of_gate.iter_mut().zip(of_value).zip(gate.iter().zip(value.iter().zip(grad)));
                        rows.for_each(|((of_gate, of_value), (gate, (value, grad)))| {
                            let s = sigmoid(*gate);
                            *of_gate = grad * value * (s + gate * s * (1.0 - s));
                            *of_value = grad * gate * s;
                        });
                    },
                );
            },
        );
        Ok((CpuStorage::F32(found), lx.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{compare, normal};
    use super::*;

    #[test]
    fn fused_is_composed() {
        compare(&[(normal(1, &[5, 7, 34]) * 3.0).unwrap()], |tensors| swiglu(&tensors[0]));
    }

    #[test]
    fn what_cannot_be_halved_is_refused() {
        assert!(swiglu(&normal(1, &[2, 3])).is_err());
    }
}
