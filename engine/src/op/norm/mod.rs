//! Normalisations.

mod group;
mod layer;
mod rms;

use candle_core::{D, Result, Tensor, bail};

pub(crate) use rms::rms_norm_rows;

/// Layer norm over the last dimension of `x` (…, C), with `weight` and `bias` (C).
///
/// # Errors
/// When shapes do not fit, or of the tensors.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    if width == 0 || weight.dims() != [width] || bias.dims() != [width] {
        bail!("layer norm of {:?} with weight {:?} and bias {:?}", x.dims(), weight.dims(), bias.dims());
    }
    if super::is_fused(x) {
        return x.contiguous()?.apply_op3(
            &weight.contiguous()?,
            &bias.contiguous()?,
            layer::LayerNorm { eps: eps as f32 },
        );
    }
    // Not candle's own: it has no gradient.
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + eps)?.sqrt()?)?.broadcast_mul(weight)?.broadcast_add(bias)
}

/// RMS norm over the last dimension of `x` (…, C), with `weight` (C): x / √(mean(x²) + ε)·w, as Llama has it.
///
/// # Errors
/// When shapes do not fit, or of the tensors.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    if width == 0 || weight.dims() != [width] {
        bail!("RMS norm of {:?} with weight {:?}", x.dims(), weight.dims());
    }
    if super::is_fused(x) {
        return x.contiguous()?.apply_op2(&weight.contiguous()?, rms::RmsNorm { eps: eps as f32 });
    }
    // Not candle's own: it has no gradient.
    let square = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?;
    x.broadcast_div(&square.sqrt()?)?.broadcast_mul(weight)
}

/// Group norm of `x` (B, C, …) in `n_groups` groups of channels, with `weight` and `bias` (C).
///
/// # Errors
/// When shapes do not fit, or of the tensors.
pub fn group_norm(x: &Tensor, n_groups: usize, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    group(x, n_groups, (weight, bias), eps, false)
}

/// [`group_norm`], then SiLU.
///
/// # Errors
/// When shapes do not fit, or of the tensors.
pub fn group_norm_silu(x: &Tensor, n_groups: usize, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    group(x, n_groups, (weight, bias), eps, true)
}

fn group(x: &Tensor, n_groups: usize, (weight, bias): (&Tensor, &Tensor), eps: f64, silu: bool) -> Result<Tensor> {
    let (batch, channels) = (x.dim(0)?, x.dim(1)?);
    if n_groups == 0 || x.elem_count() == 0 || !channels.is_multiple_of(n_groups) {
        bail!("group norm of {:?} in {n_groups} groups: the channels must be a multiple of them", x.dims());
    }
    if weight.dims() != [channels] || bias.dims() != [channels] {
        bail!("group norm of {channels} channels with weight {:?} and bias {:?}", weight.dims(), bias.dims());
    }
    if super::is_fused(x) {
        let norm = group::GroupNorm { n_groups, eps: eps as f32, silu };
        return x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, norm);
    }
    let dims = x.dims();
    let grouped = x.reshape((batch, n_groups, x.elem_count() / batch / n_groups))?;
    let centred = grouped.broadcast_sub(&grouped.mean_keepdim(2)?)?;
    let variance = centred.sqr()?.mean_keepdim(2)?;
    let normed = centred.broadcast_div(&(variance + eps)?.sqrt()?)?.reshape(dims)?;
    let mut by_channel = vec![1; dims.len()];
    if let Some(axis) = by_channel.get_mut(1) {
        *axis = channels;
    }
    let by_channel = by_channel.as_slice();
    let normed = normed.broadcast_mul(&weight.reshape(by_channel)?)?.broadcast_add(&bias.reshape(by_channel)?)?;
    if silu { normed.silu() } else { Ok(normed) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agrees_with_pytorch, compare, normal};
    use super::*;

    #[test]
    fn fused_layer_norm_is_composed() {
        for shape in [&[2, 5, 24][..], &[7, 1], &[3, 100]] {
            let width = shape[shape.len() - 1];
            let x = (normal(1, shape) * 2.0).unwrap().affine(1.0, 3.0).unwrap();
            compare(&[x, normal(2, &[width]), normal(3, &[width])], |tensors| {
                layer_norm(&tensors[0], &tensors[1], &tensors[2], 1e-5)
            });
        }
    }

    #[test]
    fn fused_rms_norm_is_composed() {
        for shape in [&[2, 5, 24][..], &[7, 1], &[3, 100]] {
            let width = shape[shape.len() - 1];
            compare(&[normal(1, shape), normal(2, &[width])], |tensors| rms_norm(&tensors[0], &tensors[1], 1e-5));
        }
    }

    #[test]
    fn fused_group_norm_is_composed() {
        for (shape, n_groups) in [(&[2, 8, 5, 3][..], 4), (&[1, 6, 1, 1], 2), (&[3, 12, 40], 3), (&[2, 4, 9, 9], 1)] {
            let x = (normal(1, shape) * 2.0).unwrap().affine(1.0, -1.0).unwrap();
            let tensors = [x, normal(2, &[shape[1]]), normal(3, &[shape[1]])];
            compare(&tensors, |tensors| group_norm(&tensors[0], n_groups, &tensors[1], &tensors[2], 1e-5));
            compare(&tensors, |tensors| group_norm_silu(&tensors[0], n_groups, &tensors[1], &tensors[2], 1e-5));
        }
    }

    #[test]
    fn a_mean_far_from_zero_does_not_drown_the_rest() {
        let x = normal(1, &[1, 4, 64, 64]);
        let far = x.affine(1.0, 1000.0).unwrap();
        let (ones, zeros) = (normal(2, &[4]).ones_like().unwrap(), normal(2, &[4]).zeros_like().unwrap());
        let norm = |x: &Tensor| group_norm(x, 1, &ones, &zeros, 1e-5).unwrap();
        crate::golden::assert_close("norm", &norm(&far), &norm(&x), 1e-3);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (x, three, four) = (normal(1, &[2, 4, 3]), normal(2, &[3]), normal(3, &[4]));
        assert!(group_norm(&x, 3, &four, &four, 1e-5).is_err());
        assert!(group_norm(&x, 2, &three, &four, 1e-5).is_err());
        assert!(layer_norm(&x, &three, &four, 1e-5).is_err());
        assert!(rms_norm(&x, &four, 1e-5).is_err());
    }

    #[test]
    fn results_and_gradients_are_pytorchs() {
        let arguments = ["x", "weight", "bias"];
        for shape in ["1x13", "2x5x24", "3x7x33"] {
            agrees_with_pytorch(&format!("layer_norm.{shape}"), &arguments, |tensors| {
                layer_norm(&tensors[0], &tensors[1], &tensors[2], 1e-5)
            });
        }
        for n_groups in [1, 2, 4, 8] {
            agrees_with_pytorch(&format!("group_norm.{n_groups}"), &arguments, |tensors| {
                group_norm(&tensors[0], n_groups, &tensors[1], &tensors[2], 1e-6)
            });
            agrees_with_pytorch(&format!("group_norm_silu.{n_groups}"), &arguments, |tensors| {
                group_norm_silu(&tensors[0], n_groups, &tensors[1], &tensors[2], 1e-6)
            });
        }
    }
}
