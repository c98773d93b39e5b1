use super::*;
use crate::encoder::testing::{batched_is_single, copied, message, save_without};
use crate::golden::Golden;

fn agrees(name: &str) {
    let golden = Golden::open(name);
    let model = Dinov2::load(golden.folder(), &Device::Cpu).unwrap();
    for case in ["learned", "other", "larger"] {
        let y = model.forward(golden.case(case)).unwrap();
        golden.assert_close(&format!("{case}.last_hidden_state"), &y);
    }
}

#[test]
fn it_agrees_with_transformers_and_interpolates_positions() {
    agrees("dinov2");
}

#[test]
fn swiglu_agrees_with_transformers() {
    agrees("dinov2-swiglu");
}

#[test]
fn composed_operations_agree_too() {
    crate::op::composed(|| agrees("dinov2-swiglu"));
}

#[test]
fn a_batch_is_its_rows() {
    let golden = Golden::open("dinov2");
    let model = Dinov2::load(golden.folder(), &Device::Cpu).unwrap();
    batched_is_single(golden.case("learned"), |pixels| model.forward(pixels));
    batched_is_single(golden.case("other"), |pixels| model.forward(pixels));
}

#[test]
fn giant_has_the_published_widths() {
    let config = |text: &str| serde_json::from_str::<Dinov2Config>(text).unwrap();
    let giant = config(r#"{"hidden_size": 1536, "mlp_ratio": 4, "use_swiglu_ffn": true, "image_size": 518}"#);
    assert_eq!(giant.mlp_width(), 4096);
    let (geometry, _) = giant.check(Path::new("config.json")).unwrap();
    assert_eq!(1 + geometry.grid() * geometry.grid(), 1370);
    assert_eq!(config("{}").mlp_width(), 3072);
}

#[test]
fn pixels_that_do_not_fit_are_an_error() {
    let golden = Golden::open("dinov2");
    let model = Dinov2::load(golden.folder(), &Device::Cpu).unwrap();
    for shape in [&[1, 4, 20, 20][..], &[1, 3, 3, 20], &[3, 20, 20], &[1, 3, 0, 0]] {
        let pixels = Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        assert!(model.forward(&pixels).is_err(), "{shape:?}");
    }
}

#[test]
fn weights_that_do_not_fit_are_errors_that_say_why() {
    let golden = Golden::open("dinov2");
    let load = |edit: &[(&str, serde_json::Value)]| {
        let folder = copied(&golden, edit);
        message(Dinov2::load(folder.path(), &Device::Cpu), &folder)
    };
    assert_eq!(
        load(&[("hidden_size", 36.into())]),
        "FOLDER/model.safetensors: tensor `embeddings.position_embeddings` has shape [1, 26, 32], and FOLDER/config.json \
         asks for [1, 26, 36]: the weights belong to another config"
    );
    assert_eq!(
        load(&[("num_hidden_layers", 4.into())]),
        "FOLDER/model.safetensors: has no tensor `encoder.layer.3.mlp.fc1.weight`, which FOLDER/config.json asks for; the \
         nearest name in it is `encoder.layer.2.mlp.fc1.weight`"
    );
    assert_eq!(
        load(&[("num_hidden_layers", 2.into())]),
        "FOLDER/config.json: key `num_hidden_layers` is 2, but FOLDER/model.safetensors also holds \
         `encoder.layer.2.attention.attention.key.weight`"
    );
    assert!(load(&[("use_swiglu_ffn", true.into())]).contains("no tensor `encoder.layer.0.mlp.weights_in.weight`"));

    let folder = copied(&golden, &[]);
    save_without(&golden, "layernorm.bias", &folder);
    assert!(message(Dinov2::load(folder.path(), &Device::Cpu), &folder).contains("has no tensor `layernorm.bias`"));
    let whole = std::fs::read(golden.folder().join("model.safetensors")).unwrap();
    std::fs::write(folder.path().join("model.safetensors"), &whole[..whole.len() / 2]).unwrap();
    let truncated = message(Dinov2::load(folder.path(), &Device::Cpu), &folder);
    assert!(truncated.starts_with("FOLDER/model.safetensors: cannot be read as safetensors"), "{truncated}");
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    assert!(message(Dinov2::load(folder.path(), &Device::Cpu), &folder).starts_with("FOLDER: holds no weights"));
}

#[test]
fn what_is_not_supported_is_refused_by_key() {
    let golden = Golden::open("dinov2");
    for (key, value, expected) in [
        ("num_register_tokens", 4.into(), "key `num_register_tokens` is 4, which is not supported: 0"),
        ("model_type", "dinov2_with_registers".into(), "key `model_type` is \"dinov2_with_registers\""),
        ("hidden_act", "gelu_new".into(), "key `hidden_act` is \"gelu_new\", which is not supported: \"gelu\" or"),
        ("num_attention_heads", 0.into(), "`num_attention_heads`, 0, does not divide"),
        ("num_attention_heads", 5.into(), "`num_attention_heads`, 5, does not divide"),
        ("patch_size", 0.into(), "key `patch_size` is 0"),
        ("patch_size", 21.into(), "more than `image_size`"),
        ("image_size", serde_json::json!([20, 24]), "key `image_size` is [20, 24]"),
        ("mlp_ratio", (-1).into(), "key `mlp_ratio` is -1"),
        ("hidden_size", "wide".into(), "key `hidden_size`: invalid type: string \"wide\", expected usize"),
    ] {
        let folder = copied(&golden, &[(key, value)]);
        let message = message(Dinov2::load(folder.path(), &Device::Cpu), &folder);
        assert!(message.starts_with("FOLDER/config.json: ") && message.contains(expected), "{key}: {message}");
    }
}
