//! The residual block of convolutions: diffusers' `ResnetBlock2D` (`models/resnet.py`).

use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;

use crate::layer::{Conv2d, GroupNorm, Linear};
use crate::op;

/// The shape of a [`ResnetBlock2D`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResnetShape {
    /// Channels of the input.
    pub n_in: usize,
    /// Channels of the output. Where they are others than the input's, a 1×1 convolution, `conv_shortcut`, is in the
    /// residual path.
    pub n_out: usize,
    /// Groups of both norms: a divisor of `n_in` and of `n_out`.
    pub n_groups: usize,
    /// Epsilon of both norms: 1e-5 in the UNet, 1e-6 in the VAE.
    pub eps: f64,
    /// Channels of the time embedding: 1280 in SD2's UNet, none in the VAE.
    pub n_time: Option<usize>,
}

/// x' + conv2(SiLU(norm2(conv1(SiLU(norm1(x))) + `time_emb_proj`(SiLU(time))))), where x' is x, or `conv_shortcut`(x).
#[derive(Clone, Debug)]
pub struct ResnetBlock2D {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
}

impl ResnetBlock2D {
    /// Loads `norm1`, `conv1`, `norm2`, `conv2`, and `time_emb_proj` and `conv_shortcut` where `shape` has them.
    ///
    /// # Errors
    /// When the channels cannot be grouped, or weights are missing or have other shapes.
    pub fn new(shape: ResnetShape, weights: &VarBuilder<'_>) -> Result<Self> {
        let ResnetShape { n_in, n_out, n_groups, eps, n_time } = shape;
        if n_groups == 0 || n_in % n_groups != 0 || n_out % n_groups != 0 {
            bail!("{}: {n_in} and {n_out} channels cannot be in {n_groups} groups each", weights.prefix());
        }
        let time_emb_proj = n_time.map(|n_time| Linear::new(n_time, n_out, &weights.pp("time_emb_proj")));
        let conv_shortcut = (n_in != n_out).then(|| Conv2d::new(n_in, n_out, 1, (1, 0), &weights.pp("conv_shortcut")));
        Ok(Self {
            norm1: GroupNorm::new(n_groups, n_in, eps, &weights.pp("norm1"))?,
            conv1: Conv2d::new(n_in, n_out, 3, (1, 1), &weights.pp("conv1"))?,
            time_emb_proj: time_emb_proj.transpose()?,
            norm2: GroupNorm::new(n_groups, n_out, eps, &weights.pp("norm2"))?,
            conv2: Conv2d::new(n_out, n_out, 3, (1, 1), &weights.pp("conv2"))?,
            conv_shortcut: conv_shortcut.transpose()?,
        })
    }

    /// `x` is (B, `n_in`, H, W), `time` the embedding (B, `n_time`) before its activation. Returns (B, `n_out`, H, W).
    ///
    /// # Errors
    /// When `time` is given to a block without, or not to one with a time embedding; when shapes do not fit.
    pub fn forward(&self, x: &Tensor, time: Option<&Tensor>) -> Result<Tensor> {
        let y = self.norm1.forward_silu(x)?; // (B, n_in, H, W)
        let y = match (&self.time_emb_proj, time) {
            (Some(time_emb_proj), Some(time)) => {
                let shift = time_emb_proj.forward(&op::silu(time)?)?; // (B, n_out)
                self.conv1.forward_shifted(&y, &shift)?
            }
            (None, None) => self.conv1.forward(&y)?,
            (Some(_), None) => bail!("a block with `time_emb_proj` needs the time embedding"),
            (None, Some(_)) => bail!("a block without `time_emb_proj` has no use for a time embedding"),
        }; // (B, n_out, H, W)
        let y = self.conv2.forward(&self.norm2.forward_silu(&y)?)?; // (B, n_out, H, W)
        match &self.conv_shortcut {
            Some(conv_shortcut) => op::add(&conv_shortcut.forward(x)?, &y),
            None => op::add(x, &y),
        }
    }
}
