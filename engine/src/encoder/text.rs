//! The text encoder of Stable Diffusion: CLIP's text tower, all tokens of which condition the UNet; `CLIPTextModel` of HF
//! transformers. That of SD 2 is OpenCLIP ViT-H/14's, with exact GELU and its last block left out: 23 of 24.

use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::clip::{ClipTextConfig, TextTower};
use crate::Result;
use crate::weights::Weights;

/// After which block tokens are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The last that the weights have, as diffusers' pipelines take them: `last_hidden_state`.
    Last,
    /// The one before it, as ProFusion (arXiv 2305.13579) takes them: `hidden_states[-2]`.
    Penultimate,
}

/// The text encoder of Stable Diffusion.
#[derive(Clone, Debug)]
pub struct TextEncoder {
    config: ClipTextConfig,
    tower: TextTower,
}

impl TextEncoder {
    /// Loads the folder's `config.json` and weights (`text_encoder/` of a pipeline), in f32. Names may have the prefix
    /// `text_model.`, as published ones have, or none.
    ///
    /// # Errors
    /// When the config is wrong, or the weights do not fit it.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        let path = folder.join("config.json");
        let config = super::clip::text_config(&path)?;
        let weights = Weights::open(folder)?;
        let is_bare = weights.contains("embeddings.token_embedding.weight");
        let builder = weights.builder(DType::F32, device);
        let (builder, layers) = match is_bare {
            true => (builder, "encoder.layers."),
            false => (builder.pp("text_model"), "text_model.encoder.layers."),
        };
        let tower = TextTower::new(&config, &path, &builder)?;
        let n_layers = config.num_hidden_layers;
        super::refuse_further_layers(&weights, layers, "num_hidden_layers", n_layers, &path)?;
        Ok(Self { config, tower })
    }

    /// `ids` is (B, T) of u32, T at most 77. Returns the last block's tokens after the final layer norm, (B, T, C).
    ///
    /// # Errors
    /// When texts are too long or have ids beyond the vocabulary, or of the tensors.
    pub fn forward(&self, ids: &Tensor) -> candle_core::Result<Tensor> {
        self.forward_embeddings(&self.embeddings(ids)?, Layer::Last)
    }

    /// What enters the first block: the embeddings of tokens and of their positions, added. `ids` is (B, T) of u32; returns
    /// (B, T, C).
    ///
    /// # Errors
    /// When texts are too long or have ids beyond the vocabulary, or of the tensors.
    pub fn embeddings(&self, ids: &Tensor) -> candle_core::Result<Tensor> {
        self.tower.embed(ids)
    }

    /// Runs tokens that are embedded already, with their positions: `embeddings` is (B, T, C). Returns the tokens after
    /// `layer` and the final layer norm, (B, T, C); differentiable.
    ///
    /// # Errors
    /// Of the tensors.
    pub fn forward_embeddings(&self, embeddings: &Tensor, layer: Layer) -> candle_core::Result<Tensor> {
        let n_left_out = match layer {
            Layer::Last => 0,
            Layer::Penultimate => 1,
        };
        self.tower.norm(&self.tower.hidden_state(embeddings, n_left_out)?)
    }

    /// What the config says.
    #[must_use]
    pub fn config(&self) -> &ClipTextConfig {
        &self.config
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::encoder::testing::{batched_is_single, copied, message};
    use crate::golden::{Golden, relative_error};

    fn loaded() -> (Golden, TextEncoder) {
        let golden = Golden::open("text-sd2");
        let model = TextEncoder::load(golden.folder(), &Device::Cpu).unwrap();
        (golden, model)
    }

    #[test]
    fn it_agrees_with_transformers() {
        let (golden, model) = loaded();
        let embeddings = model.embeddings(golden.case("ids")).unwrap();
        golden.assert_close("embeddings", &embeddings);
        golden.assert_close("last_hidden_state", &model.forward(golden.case("ids")).unwrap());
        golden.assert_close("penultimate", &model.forward_embeddings(&embeddings, Layer::Penultimate).unwrap());
        assert_eq!(model.config().max_position_embeddings, 77);
    }

    #[test]
    fn a_batch_is_its_rows() {
        let (golden, model) = loaded();
        batched_is_single(golden.case("ids"), |ids| model.forward(ids));
    }

    #[test]
    fn an_injected_token_is_encoded_and_has_a_gradient() {
        let (golden, model) = loaded();
        let gradient = || {
            let embeddings = Var::from_tensor(golden.case("injected")).unwrap();
            let y = model.forward_embeddings(&embeddings, Layer::Penultimate).unwrap();
            golden.assert_close("injected.penultimate", &y);
            let gradients = (y * golden.case("upstream")).unwrap().sum_all().unwrap().backward().unwrap();
            gradients.get(&embeddings).unwrap().clone()
        };
        for gradient in [gradient(), crate::op::composed(gradient)] {
            let error = relative_error(&gradient, golden.case("injected.gradient"));
            assert!(error < 1e-4, "‖g−g_ref‖ / ‖g_ref‖ = {error:.2e}");
        }
    }

    #[test]
    fn names_may_have_no_prefix() {
        let (golden, _) = loaded();
        let folder = copied(&golden, &[]);
        let weights = golden.weights();
        let bare =
            |name: String| (name.strip_prefix("text_model.").unwrap().to_owned(), weights.tensor(&name).unwrap());
        let tensors = weights.names().into_iter().map(bare).collect();
        crate::weights::save(&tensors, &Default::default(), &folder.path().join("model.safetensors")).unwrap();
        let model = TextEncoder::load(folder.path(), &Device::Cpu).unwrap();
        golden.assert_close("last_hidden_state", &model.forward(golden.case("ids")).unwrap());
    }

    #[test]
    fn what_does_not_fit_is_an_error_that_says_why() {
        let (golden, model) = loaded();
        let load = |key: &str, value: serde_json::Value| {
            let folder = copied(&golden, &[(key, value)]);
            message(TextEncoder::load(folder.path(), &Device::Cpu), &folder)
        };
        assert!(load("num_hidden_layers", 2.into()).contains("also holds `text_model.encoder.layers.2."));
        assert!(load("num_hidden_layers", 4.into()).contains("has no tensor `text_model.encoder.layers.3."));
        assert!(
            load("vocab_size", 61.into()).contains("`text_model.embeddings.token_embedding.weight` has shape [60, 32]")
        );
        assert!(load("hidden_act", "gelu_new".into()).contains("key `hidden_act` is \"gelu_new\""));
        assert!(load("model_type", "t5".into()).contains("key `model_type` is \"t5\""));

        let ids = |ids: Vec<u32>| Tensor::new(vec![ids], &Device::Cpu).unwrap();
        assert!(model.forward(&ids(vec![60])).is_err());
        let error = model.forward(&ids(vec![0; 78])).unwrap_err().to_string();
        assert!(error.starts_with("texts of 78 tokens: this text tower takes 77 at most"), "{error}");
    }
}
