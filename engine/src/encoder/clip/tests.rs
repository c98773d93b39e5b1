use candle_core::{DType, Device};

use super::*;
use crate::encoder::normalized;
use crate::encoder::testing::{batched_is_single, copied, message, save_without};
use crate::golden::{Golden, assert_close};

fn agrees(name: &str) {
    let golden = Golden::open(name);
    let image = ClipImage::load(golden.folder(), &Device::Cpu).unwrap();
    let embedding = image.forward(golden.case("pixels")).unwrap();
    golden.assert_close("image", &embedding);
    golden.assert_close("image.normalized", &normalized(&embedding).unwrap());
    golden.assert_close("image.last_hidden_state", &image.last_hidden_state(golden.case("pixels")).unwrap());

    let text = ClipText::load(golden.folder(), &Device::Cpu).unwrap();
    let embedding = text.forward(golden.case("ids")).unwrap();
    golden.assert_close("text", &embedding);
    golden.assert_close("text.normalized", &normalized(&embedding).unwrap());
    golden.assert_close("short.text", &text.forward(golden.case("short.ids")).unwrap());
}

#[test]
fn it_agrees_with_transformers() {
    agrees("clip");
}

/// Another implementation than ours and the goldens'.
#[test]
fn it_agrees_with_candle_transformers() {
    use candle_transformers::models::clip::vision_model::ClipVisionConfig;
    use candle_transformers::models::clip::{ClipConfig, ClipModel, text_model};
    let golden = Golden::open("clip");
    let image = ClipImage::load(golden.folder(), &Device::Cpu).unwrap();
    let text = ClipText::load(golden.folder(), &Device::Cpu).unwrap();
    let (vision, words) = (image.config(), text.config());
    let theirs = ClipConfig {
        text_config: text_model::ClipTextConfig {
            vocab_size: words.vocab_size,
            embed_dim: words.hidden_size,
            activation: text_model::Activation::QuickGelu,
            intermediate_size: words.intermediate_size,
            max_position_embeddings: words.max_position_embeddings,
            pad_with: None,
            num_hidden_layers: words.num_hidden_layers,
            num_attention_heads: words.num_attention_heads,
            projection_dim: words.projection_dim,
        },
        vision_config: ClipVisionConfig {
            embed_dim: vision.hidden_size,
            activation: text_model::Activation::QuickGelu,
            intermediate_size: vision.intermediate_size,
            num_hidden_layers: vision.num_hidden_layers,
            num_attention_heads: vision.num_attention_heads,
            projection_dim: vision.projection_dim,
            num_channels: vision.num_channels,
            image_size: 18,
            patch_size: 4,
        },
        logit_scale_init_value: 2.6592,
        image_size: 18,
    };
    let weights = golden.weights();
    let theirs = ClipModel::new(weights.builder(DType::F32, &Device::Cpu), &theirs).unwrap();
    let (pixels, ids) = (golden.case("pixels"), golden.case("ids"));
    let expected = theirs.get_image_features(pixels).unwrap();
    assert_close("image", &image.forward(pixels).unwrap(), &expected, 1e-5);
    let expected = theirs.get_text_features(ids).unwrap();
    assert_close("text", &text.forward(ids).unwrap(), &expected, 1e-5);
}

#[test]
fn exact_gelu_and_an_end_of_text_token_of_its_own_agree_too() {
    agrees("clip-gelu");
}

#[test]
fn composed_operations_agree_too() {
    crate::op::composed(|| agrees("clip"));
}

#[test]
fn a_batch_is_its_rows() {
    let golden = Golden::open("clip");
    let image = ClipImage::load(golden.folder(), &Device::Cpu).unwrap();
    batched_is_single(golden.case("pixels"), |pixels| image.forward(pixels));
    let text = ClipText::load(golden.folder(), &Device::Cpu).unwrap();
    batched_is_single(golden.case("ids"), |ids| text.forward(ids));
}

