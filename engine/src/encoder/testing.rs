//! What the tests of all encoders share.

use std::collections::BTreeMap;

use candle_core::Tensor;
use tempfile::TempDir;

use crate::golden::{Golden, assert_close};

/// A copy of the golden whose `config.json` has other values; a key may lead into nested objects: `text_config.hidden_act`.
pub(crate) fn copied(golden: &Golden, edit: &[(&str, serde_json::Value)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(golden.folder().join("model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    let text = std::fs::read(golden.folder().join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&text).unwrap();
    for (key, value) in edit {
        *key.split('.').fold(&mut config, |object, key| &mut object[key]) = value.clone();
    }
    std::fs::write(folder.path().join("config.json"), serde_json::to_vec_pretty(&config).unwrap()).unwrap();
    folder
}

/// Writes the golden's weights to the folder, all but one.
pub(crate) fn save_without(golden: &Golden, name: &str, folder: &TempDir) {
    let weights = golden.weights();
    let tensors: BTreeMap<String, Tensor> = weights
        .names()
        .into_iter()
        .filter(|other| other != name)
        .map(|name| (name.clone(), weights.tensor(&name).unwrap()))
        .collect();
    assert_eq!(tensors.len() + 1, weights.names().len(), "{name} is in it");
    crate::weights::save(&tensors, &BTreeMap::new(), &folder.path().join("model.safetensors")).unwrap();
}

/// The error's first line, with the folder called FOLDER.
pub(crate) fn message<T>(result: crate::Result<T>, folder: &TempDir) -> String {
    let error = result.err().expect("an error");
    error.to_string().replace(folder.path().to_str().unwrap(), "FOLDER").lines().next().unwrap().to_owned()
}

/// Asserts that each row of what a batch makes is what that row makes alone.
pub(crate) fn batched_is_single(batch: &Tensor, forward: impl Fn(&Tensor) -> candle_core::Result<Tensor>) {
    let together = forward(batch).unwrap();
    for row in 0..batch.dim(0).unwrap() {
        let alone = forward(&batch.narrow(0, row, 1).unwrap()).unwrap();
        assert_close("single row", &alone, &together.narrow(0, row, 1).unwrap(), 1e-5);
    }
}
