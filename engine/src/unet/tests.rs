use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::golden::{Golden, assert_close};

fn load(golden: &Golden) -> UNet {
    UNet::load(golden.folder(), &Device::Cpu).unwrap()
}

fn text_case(name: &str) {
    let golden = Golden::open(name);
    let unet = load(&golden);
    let states = golden.case("states");
    let conditioning = Conditioning::Text(states.clone());
    let out = unet.forward(golden.case("latents"), golden.case("timesteps"), &conditioning).unwrap();
    golden.assert_close("out", &out);
}

#[test]
fn sd2_is_diffusers() {
    text_case("unet_sd2");
}

#[test]
fn sd1_is_diffusers() {
    text_case("unet_sd1");
}

fn cafe_conditions(golden: &Golden) -> CafeConditioning {
    CafeConditioning { clip: golden.case("in.clip").clone(), dino: golden.case("in.dino").clone() }
}

fn cafe_forward(unet: &UNet, golden: &Golden) -> Tensor {
    let conditioning = Conditioning::Cafe(cafe_conditions(golden));
    unet.forward(golden.case("in.latents"), golden.case("in.timesteps"), &conditioning).unwrap()
}

#[test]
fn decoupled_attention_is_the_reference() {
    let golden = Golden::open("cafe_unet");
    golden.assert_close("out.forward", &cafe_forward(&load(&golden), &golden));
}

#[test]
fn composed_operations_give_the_same() {
    let golden = Golden::open("cafe_unet");
    crate::op::composed(|| golden.assert_close("out.forward", &cafe_forward(&load(&golden), &golden)));
}

#[test]
fn a_row_is_the_same_alone_and_in_a_batch() {
    let golden = Golden::open("cafe_unet");
    let unet = load(&golden);
    let batched = cafe_forward(&unet, &golden);
    let conditions = cafe_conditions(&golden);
    for row in 0..3 {
        let one = |tensor: &Tensor| tensor.narrow(0, row, 1).unwrap();
        let conditioning =
            Conditioning::Cafe(CafeConditioning { clip: one(&conditions.clip), dino: one(&conditions.dino) });
        let alone =
            unet.forward(&one(golden.case("in.latents")), &one(golden.case("in.timesteps")), &conditioning).unwrap();
        assert_close("row", &alone, &one(&batched), 1e-5);
    }
}

/// The golden's weights, changed.
fn altered(golden: &Golden, change: impl FnOnce(&mut BTreeMap<String, Tensor>)) -> Weights {
    let weights = golden.weights();
    let mut tensors: BTreeMap<String, Tensor> =
        weights.names().into_iter().map(|name| (name.clone(), weights.tensor(&name).unwrap())).collect();
    change(&mut tensors);
    Weights::from_tensors(tensors, weights.file())
}

fn one_token_config(golden: &Golden) -> UNetConfig {
    let mut config = UNetConfig::read(&golden.folder().join("config.json")).unwrap();
    config.cafe.as_mut().unwrap().n_clip_tokens = 1;
    config
}

#[test]
fn with_one_clip_token_its_keys_do_nothing() {
    let golden = Golden::open("cafe_unet");
    let config = one_token_config(&golden);
    let plain = UNet::from_weights(config.clone(), &golden.weights(), &Device::Cpu).unwrap();
    let other_keys = altered(&golden, |tensors| {
        for (name, tensor) in tensors.iter_mut().filter(|(name, _)| name.ends_with("to_k_clip.weight")) {
            assert!(name.contains("attn2"));
            *tensor = (tensor.affine(-7.0, 3.0)).unwrap();
        }
    });
    let other = UNet::from_weights(config, &other_keys, &Device::Cpu).unwrap();
    assert_close("out", &cafe_forward(&other, &golden), &cafe_forward(&plain, &golden), 1e-6);
}

