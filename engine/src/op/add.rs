//! Sums of two tensors, as residual connections make them.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::storage::numbers;
use super::vector::map2;

/// x + y, of one shape.
///
/// # Errors
/// When the shapes differ, or of the tensors.
pub fn add(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    // candle's own sum runs on one core, while the others wait.
    if super::is_fused(x) && x.dims() == y.dims() {
        return x.contiguous()?.apply_op2(&y.contiguous()?, Add);
    }
    x + y
}

struct Add;

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, y: &CpuStorage, ly: &Layout) -> Result<(CpuStorage, Shape)> {
        let sums = map2(
            numbers(x, lx)?,
            numbers(y, ly)?,
            #[inline(always)]
            |x, y| x + y,
        );
        Ok((CpuStorage::F32(sums), lx.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(grad.clone()), Some(grad.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{compare, normal};
    use super::*;

    #[test]
    fn fused_is_composed() {
        for shape in [&[3, 5, 7][..], &[1], &[2, 20_000]] {
            compare(&[normal(1, shape), normal(2, shape)], |tensors| add(&tensors[0], &tensors[1]));
        }
        let twice = normal(3, &[4, 9]);
        compare(&[twice], |tensors| add(&tensors[0], &tensors[0]));
    }

    #[test]
    fn other_shapes_are_refused() {
        assert!(add(&normal(1, &[2, 3]), &normal(2, &[3])).is_err());
    }
}