#[test]
fn keys_that_are_absent_have_the_defaults_of_transformers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    // As `openai/clip-vit-large-patch14-336` once had it, and with the twins of old versions, which win.
    let text = r#"{"model_type": "clip", "projection_dim": 768, "text_config": {"hidden_size": 768},
        "vision_config": null, "vision_config_dict": {"image_size": 336, "patch_size": 14}, "text_config_dict": null}"#;
    std::fs::write(&path, text).unwrap();
    let (vision, text) = (config::vision(&path).unwrap(), config::text(&path).unwrap());
    assert_eq!((vision.projection_dim, vision.image_size.side(), vision.num_hidden_layers), (768, Some(336), 12));
    assert_eq!((text.projection_dim, text.hidden_size, text.eos_token_id), (768, 768, 49407));
    assert_eq!((text.hidden_act.as_str(), text.num_attention_heads), ("quick_gelu", 8));

    std::fs::write(&path, r#"{"model_type": "clip_vision_model", "projection_dim": 1024, "hidden_act": "gelu"}"#)
        .unwrap();
    let vision = config::vision(&path).unwrap();
    assert_eq!((vision.projection_dim, vision.hidden_act.as_str()), (1024, "gelu"));
    assert!(config::text(&path).unwrap_err().to_string().contains("key `model_type` is \"clip_vision_model\""));
}

#[test]
fn weights_that_do_not_fit_are_errors_that_say_why() {
    let golden = Golden::open("clip");
    let load = |key: &str, value: serde_json::Value| {
        let folder = copied(&golden, &[(key, value)]);
        (
            message(ClipImage::load(folder.path(), &Device::Cpu).map(drop), &folder),
            message(ClipText::load(folder.path(), &Device::Cpu).map(drop), &folder),
        )
    };
    let (image, text) = load("projection_dim", 24.into());
    assert!(image.contains("`visual_projection.weight` has shape [20, 40], and FOLDER/config.json asks for [24, 40]"));
    assert!(text.contains("`text_projection.weight` has shape [20, 32], and FOLDER/config.json asks for [24, 32]"));

    let image = |key: &str, value: serde_json::Value| {
        let folder = copied(&golden, &[(key, value)]);
        message(ClipImage::load(folder.path(), &Device::Cpu), &folder)
    };
    assert!(image("vision_config.num_hidden_layers", 1.into()).contains("also holds `vision_model.encoder.layers.1."));
    assert!(image("vision_config.hidden_act", "relu".into()).contains("key `hidden_act` is \"relu\""));
    assert!(
        image("vision_config.image_size", 22.into()).contains("`vision_model.embeddings.position_embedding.weight`")
    );
    assert!(image("vision_config.hidden_size", "x".into()).contains("key `vision_config.hidden_size`: invalid type"));
    assert!(image("model_type", "siglip".into()).contains("key `model_type` is \"siglip\""));

    let folder = copied(&golden, &[]);
    save_without(&golden, "text_model.final_layer_norm.weight", &folder);
    let error = message(ClipText::load(folder.path(), &Device::Cpu), &folder);
    assert!(error.contains("has no tensor `text_model.final_layer_norm.weight`"), "{error}");
    assert!(ClipImage::load(folder.path(), &Device::Cpu).is_ok(), "the image tower does not need it");
}

#[test]
fn inputs_that_do_not_fit_are_errors() {
    let golden = Golden::open("clip-gelu");
    let image = ClipImage::load(golden.folder(), &Device::Cpu).unwrap();
    let pixels = Tensor::zeros((1, 3, 18, 22), candle_core::DType::F32, &Device::Cpu).unwrap();
    let error = image.forward(&pixels).unwrap_err().to_string();
    assert!(error.starts_with("pictures of 18 × 22 pixels: this CLIP takes 18 × 18"), "{error}");

    let text = ClipText::load(golden.folder(), &Device::Cpu).unwrap();
    let error = text.forward(&Tensor::new(vec![vec![0u32, 51], vec![0, 1]], &Device::Cpu).unwrap()).unwrap_err();
    assert!(error.to_string().starts_with("text 1 has no end-of-text token, 51"), "{error}");
    assert!(text.forward(&Tensor::new(vec![vec![0u32, 60, 51]], &Device::Cpu).unwrap()).is_err());
    assert!(text.forward(&Tensor::zeros((1, 0), candle_core::DType::U32, &Device::Cpu).unwrap()).is_err());
    assert!(text.forward(&Tensor::zeros((1, 13), candle_core::DType::U32, &Device::Cpu).unwrap()).is_err());
    assert!(text.forward(&Tensor::zeros(3, candle_core::DType::U32, &Device::Cpu).unwrap()).is_err());
}

#[test]
fn it_has_a_gradient_with_respect_to_pixels() {
    let golden = Golden::open("clip");
    let image = ClipImage::load(golden.folder(), &Device::Cpu).unwrap();
    let pixels = candle_core::Var::from_tensor(golden.case("pixels")).unwrap();
    let gradients = image.forward(&pixels).unwrap().sum_all().unwrap().backward().unwrap();
    golden.assert_close("image.gradient", gradients.get(&pixels).unwrap());
}
