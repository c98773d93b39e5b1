use std::collections::BTreeMap;

use super::*;
use crate::encoder::testing::{batched_is_single, copied, message, save_without};
use crate::golden::Golden;

#[test]
fn it_agrees_with_transformers_and_interpolates_positions() {
    let golden = Golden::open("dino");
    let model = Dino::load(golden.folder(), &Device::Cpu).unwrap();
    for case in ["learned", "other"] {
        golden.assert_close(&format!("{case}.cls"), &model.forward(golden.case(case)).unwrap());
    }
    assert_eq!((model.image_size(), model.config().hidden_size), (16, 24));
}

#[test]
fn a_batch_is_its_rows() {
    let golden = Golden::open("dino");
    let model = Dino::load(golden.folder(), &Device::Cpu).unwrap();
    batched_is_single(golden.case("learned"), |pixels| model.forward(pixels));
}

#[test]
fn names_may_have_the_prefix_of_a_classifier() {
    let golden = Golden::open("dino");
    let folder = copied(&golden, &[]);
    let weights = golden.weights();
    let tensors: BTreeMap<String, Tensor> =
        weights.names().into_iter().map(|name| (format!("vit.{name}"), weights.tensor(&name).unwrap())).collect();
    crate::weights::save(&tensors, &BTreeMap::new(), &folder.path().join("model.safetensors")).unwrap();
    let model = Dino::load(folder.path(), &Device::Cpu).unwrap();
    golden.assert_close("learned.cls", &model.forward(golden.case("learned")).unwrap());
}

#[test]
fn what_does_not_fit_is_an_error_that_says_why() {
    let golden = Golden::open("dino");
    let load = |key: &str, value: serde_json::Value| {
        let folder = copied(&golden, &[(key, value)]);
        message(Dino::load(folder.path(), &Device::Cpu), &folder)
    };
    assert!(
        load("num_hidden_layers", 2.into()).contains("is 2, but FOLDER/model.safetensors also holds `encoder.layer.2.")
    );
    assert!(load("num_hidden_layers", 4.into()).contains("has no tensor `encoder.layer.3."));
    assert!(
        load("intermediate_size", 64.into()).contains("has shape [56, 24], and FOLDER/config.json asks for [64, 24]")
    );
    assert!(load("image_size", 20.into()).contains("`embeddings.position_embeddings` has shape [1, 17, 24]"));
    assert!(load("model_type", "deit".into()).contains("key `model_type` is \"deit\""));
    assert!(load("hidden_act", "relu".into()).contains("key `hidden_act` is \"relu\""));
    let folder = copied(&golden, &[]);
    save_without(&golden, "embeddings.cls_token", &folder);
    assert!(message(Dino::load(folder.path(), &Device::Cpu), &folder).contains("has no tensor `embeddings.cls_token`"));
}
