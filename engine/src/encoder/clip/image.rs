//! CLIP's image tower.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use super::config::{self, ClipVisionConfig};
use super::{Layers, Widths};
use crate::Result;
use crate::encoder::vit::{Activation, Embeddings, Geometry, PatchEmbedding, check_heads, first_token};
use crate::layer::{LayerNorm, Linear};
use crate::weights::Weights;

/// CLIP's image tower with its projection: F(x) of a picture.
#[derive(Clone, Debug)]
pub struct ClipImage {
    config: ClipVisionConfig,
    geometry: Geometry,
    embeddings: Embeddings,
    pre_layrnorm: LayerNorm,
    layers: Layers,
    post_layernorm: LayerNorm,
    visual_projection: Linear,
}

impl ClipImage {
    /// Loads the image tower from a folder with `config.json` and weights, of both towers (`openai/clip-vit-large-patch14-336`)
    /// or of this one, in f32.
    ///
    /// # Errors
    /// When the config is wrong, or the weights do not fit it.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        let path = folder.join("config.json");
        let config = config::vision(&path)?;
        check_heads(config.hidden_size, config.num_attention_heads, &path)?;
        let geometry = Geometry::new(config.image_size, config.patch_size, &path)?;
        let activation = Activation::from_config(&config.hidden_act, &path)?;
        let weights = Weights::open(folder)?;
        let model = Self::new(config, geometry, activation, &weights.builder(DType::F32, device))?;
        let n_layers = model.config.num_hidden_layers;
        let layers = "vision_model.encoder.layers.";
        crate::encoder::refuse_further_layers(&weights, layers, "num_hidden_layers", n_layers, &path)?;
        Ok(model)
    }

    fn new(
        config: ClipVisionConfig,
        geometry: Geometry,
        activation: Activation,
        weights: &VarBuilder<'_>,
    ) -> candle_core::Result<Self> {
        let (width, eps) = (config.hidden_size, config.layer_norm_eps);
        let in_tower = weights.pp("vision_model");
        let in_embeddings = in_tower.pp("embeddings");
        let cls = in_embeddings.get(width, "class_embedding")?.reshape((1, 1, width))?;
        let positions =
            in_embeddings.get((geometry.n_positions(), width), "position_embedding.weight")?.unsqueeze(0)?;
        let projection = in_embeddings.pp("patch_embedding");
        let patches = PatchEmbedding::new(config.num_channels, width, geometry.patch_size, false, &projection)?;
        let widths = Widths {
            hidden: width,
            mlp: config.intermediate_size,
            n_heads: config.num_attention_heads,
            n_layers: config.num_hidden_layers,
            eps,
        };
        Ok(Self {
            embeddings: Embeddings::from_parts(cls, patches, positions, geometry),
            pre_layrnorm: LayerNorm::new(width, eps, &in_tower.pp("pre_layrnorm"))?,
            layers: Layers::new(&widths, activation, &in_tower)?,
            post_layernorm: LayerNorm::new(width, eps, &in_tower.pp("post_layernorm"))?,
            visual_projection: Linear::without_bias(width, config.projection_dim, &weights.pp("visual_projection"))?,
            geometry,
            config,
        })
    }

    /// F(x): `pixels` is (B, 3, S, S) with S = [`image_size`](Self::image_size). Returns (B, `projection_dim`), not
    /// normalised, as Eq. 4 mixes it.
    ///
    /// # Errors
    /// When the pixels have another shape, or of the tensors.
    pub fn forward(&self, pixels: &Tensor) -> candle_core::Result<Tensor> {
        let cls = first_token(&self.layers.0, self.embed(pixels)?)?; // (B, C)
        self.visual_projection.forward(&self.post_layernorm.forward(&cls)?)
    }

    /// All tokens after the last block, before the final norm: (B, 1 + patches, C), the CLS token first. `pixels` as for
    /// [`forward`](Self::forward).
    ///
    /// # Errors
    /// When the pixels have another shape, or of the tensors.
    pub fn last_hidden_state(&self, pixels: &Tensor) -> candle_core::Result<Tensor> {
        self.layers.forward(&self.embed(pixels)?, None, 0)
    }

    /// What enters the first block: (B, 1 + patches, C).
    fn embed(&self, pixels: &Tensor) -> candle_core::Result<Tensor> {
        let (_, _, height, width) = pixels.dims4()?;
        let side = self.geometry.image_size;
        if (height, width) != (side, side) {
            candle_core::bail!("pictures of {height} × {width} pixels: this CLIP takes {side} × {side}");
        }
        self.pre_layrnorm.forward(&self.embeddings.forward(pixels)?)
    }

    /// What the config says.
    #[must_use]
    pub fn config(&self) -> &ClipVisionConfig {
        &self.config
    }

    /// The side of the pictures that it takes, in pixels.
    #[must_use]
    pub fn image_size(&self) -> usize {
        self.geometry.image_size
    }
}
