//! Encoders: E(x), the patches of DINOv2 that say what a subject looks like; F(x), the global embedding of CLIP that says
//! what a picture shows; DINO's embedding, which judges likeness; and the text towers with their tokenizers.
//!
//! Each loads a folder as Hugging Face lays it out, `config.json` and `model.safetensors`, and nothing but that folder
//! says how large it is. Pixels are (B, 3, H, W), normalised as the model was trained: see `preprocessor_config.json`.
//! All of them compute in f32, and have gradients.
//!
//! - [`dinov2`]: E(x), (B, 1 + patches, C): (B, 257, 1536) for DINOv2-giant at 224 pixels.
//! - [`dino`]: the CLS token of DINO ViT-S/16, (B, 384).
//! - [`clip`]: F, (B, 768) for ViT-L/14 at 336 pixels, of images and of texts.
//! - [`text`]: the text tower of Stable Diffusion, (B, 77, 1024) for SD 2.
//! - [`tokenizer`]: texts to ids, (B, 77).

pub mod clip;
pub mod dino;
pub mod dinov2;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;
pub mod tokenizer;
mod vit;

use std::path::Path;

use candle_core::{D, Tensor};

use crate::weights::Weights;
use crate::{EngineError, Result};

/// Rows of unit length, for cosines. `x` is (…, C), and so is what is returned. A row of zeros stays one.
///
/// Eq. 4 mixes embeddings as they are; scores compare normalised ones.
///
/// # Errors
/// Of the tensors.
pub fn normalized(x: &Tensor) -> candle_core::Result<Tensor> {
    let norm = x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?; // (…, 1)
    x.broadcast_div(&norm.maximum(f32::MIN_POSITIVE as f64)?)
}

/// Refuses weights that have layers beyond those that the config counts: a model cut short gives numbers, but wrong ones.
fn refuse_further_layers(weights: &Weights, layers: &str, key: &str, n_layers: usize, config: &Path) -> Result<()> {
    match weights.unused().into_iter().find(|name| name.starts_with(layers)) {
        Some(name) => Err(EngineError::config(
            config,
            format!("key `{key}` is {n_layers}, but {} also holds `{name}`", weights.file().display()),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn normalized_rows_have_unit_length_and_zeros_stay() {
        let x = Tensor::new(&[[3f32, 4.0], [0.0, 0.0], [-1e-3, 0.0]], &Device::Cpu).unwrap();
        assert_eq!(normalized(&x).unwrap().to_vec2::<f32>().unwrap(), [[0.6, 0.8], [0.0, 0.0], [-1.0, 0.0]]);
    }
}