#[test]
fn dropped_conditions_are_zeros() {
    let golden = Golden::open("cafe_unet");
    let conditions = cafe_conditions(&golden);
    let keep = |rows: [f32; 3]| Tensor::new(&rows, &Device::Cpu).unwrap();
    let kept = conditions.kept(&keep([1.0, 0.0, 1.0]), &keep([0.0, 1.0, 1.0])).unwrap();
    let sums =
        |tensor: &Tensor| tensor.abs().unwrap().flatten_from(1).unwrap().sum(1).unwrap().to_vec1::<f32>().unwrap();
    let zero_rows = |tensor: &Tensor| sums(tensor).iter().map(|sum| *sum == 0.0).collect::<Vec<_>>();
    assert_eq!(zero_rows(&kept.clip), [false, true, false]);
    assert_eq!(zero_rows(&kept.dino), [true, false, false]);
    let only = conditions.only(false, true).unwrap();
    assert_eq!((sums(&only.clip), sums(&only.dino)), (vec![0.0; 3], sums(&conditions.dino)));
}

fn refusal(result: candle_core::Result<Tensor>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn what_does_not_fit_is_refused() {
    let golden = Golden::open("cafe_unet");
    let unet = load(&golden);
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let conditioning = Conditioning::Cafe(cafe_conditions(&golden));
    let text = Conditioning::Text(zeros(&[3, 7, 24]));
    let (latents, timesteps) = (golden.case("in.latents"), golden.case("in.timesteps"));
    assert!(refusal(unet.forward(&zeros(&[3, 3, 8, 8]), timesteps, &conditioning)).contains("3 channels"));
    assert!(refusal(unet.forward(&zeros(&[3, 4, 8, 6]), timesteps, &conditioning)).contains("multiples of 4"));
    assert!(refusal(unet.forward(latents, &zeros(&[1]), &conditioning)).contains("one for each of the 3 rows"));
    assert!(refusal(unet.forward(latents, timesteps, &text)).contains("was given text"));
}

#[test]
fn weights_of_another_config_are_refused_with_both_shapes() {
    let golden = Golden::open("cafe_unet");
    let mut config = one_token_config(&golden);
    config.cafe.as_mut().unwrap().dino_dim = 21;
    let error = UNet::from_weights(config, &golden.weights(), &Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("attn2.to_k_dino.weight` has shape [8, 20], and "), "{error}");
    assert!(error.contains("asks for [8, 21]"), "{error}");
    let base = Golden::open("unet_sd2");
    let config = one_token_config(&golden);
    let error = UNet::from_weights(config, &base.weights(), &Device::Cpu).unwrap_err().to_string();
    assert!(
        error.contains("has no tensor `down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k_clip.weight`"),
        "{error}"
    );
}

#[test]
fn configs_that_ask_for_more_are_refused_by_key() {
    let golden = Golden::open("unet_sd2");
    let text = std::fs::read_to_string(golden.folder().join("config.json")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let refused = |key: &str, value: serde_json::Value| {
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        config[key] = value;
        std::fs::write(&path, config.to_string()).unwrap();
        UNetConfig::read(&path).unwrap_err().to_string()
    };
    for (key, value, message) in [
        ("class_embed_type", "timestep".into(), "class_embed_type is \"timestep\": only null is supported"),
        ("act_fn", "gelu".into(), "act_fn is \"gelu\": only \"silu\" is supported"),
        ("down_block_types", vec!["DownBlock2D"].into(), "down_block_types has 1 entries, block_out_channels 3"),
        ("norm_num_groups", 5.into(), "not a multiple of norm_num_groups"),
        ("attention_head_dim", vec![1, 2].into(), "attention_head_dim must be a positive number, or 3 of them"),
        ("block_out_channels", serde_json::json!([]), "block_out_channels has 0 entries"),
    ] {
        let error = refused(key, value);
        assert!(error.contains(message), "{key}: {error}");
        assert!(error.contains("config.json"), "{key}: {error}");
    }
}

#[test]
fn trainable_selects_by_name() {
    let golden = Golden::open("cafe_unet");
    let count = |trainable: Trainable| {
        let config = UNetConfig::read(&golden.folder().join("config.json")).unwrap();
        let (_, variables) = UNet::for_training(config, &golden.weights(), trainable, &Device::Cpu).unwrap();
        variables.all().len()
    };
    // Two on the way down, one in the middle, four on the way up.
    let n_attentions = 7;
    // Four matrices in each attention, and the CLIP projection with its norm.
    assert_eq!(count(Trainable::NewKv), 4 * n_attentions + 4);
    // With the query and the output.
    assert_eq!(count(Trainable::Attn2), 7 * n_attentions + 4);
    assert_eq!(count(Trainable::All), golden.weights().names().len());
}
