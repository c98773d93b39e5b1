//! The timestep embedding.

use candle_core::{D, DType, Result, Tensor};
use candle_nn::VarBuilder;

use super::config::UNetConfig;
use crate::layer::Linear;
use crate::op;

/// Sinusoids of a timestep, then two linear layers: `time_embedding` of diffusers.
#[derive(Clone, Debug)]
pub(crate) struct TimestepEmbedding {
    linear_1: Linear,
    linear_2: Linear,
    n_channels: usize,
    flip_sin_to_cos: bool,
    freq_shift: f64,
}

impl TimestepEmbedding {
    pub(crate) fn new(config: &UNetConfig, weights: &VarBuilder<'_>) -> Result<Self> {
        let n_channels = config.block_out_channels.first().copied().unwrap_or_default();
        let width = config.time_embedding_dim();
        Ok(Self {
            linear_1: Linear::new(n_channels, width, &weights.pp("linear_1"))?,
            linear_2: Linear::new(width, width, &weights.pp("linear_2"))?,
            n_channels,
            flip_sin_to_cos: config.flip_sin_to_cos,
            freq_shift: config.freq_shift,
        })
    }

    /// `timesteps` is (B), one for each row. Returns (B, 4·C).
    pub(crate) fn forward(&self, timesteps: &Tensor) -> Result<Tensor> {
        let half = self.n_channels / 2;
        let step = -(10_000_f64.ln()) / (half as f64 - self.freq_shift);
        let frequencies: Vec<f32> = (0..half).map(|index| (index as f64 * step).exp() as f32).collect();
        let frequencies = Tensor::from_vec(frequencies, (1, half), timesteps.device())?;
        let angles = timesteps.to_dtype(DType::F32)?.unsqueeze(1)?.broadcast_mul(&frequencies)?; // (B, C/2)
        let (sines, cosines) = (angles.sin()?, angles.cos()?);
        let sinusoids = if self.flip_sin_to_cos {
            Tensor::cat(&[cosines, sines], D::Minus1)?
        } else {
            Tensor::cat(&[sines, cosines], D::Minus1)?
        };
        self.linear_2.forward(&op::silu(&self.linear_1.forward(&sinusoids)?)?)
    }
}
