//! The convolution and its gradients as candle operations.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::geometry::Geometry;
use super::winograd::Kernel;
use super::{columns, winograd};
use crate::op::storage::{in_chunks, in_chunks_from, numbers};
use crate::op::vector::sum;

/// conv2d of contiguous tensors, and which of its arguments need a gradient.
#[derive(Clone, Copy)]
pub(super) struct Convolution {
    pub(super) geometry: Geometry,
    pub(super) grad_x: bool,
    pub(super) grad_weight: bool,
    pub(super) grad_bias: bool,
    /// Whether the bias is (B, C_out) rather than (C_out).
    pub(super) bias_by_row: bool,
}

impl Convolution {
    fn forward(&self, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> (CpuStorage, Shape) {
        let geometry = &self.geometry;
        let n_pixels = geometry.out_pixels();
        let start = |plane: usize| bias.map_or(&[0.0][..], |bias| &bias[plane % bias.len()..][..1]);
        let mut y = in_chunks_from(geometry.batch * geometry.c_out * n_pixels, n_pixels, start, |_, _| ());
        if winograd::pays(geometry) {
            let in_stride = geometry.taps();
            let kernel = Kernel { taps: weight, out_stride: geometry.c_in * in_stride, in_stride, flipped: false };
            winograd::convolve(geometry, x, kernel, &mut y);
        } else {
            columns::forward(geometry, x, weight, &mut y);
        }
        let shape = Shape::from((geometry.batch, geometry.c_out, geometry.out_height, geometry.out_width));
        (CpuStorage::F32(y), shape)
    }

    fn backward(&self, x: &Tensor, weight: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let geometry = self.geometry;
        let grad = grad.contiguous()?; // (B, C_out, H', W')
        let grad_x =
            if self.grad_x { Some(grad.apply_op2_no_bwd(&weight.detach(), &InputGradient(geometry))?) } else { None };
        let grad_weight = if self.grad_weight {
            let found = grad.apply_op2_no_bwd(&x.detach(), &WeightGradient(geometry))?;
            // Columns give it transposed: (C_in·k·k, C_out).
            Some(if found.rank() == 2 { found.t()?.reshape(weight.dims())? } else { found })
        } else {
            None
        };
        let of_bias = BiasGradient { geometry, by_row: self.bias_by_row };
        let grad_bias = if self.grad_bias { Some(grad.apply_op1_no_bwd(&of_bias)?) } else { None };
        Ok([grad_x, grad_weight, grad_bias])
    }
}

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, weight: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(self.forward(numbers(x, lx)?, numbers(weight, lw)?, None))
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [grad_x, grad_weight, _] = self.backward(x, weight, grad)?;
        Ok((grad_x, grad_weight))
    }
}

impl CustomOp3 for Convolution {
    fn name(&self) -> &'static str {
        "conv2d"
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
        Ok(self.forward(numbers(x, lx)?, numbers(weight, lw)?, Some(numbers(bias, lb)?)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [grad_x, grad_weight, grad_bias] = self.backward(x, weight, grad)?;
        Ok((grad_x, grad_weight, grad_bias))
    }
}

/// Of the gradient of y and the weight.
struct InputGradient(Geometry);

impl CustomOp2 for InputGradient {
    fn name(&self) -> &'static str {
        "conv2d-input-gradient"
    }

    fn cpu_fwd(&self, grad: &CpuStorage, lg: &Layout, weight: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        let geometry = &self.0;
        let mut grad_x = in_chunks(geometry.batch * geometry.c_in * geometry.pixels(), geometry.pixels(), |_, _| ());
        let (grad, weight) = (numbers(grad, lg)?, numbers(weight, lw)?);
        let adjoint = geometry.adjoint();
        if let Some(adjoint) = adjoint.filter(winograd::pays) {
            let out_stride = geometry.taps();
            let kernel = Kernel { taps: weight, out_stride, in_stride: geometry.c_in * out_stride, flipped: true };
            winograd::convolve(&adjoint, grad, kernel, &mut grad_x);
        } else {
            columns::input_gradient(geometry, grad, weight, &mut grad_x);
        }
        let shape = Shape::from((geometry.batch, geometry.c_in, geometry.height, geometry.width));
        Ok((CpuStorage::F32(grad_x), shape))
    }
}

/// Of the gradient of y and x: (C_out, C_in, k, k), or (C_in·k·k, C_out) from columns.
struct WeightGradient(Geometry);

impl CustomOp2 for WeightGradient {
    fn name(&self) -> &'static str {
        "conv2d-weight-gradient"
    }

    fn cpu_fwd(&self, grad: &CpuStorage, lg: &Layout, x: &CpuStorage, lx: &Layout) -> Result<(CpuStorage, Shape)> {
        let geometry = &self.0;
        let n_rows = geometry.c_in * geometry.taps();
        let mut grad_weight = vec![0.0; n_rows * geometry.c_out];
        let (grad, x) = (numbers(grad, lg)?, numbers(x, lx)?);
        let shape = if winograd::pays(geometry) {
            winograd::weight_gradient(geometry, grad, x, &mut grad_weight);
            Shape::from((geometry.c_out, geometry.c_in, geometry.k_height, geometry.k_width))
        } else {
            columns::weight_gradient(geometry, grad, x, &mut grad_weight);
            Shape::from((n_rows, geometry.c_out))
        };
        Ok((CpuStorage::F32(grad_weight), shape))
    }
}

/// Of the gradient of y: candle's sum over such axes steps from number to number.
struct BiasGradient {
    geometry: Geometry,
    by_row: bool,
}

impl CustomOp1 for BiasGradient {
    fn name(&self) -> &'static str {
        "conv2d-bias-gradient"
    }

    fn cpu_fwd(&self, grad: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Geometry { batch, c_out, .. } = self.geometry;
        let planes = numbers(grad, layout)?.par_chunks_exact(self.geometry.out_pixels());
        let by_row: Vec<f32> = planes.map(|plane| sum(plane, |value| value)).collect(); // (B, C_out)
        if self.by_row {
            return Ok((CpuStorage::F32(by_row), Shape::from((batch, c_out))));
        }
        let mut grad_bias = vec![0.0; c_out];
        for row in by_row.chunks_exact(c_out) {
            grad_bias.iter_mut().zip(row).for_each(|(sum, value)| *sum += *value);
        }
        Ok((CpuStorage::F32(grad_bias), Shape::from(c_out)))
    }
}
