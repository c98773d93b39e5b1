//! Matrix products with a weight.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::gemm::{Matrix, MatrixMut, gemm};
use super::storage::{in_chunks_from, numbers};

/// x·Wᵀ + b of `x` (…, C_in), `weight` (C_out, C_in) and `bias` (C_out). Returns (…, C_out).
///
/// # Errors
/// When shapes do not fit, or of the tensors.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (n_out, n_in) = weight.dims2()?;
    let mut dims = x.dims().to_vec();
    match dims.last_mut() {
        Some(last) if *last == n_in && n_in > 0 => *last = n_out,
        _ => bail!("a linear layer of {n_in} inputs was given {:?}", x.dims()),
    }
    let rows = x.reshape((x.elem_count() / n_in, n_in))?;
    let y = match bias {
        Some(bias) if super::is_fused(x) => {
            rows.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, Linear)?
        }
        None if super::is_fused(x) => rows.contiguous()?.apply_op2(&weight.contiguous()?, Linear)?,
        Some(bias) => rows.matmul(&weight.t()?)?.broadcast_add(bias)?,
        None => rows.matmul(&weight.t()?)?,
    };
    y.reshape(dims)
}

/// Rows that one core takes at a time, at least: packing the weight costs as much as a few dozen rows.
const ROWS: usize = 256;

/// The product is added to the bias, which spares a pass over the result.
struct Linear;

/// (rows, C_out) of `x` (rows, C_in).
fn forward(x: &[f32], weight: &[f32], (n_rows, n_in, n_out): (usize, usize, usize), bias: Option<&[f32]>) -> Vec<f32> {
    let weight = Matrix::rows(weight, n_out, n_in).t();
    // Whole rows for each core; where they are too few, the cores share the product.
    let shared = n_rows < ROWS * rayon::current_num_threads();
    let rows = if shared { n_rows } else { n_rows.div_ceil(2 * rayon::current_num_threads()).max(ROWS) };
    in_chunks_from(
        n_rows * n_out,
        rows * n_out,
        |_| bias.unwrap_or(&[0.0]),
        |index, y| {
            let n_rows = y.len() / n_out;
            let x = Matrix::rows(&x[index * rows * n_in..], n_rows, n_in);
            gemm(MatrixMut::rows(y, n_rows, n_out), x, weight, bias.is_some(), shared);
        },
    )
}

/// The gradients of x and weight, given that of y, `grad` (rows, C_out).
fn backward(x: &Tensor, weight: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
    let of_x = if x.track_op() { Some(grad.matmul(&weight.detach())?) } else { None };
    let of_weight = if weight.track_op() { Some(grad.t()?.matmul(&x.detach())?) } else { None };
    Ok((of_x, of_weight))
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, weight: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        let ((n_rows, n_in), (n_out, _)) = (lx.shape().dims2()?, lw.shape().dims2()?);
        let y = forward(numbers(x, lx)?, numbers(weight, lw)?, (n_rows, n_in, n_out), None);
        Ok((CpuStorage::F32(y), Shape::from((n_rows, n_out))))
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        backward(x, weight, &grad.contiguous()?)
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
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
        let ((n_rows, n_in), n_out) = (lx.shape().dims2()?, lb.shape().dims1()?);
        if lw.dims() != [n_out, n_in] {
            bail!("a weight of {:?} for {n_in} inputs and {n_out} outputs", lw.dims());
        }
        let y = forward(numbers(x, lx)?, numbers(weight, lw)?, (n_rows, n_in, n_out), Some(numbers(bias, lb)?));
        Ok((CpuStorage::F32(y), Shape::from((n_rows, n_out))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?; // (rows, C_out)
        let (of_x, of_weight) = backward(x, weight, &grad)?;
        let of_bias = if bias.track_op() {
            // A product with ones: candle's sum over rows steps from number to number.
            let ones = Tensor::ones((1, grad.dim(0)?), grad.dtype(), grad.device())?;
            Some(ones.matmul(&grad)?.squeeze(0)?)
        } else {
            None
        };
        Ok((of_x, of_weight, of_bias))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agrees_with_pytorch, compare, normal};
    use super::*;

    #[test]
    fn fused_is_composed() {
        for (shape, n_out) in [(&[3, 5, 7][..], 11), (&[1, 1], 1), (&[64, 33], 40), (&[2, 1300, 5], 3)] {
            let n_in = shape[shape.len() - 1];
            let (weight, bias) = (normal(2, &[n_out, n_in]), normal(3, &[n_out]));
            compare(&[normal(1, shape), weight.clone(), bias], |tensors| {
                linear(&tensors[0], &tensors[1], Some(&tensors[2]))
            });
            compare(&[normal(1, shape), weight], |tensors| linear(&tensors[0], &tensors[1], None));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(linear(&normal(1, &[2, 3]), &normal(2, &[4, 5]), None).is_err());
        assert!(linear(&normal(1, &[2, 5]), &normal(2, &[4, 5]), Some(&normal(3, &[5]))).is_err());
    }

    #[test]
    fn results_and_gradients_are_pytorchs() {
        for name in ["2x5x7", "1x1", "33x17"] {
            let name = format!("linear.{name}");
            agrees_with_pytorch(&name, &["x", "weight", "bias"], |tensors| {
                linear(&tensors[0], &tensors[1], Some(&tensors[2]))
            });
            agrees_with_pytorch(&format!("{name}.without_bias"), &["x", "weight"], |tensors| {
                linear(&tensors[0], &tensors[1], None)
            });
        }
    }
}
