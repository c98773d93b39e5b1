//! What the encoder says of latents: a normal distribution of each.

use candle_core::{Result, Tensor, bail};

/// Independent normal distributions, one per latent (diffusers' `DiagonalGaussianDistribution`).
#[derive(Clone, Debug)]
pub struct LatentDistribution {
    /// Means, (B, C, H, W).
    pub mean: Tensor,
    /// Logarithms of the variances, (B, C, H, W), in −30..=20.
    pub log_variance: Tensor,
}

impl LatentDistribution {
    /// From the encoder's channels: means first, then logarithms of variances; (B, 2·C, H, W).
    pub(super) fn new(moments: &Tensor) -> Result<Self> {
        let n_channels = moments.dim(1)? / 2;
        Ok(Self {
            mean: moments.narrow(1, 0, n_channels)?,
            log_variance: moments.narrow(1, n_channels, n_channels)?.clamp(-30.0, 20.0)?,
        })
    }

    /// The most likely latents: their means, (B, C, H, W).
    #[must_use]
    pub fn mode(&self) -> &Tensor {
        &self.mean
    }

    /// mean + deviation·`noise`: a sample, where `noise` (B, C, H, W) is standard normal.
    ///
    /// # Errors
    /// When `noise` has another shape, or of the tensors.
    pub fn sample(&self, noise: &Tensor) -> Result<Tensor> {
        if noise.dims() != self.mean.dims() {
            bail!("noise of shape {:?} for latents of shape {:?}", noise.dims(), self.mean.dims());
        }
        &self.mean + ((&self.log_variance * 0.5)?.exp()? * noise)?
    }
}
