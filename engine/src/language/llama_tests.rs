use std::collections::BTreeMap;

use candle_core::Var;

use super::super::Sequence;
use super::*;
use crate::encoder::testing::{copied, message, save_without};
use crate::golden::{Golden, assert_close, relative_error};

const ALL: [&str; 4] = ["llama", "llama-tied", "llama-f16", "llama-3"];

fn loaded(name: &str) -> (Golden, Llama) {
    let golden = Golden::open(name);
    let model = Llama::load(golden.folder(), &Device::Cpu).unwrap();
    (golden, model)
}

fn embedded(model: &Llama, ids: &Tensor) -> Tensor {
    let rows: Vec<Tensor> =
        ids.to_vec2::<u32>().unwrap().iter().map(|ids| model.embed(ids).unwrap().unsqueeze(0).unwrap()).collect();
    Tensor::cat(&rows, 0).unwrap()
}

fn forward_agrees() {
    for name in ALL {
        let (golden, model) = loaded(name);
        let embeddings = embedded(&model, golden.case("ids"));
        let hidden = model.forward(&embeddings, None).unwrap();
        golden.assert_close("hidden", &hidden);
        golden.assert_close("logits", &model.logits(&hidden).unwrap());
        let mask = golden.case("mask");
        let masked = model.forward(&embeddings, Some(mask)).unwrap();
        golden.assert_close("masked.hidden", &masked.broadcast_mul(&mask.unsqueeze(2).unwrap()).unwrap());
    }
}

fn gradients_agree() {
    for name in ALL {
        let (golden, model) = loaded(name);
        let embeddings = Var::from_tensor(golden.case("embeddings")).unwrap();
        let hidden = model.forward(&embeddings, None).unwrap();
        golden.assert_close("embeddings.hidden", &hidden);
        let sum = |x: Tensor, weights: &Tensor| (x * weights).unwrap().sum_all().unwrap();
        let through_logits = sum(model.logits(&hidden).unwrap(), golden.case("to_logits"));
        let loss = (sum(hidden, golden.case("upstream")) + through_logits).unwrap();
        let check = |loss: &Tensor, case: &str| {
            let gradients = loss.backward().unwrap();
            let error = relative_error(gradients.get(&embeddings).unwrap(), golden.case(case));
            println!("{name} {case}: ‖g−g_ref‖ / ‖g_ref‖ = {error:.1e}");
            assert!(error <= 1e-4, "{name} {case}: {error:e}");
        };
        check(&loss, "gradient");
        let some = golden.case("some");
        let hidden = model.forward(&embeddings, Some(some)).unwrap();
        let hidden = hidden.broadcast_mul(&some.unsqueeze(2).unwrap()).unwrap();
        check(&sum(hidden, golden.case("upstream")), "masked.gradient");
    }
}

#[test]
fn it_agrees_with_transformers() {
    forward_agrees();
}

#[test]
fn composed_operations_agree_with_transformers() {
    crate::op::composed(forward_agrees);
}

#[test]
fn gradients_of_what_enters_are_the_references() {
    gradients_agree();
}

#[test]
fn gradients_of_composed_operations_are_the_references() {
    crate::op::composed(gradients_agree);
}

#[test]
fn weights_in_metas_order_give_the_same() {
    let (golden, model) = loaded("llama");
    let mut config = model.config().clone();
    let weights = golden.weights();
    let head_dim = config.head_dim();
    let tensors: BTreeMap<String, Tensor> = weights
        .names()
        .into_iter()
        .map(|name| {
            let tensor = weights.tensor(&name).unwrap();
            let is_turned = name.contains("q_proj") || name.contains("k_proj");
            (name, if is_turned { to_interleaved(&tensor, head_dim) } else { tensor })
        })
        .collect();
    config.rope_interleave = true;
    let path = golden.folder().join("config.json");
    let weights = Weights::from_tensors(tensors, Path::new("memory"));
    let other = Llama::from_weights(config, &weights, &Device::Cpu, &path).unwrap();
    golden.assert_close("hidden", &other.forward(&embedded(&other, golden.case("ids")), None).unwrap());
}

