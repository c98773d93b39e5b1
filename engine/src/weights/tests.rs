use std::collections::BTreeMap;

use super::*;

fn folder(tensors: &[(&str, &[usize])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let tensors: BTreeMap<String, Tensor> = tensors
        .iter()
        .map(|(name, shape)| ((*name).to_owned(), Tensor::zeros(*shape, DType::F32, &Device::Cpu).unwrap()))
        .collect();
    save(&tensors, &Metadata::default(), &folder.path().join("model.safetensors")).unwrap();
    folder
}

fn message(error: &dyn std::error::Error, folder: &tempfile::TempDir) -> String {
    error.to_string().replace(folder.path().to_str().unwrap(), "FOLDER").lines().next().unwrap().to_owned()
}

#[test]
fn a_missing_tensor_is_named_with_its_file_and_config_and_the_nearest_name() {
    let folder = folder(&[("norm1.weight", &[4]), ("other", &[2])]);
    let weights = Weights::open(folder.path()).unwrap();
    let error = weights.builder(DType::F32, &Device::Cpu).get(4, "norm2.weight").unwrap_err();
    assert_eq!(
        message(&error, &folder),
        "FOLDER/model.safetensors: has no tensor `norm2.weight`, which FOLDER/config.json asks for; the nearest name in it is `norm1.weight`"
    );
}

#[test]
fn another_shape_is_an_error_that_says_both() {
    let folder = folder(&[("norm.weight", &[4])]);
    let weights = Weights::open(folder.path()).unwrap();
    let error = weights.builder(DType::F32, &Device::Cpu).pp("norm").get((2, 3), "weight").unwrap_err();
    assert_eq!(
        message(&error, &folder),
        "FOLDER/model.safetensors: tensor `norm.weight` has shape [4], and FOLDER/config.json asks for [2, 3]: the weights belong to another config"
    );
}

#[test]
fn a_file_that_is_cut_short_anywhere_is_refused() {
    let folder = folder(&[("a", &[40]), ("b", &[3, 5])]);
    let file = folder.path().join("model.safetensors");
    let whole = std::fs::read(&file).unwrap();
    for length in [0, 4, 8, 20, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&file, &whole[..length]).unwrap();
        let error = Weights::open(folder.path()).err().unwrap();
        assert!(matches!(error, WeightsError::Unreadable { .. }), "{length}: {error}");
        assert!(error.to_string().contains("model.safetensors: cannot be read as safetensors"), "{error}");
    }
}

#[test]
fn a_folder_without_weights_says_what_it_should_hold() {
    let folder = tempfile::tempdir().unwrap();
    let error = Weights::open(folder.path()).err().unwrap();
    assert!(error.to_string().contains("model.safetensors[.index.json]"), "{error}");
}

#[test]
fn an_index_is_followed_and_checked() {
    let folder = folder(&[("a", &[1])]);
    std::fs::rename(folder.path().join("model.safetensors"), folder.path().join("model-1-of-1.safetensors")).unwrap();
    let index = |map: &str| {
        std::fs::write(folder.path().join("model.safetensors.index.json"), format!(r#"{{"weight_map": {map}}}"#))
            .unwrap();
        Weights::open(folder.path())
    };
    assert_eq!(index(r#"{"a": "model-1-of-1.safetensors"}"#).unwrap().names(), ["a"]);
    let error = index(r#"{"a": "model-1-of-1.safetensors", "b": "model-1-of-1.safetensors"}"#).err().unwrap();
    assert!(matches!(error, WeightsError::Index { .. }), "{error}");
    let error = index(r#"{"a": "../model.safetensors"}"#).err().unwrap();
    assert!(error.to_string().contains("not a plain file name"), "{error}");
    assert!(index("7").is_err());
}

#[test]
fn facts_in_the_header_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    let facts = Metadata::from([("trainable".to_owned(), "attn2".to_owned())]);
    let tensors = BTreeMap::from([("a".to_owned(), Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap())]);
    save(&tensors, &facts, &file).unwrap();
    assert_eq!(read_metadata(&file).unwrap(), facts);
}

#[test]
fn only_selected_tensors_become_variables() {
    let folder = folder(&[("a.weight", &[1]), ("b.weight", &[1])]);
    let weights = Weights::open(folder.path()).unwrap();
    let variables = Variables::selected_by(|name| name.starts_with("a."));
    let builder = weights.trainable(&variables, DType::F32, &Device::Cpu);
    assert!(builder.get(1, "a.weight").unwrap().is_variable());
    assert!(!builder.get(1, "b.weight").unwrap().is_variable());
    assert_eq!(variables.all().into_keys().collect::<Vec<_>>(), ["a.weight"]);
    assert!(weights.unused().is_empty());
}
