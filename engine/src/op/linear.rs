//! Matrix products with a weight.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::gemm::{Matrix, MatrixMut, gemm};
use super::storage::numbers;

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
        Some(bias) => rows.matmul(&weight.t()?)?.broadcast_add(bias)?,
        None => rows.matmul(&weight.t()?)?,
    };
    y.reshape(dims)
}

/// The product is added to the bias, which spares a pass over the result.
struct Linear;

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
        let (x, weight, bias) = (numbers(x, lx)?, numbers(weight, lw)?, numbers(bias, lb)?);
        let (n_rows, n_in) = lx.shape().dims2()?;
        let n_out = bias.len();
        if lw.dims() != [n_out, n_in] {
            bail!("a weight of {:?} for {n_in} inputs and {n_out} outputs", lw.dims());
        }
        let mut y = bias.repeat(n_rows);
        let weight = Matrix::rows(weight, n_out, n_in).t();
        gemm(MatrixMut::rows(&mut y, n_rows, n_out), Matrix::rows(x, n_rows, n_in), weight, true, true);
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
        let of_x = if x.track_op() { Some(grad.matmul(&weight.detach())?) } else { None };
        let of_weight = if weight.track_op() { Some(grad.t()?.matmul(&x.detach())?) } else { None };
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
    use super::super::testing::{compare, normal};
    use super::*;

    #[test]
    fn fused_is_composed() {
        for (shape, n_out) in [(&[3, 5, 7][..], 11), (&[1, 1], 1), (&[64, 33], 40)] {
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
}