/// The other way round than `interleaved_to_halves`.
fn to_interleaved(weight: &Tensor, head_dim: usize) -> Tensor {
    let (n_rows, width) = weight.dims2().unwrap();
    let turned = weight.reshape((n_rows / head_dim, 2, head_dim / 2, width)).unwrap().transpose(1, 2).unwrap();
    turned.contiguous().unwrap().reshape((n_rows, width)).unwrap()
}

#[test]
fn kept_keys_give_what_all_tokens_together_give() {
    for name in ALL {
        let (golden, model) = loaded(name);
        let embeddings = embedded(&model, golden.case("ids"));
        let row = |index: usize| embeddings.get(index).unwrap();
        let mut whole = vec![Sequence::new(model.config()); 3];
        let hidden = model.extend(&mut whole, &[row(0), row(1), row(2)]).unwrap();
        assert_close("hidden", &Tensor::stack(&hidden, 0).unwrap(), golden.case("hidden"), 1e-4);
        // In pieces, of different lengths, with a shared beginning or none: the same bits.
        let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let part = |index: usize, first: usize, n: usize| row(index).narrow(0, first, n).unwrap();
        let mut prefix = [Sequence::new(model.config())];
        let begin = model.extend(&mut prefix, &[part(0, 0, 4)]).unwrap();
        assert_eq!(numbers(&begin[0]), numbers(&hidden[0].narrow(0, 0, 4).unwrap()));
        prefix[0].freeze();
        let mut pieces = vec![prefix[0].clone(), Sequence::new(model.config()), prefix[0].clone()];
        assert_eq!((pieces[0].len(), pieces[1].len()), (4, 0));
        let found = model.extend(&mut pieces, &[part(0, 4, 1), part(1, 0, 9), part(0, 4, 13)]).unwrap();
        assert_eq!(numbers(&found[0]), numbers(&hidden[0].narrow(0, 4, 1).unwrap()));
        assert_eq!(numbers(&found[1]), numbers(&hidden[1].narrow(0, 0, 9).unwrap()));
        assert_eq!(numbers(&found[2]), numbers(&hidden[0].narrow(0, 4, 13).unwrap()));
        pieces[1].freeze();
        let found = model.extend(&mut pieces[..2], &[part(0, 5, 2), part(1, 9, 8)]).unwrap();
        assert_eq!(numbers(&found[0]), numbers(&hidden[0].narrow(0, 5, 2).unwrap()));
        assert_eq!(numbers(&found[1]), numbers(&hidden[1].narrow(0, 9, 8).unwrap()));
    }
}

#[test]
fn what_does_not_fit_is_an_error_that_says_why() {
    let (golden, model) = loaded("llama");
    let load = |key: &str, value: serde_json::Value| {
        let folder = copied(&golden, &[(key, value)]);
        message(Llama::load(folder.path(), &Device::Cpu), &folder)
    };
    assert!(load("num_hidden_layers", 2.into()).contains("also holds `model.layers.2."));
    assert!(load("num_hidden_layers", 4.into()).contains("has no tensor `model.layers.3."));
    assert!(
        load("vocab_size", 61.into())
            .contains("`model.embed_tokens.weight` has shape [60, 32], and FOLDER/config.json")
    );
    assert!(load("model_type", "gpt2".into()).contains("key `model_type` is \"gpt2\""));
    let folder = copied(&golden, &[]);
    save_without(&golden, "lm_head.weight", &folder);
    assert!(message(Llama::load(folder.path(), &Device::Cpu), &folder).contains("has no tensor `lm_head.weight`"));

    assert!(model.embed(&[]).is_err());
    assert!(model.embed(&[60]).is_err());
    let long = Tensor::zeros((41, 32), DType::F32, &Device::Cpu).unwrap();
    assert!(model.forward(&long.unsqueeze(0).unwrap(), None).is_err());
    let mut sequences = [Sequence::new(model.config())];
    let error = model.extend(&mut sequences, std::slice::from_ref(&long)).unwrap_err().to_string();
    assert!(error.starts_with("a sequence of 41 tokens: this model takes 40 at most"), "{error}");
    assert!(sequences[0].is_empty());
    assert!(model.extend(&mut sequences, &[]).is_err());
    let (_, other) = loaded("llama-tied");
    let mut sequences = [Sequence::new(other.config())];
    let error = model.extend(&mut sequences, &[model.embed(&[1]).unwrap()]).unwrap_err().to_string();
    assert!(error.starts_with("the sequence was read by another model"), "{error}");
}
