//! V, H and the learnable token: all that is trained of M.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{D, DType, Device, Result as TensorResult, Tensor, bail};
use candle_nn::VarBuilder;

use super::config::{AdapterConfig, Distance};
use crate::error::Result;
use crate::layer::Linear;
use crate::noise::Noise;
use crate::weights::{Metadata, Variables, Weights, save_pretrained};

/// What joins E, F and a language model.
#[derive(Clone, Debug)]
pub struct Adapter {
    config: AdapterConfig,
    /// V.
    image_projection: Linear,
    /// H.
    condition_projection: Linear,
    /// (C).
    token: Tensor,
}

impl Adapter {
    /// Loads `config.json` and the weights in `folder`, for inference.
    ///
    /// # Errors
    /// When one is missing, or they do not fit each other.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        let config = AdapterConfig::read(&folder.join("config.json"))?;
        Ok(Self::new(config, &Weights::open(folder)?.builder(DType::F32, device))?)
    }

    /// Builds it of `weights`, all of it as variables. Returns it with those.
    ///
    /// # Errors
    /// When they do not fit `config`.
    pub fn for_training(config: AdapterConfig, weights: &Weights, device: &Device) -> Result<(Self, Variables)> {
        let variables = Variables::selected_by(|_| true);
        let adapter = Self::new(config, &weights.trainable(&variables, DType::F32, device))?;
        Ok((adapter, variables))
    }

    fn new(config: AdapterConfig, weights: &VarBuilder<'_>) -> TensorResult<Self> {
        let (width, of_image, of_condition) = (config.hidden_size, config.vision_hidden_size, config.projection_dim);
        Ok(Self {
            image_projection: Linear::new(of_image, width, &weights.pp("image_projection"))?,
            condition_projection: Linear::new(width, of_condition, &weights.pp("condition_projection"))?,
            token: weights.get(width, "token")?,
            config,
        })
    }

    /// Weights to begin a training with: projections as PyTorch's `nn.Linear` begins them, within ±1/√width, and a token of
    /// the spread `token_std`, which should be that of the language model's embeddings.
    ///
    /// # Errors
    /// Of the tensors.
    pub fn initial(config: &AdapterConfig, token_std: f64, noise: &Noise) -> Result<BTreeMap<String, Tensor>> {
        let (width, of_image, of_condition) = (config.hidden_size, config.vision_hidden_size, config.projection_dim);
        let uniform = |name: &str, shape: &[usize], n_in: usize| -> Result<(String, Tensor)> {
            let drawn = noise.of(name).uniform(shape.iter().product());
            let bound = 1.0 / (n_in as f64).sqrt();
            let values: Vec<f32> = drawn.into_iter().map(|value| ((2.0 * value - 1.0) * bound) as f32).collect();
            Ok((name.to_owned(), Tensor::from_vec(values, shape, &Device::Cpu)?))
        };
        let token = (noise.of("token").normal(width, &Device::Cpu)? * token_std)?;
        Ok(BTreeMap::from([
            uniform("image_projection.weight", &[width, of_image], of_image)?,
            uniform("image_projection.bias", &[width], of_image)?,
            uniform("condition_projection.weight", &[of_condition, width], width)?,
            uniform("condition_projection.bias", &[of_condition], width)?,
            ("token".to_owned(), token),
        ]))
    }

    /// Writes `config.json` and `tensors` to `folder`, in the layout they are loaded from.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn save(
        config: &AdapterConfig,
        tensors: &BTreeMap<String, Tensor>,
        metadata: &Metadata,
        folder: &Path,
    ) -> Result<()> {
        Ok(save_pretrained(folder, config, ("model.safetensors", tensors), metadata)?)
    }

    /// What it was built by.
    #[must_use]
    pub fn config(&self) -> &AdapterConfig {
        &self.config
    }

    /// V(E(x)): `dino` (B, 1 + N, `D_dino`) is a class token and N patches of a square; returns (B, 1 + N/pool², C).
    ///
    /// # Errors
    /// When the width is another, or patches cannot be pooled.
    pub fn image_tokens(&self, dino: &Tensor) -> TensorResult<Tensor> {
        let (_, n_tokens, width) = dino.dims3()?;
        if width != self.config.vision_hidden_size || n_tokens == 0 {
            let wanted = self.config.vision_hidden_size;
            bail!("image tokens of shape {:?}: these projections take a width of {wanted}", dino.dims());
        }
        self.image_projection.forward(&self.pooled(dino)?)
    }

    pub(super) fn pooled(&self, dino: &Tensor) -> TensorResult<Tensor> {
        let pool = self.config.image_pool;
        if pool == 1 {
            return Ok(dino.clone());
        }
        let (batch, n_tokens, width) = dino.dims3()?;
        let side = (n_tokens - 1).isqrt();
        if side * side != n_tokens - 1 || side % pool != 0 || side == 0 {
            bail!("{} patches: squares of {pool}x{pool} of them cannot be made", n_tokens - 1);
        }
        let (class, patches) = (dino.narrow(1, 0, 1)?, dino.narrow(1, 1, side * side)?);
        let squares = patches.contiguous()?.reshape((batch, side / pool, pool, side / pool, pool * width))?;
        let rows = squares.mean(2)?.reshape((batch, side / pool, side / pool, pool, width))?;
        let pooled = rows.mean(3)?.reshape((batch, (side / pool) * (side / pool), width))?;
        Tensor::cat(&[class, pooled], 1)
    }

    /// H(s): `states` (B, C) are the language model's at the learnable token; returns (B, `D_clip`). As Eq. 2 compares it with
    /// F(x~).
    ///
    /// # Errors
    /// When the width is another.
    pub fn project(&self, states: &Tensor) -> TensorResult<Tensor> {
        self.condition_projection.forward(states)
    }

    /// H(s) as G takes it in place of F(x~): [`project`](Self::project), of the length that F has where training fixed the
    /// direction alone.
    ///
    /// # Errors
    /// When the width is another.
    pub fn condition(&self, states: &Tensor) -> TensorResult<Tensor> {
        let condition = self.project(states)?;
        let (Distance::Cosine, Some(norm)) = (self.config.distance, self.config.condition_norm) else {
            return Ok(condition);
        };
        let length = condition.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?.clamp(1e-12, f64::MAX)?; // (B, 1)
        condition.broadcast_div(&length)? * norm
    }

    /// The learnable token's embedding: (C).
    #[must_use]
    pub fn token(&self) -> &Tensor {
        &self.token
    }

    #[cfg(test)]
    pub(super) fn with_pool(&self, image_pool: usize) -> Self {
        Self { config: AdapterConfig { image_pool, ..self.config.clone() }, ..self.clone() }
    }

    #[cfg(test)]
    pub(super) fn with_norm(&self, norm: f64) -> Self {
        Self { config: AdapterConfig { condition_norm: Some(norm), ..self.config.clone() }, ..self.clone() }
    }
}
