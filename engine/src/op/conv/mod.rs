//! Two-dimensional convolution.
//!
//! Every form is a matrix product: of the image itself (1×1), of its columns, or of its tiles in Winograd's transform
//! (3×3 with stride 1). So are the gradients, which are convolutions too.

mod columns;
mod geometry;
mod operation;
mod tiles;
mod transforms;
mod winograd;

#[cfg(test)]
mod tests;

use candle_core::{Result, Tensor, bail};
use geometry::Geometry;
use operation::Convolution;

/// Convolves `x` (B, C_in, H, W) with `weight` (C_out, C_in, k, k) and adds `bias`, (C_out) or one for each row
/// (B, C_out). Returns (B, C_out, H', W').
///
/// # Errors
/// When shapes do not fit, or of the tensors.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, stride: usize, padding: usize) -> Result<Tensor> {
    let geometry = Geometry::new(x, weight, stride, padding)?;
    let bias_by_row = bias.is_some_and(|bias| bias.rank() == 2);
    if let Some(bias) = bias
        && bias.dims() != [geometry.c_out]
        && bias.dims() != [geometry.batch, geometry.c_out]
    {
        bail!("conv2d: the bias {:?} does not fit the weight {:?}", bias.dims(), weight.dims());
    }
    if !super::is_fused(x) {
        return composed(x, weight, bias, &geometry);
    }
    let needs = |tensor: &Tensor| tensor.track_op();
    let (grad_x, grad_weight, grad_bias) = (needs(x), needs(weight), bias.is_some_and(needs));
    let operation = Convolution { geometry, grad_x, grad_weight, grad_bias, bias_by_row };
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match bias {
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, operation),
        None => x.apply_op2(&weight, operation),
    }
}

fn composed(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, geometry: &Geometry) -> Result<Tensor> {
    let Geometry { stride, padding, .. } = *geometry;
    let (height, width) = geometry.read_size();
    let left = |size: usize, read: usize| (size + 2 * padding).saturating_sub(read);
    let y = if left(geometry.height, height) == left(geometry.width, width) {
        x.conv2d(weight, padding, stride, 1, 1)?
    } else {
        // candle's gradient takes what a stride leaves unread to be as much across as down, and fails where it is not.
        let x = x.pad_with_zeros(2, padding, padding)?.pad_with_zeros(3, padding, padding)?;
        x.narrow(2, 0, height)?.narrow(3, 0, width)?.conv2d(weight, 0, stride, 1, 1)?
    };
    match bias {
        Some(bias) => y.broadcast_add(&bias.reshape(((), geometry.c_out, 1, 1))?),
        None => Ok(y),
    }
}
