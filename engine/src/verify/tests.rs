use super::*;
use crate::golden::Golden;

fn family() -> PathBuf {
    Golden::open("family").folder().to_owned()
}

fn failures(checks: &[Check]) -> Vec<&str> {
    checks.iter().filter_map(|check| check.outcome.as_ref().err().map(String::as_str)).collect()
}

#[test]
fn each_model_of_a_family_is_loaded_and_runs() {
    let folder = family();
    let mut n_models = 0;
    for (name, kind) in FAMILY {
        if folder.join(name).is_dir() {
            let checks = verify_in_family(&folder, name, kind).unwrap();
            assert!(!checks.is_empty(), "{name}");
            assert_eq!(failures(&checks), Vec::<&str>::new(), "{name}");
            n_models += 1;
        }
    }
    assert!(n_models >= 5, "{n_models} models");
}

#[test]
fn a_model_alone_is_loaded_and_runs() {
    let folder = family();
    let kinds = [
        ("clip_condition", ModelKind::ClipImage),
        ("dino_condition", ModelKind::Dinov2),
        ("text_to_image", ModelKind::TextToImage),
        ("mllm/base", ModelKind::Language),
    ];
    for (name, kind) in kinds {
        assert_eq!(failures(&verify_model(kind, &folder.join(name))), Vec::<&str>::new(), "{name}");
    }
}

#[test]
fn projections_without_their_language_model_are_tried_alone() {
    let whole = family();
    let folder = tempfile::tempdir().unwrap();
    for name in ["clip_condition", "dino_condition"] {
        std::os::unix::fs::symlink(whole.join(name), folder.path().join(name)).unwrap();
    }
    let mllm = folder.path().join("mllm");
    std::fs::create_dir(&mllm).unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(whole.join("mllm").join(name), mllm.join(name)).unwrap();
    }
    let checks = verify_in_family(folder.path(), "mllm", ModelKind::Mllm).unwrap();
    assert_eq!(failures(&checks), Vec::<&str>::new());
    assert_eq!(checks.iter().map(|check| check.what).collect::<Vec<_>>(), ["projections"]);
    std::fs::remove_file(mllm.join("model.safetensors")).unwrap();
    let checks = verify_in_family(folder.path(), "mllm", ModelKind::Mllm).unwrap();
    assert!(failures(&checks)[0].contains("model.safetensors"), "{checks:?}");
}

#[test]
fn what_does_not_fit_its_config_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let from = family().join("dino_condition");
    for name in ["model.safetensors", "preprocessor_config.json"] {
        std::fs::copy(from.join(name), folder.path().join(name)).unwrap();
    }
    let config = std::fs::read_to_string(from.join("config.json")).unwrap();
    let wrong = config.replace("\"hidden_size\": 20", "\"hidden_size\": 24");
    assert_ne!(config, wrong);
    std::fs::write(folder.path().join("config.json"), wrong).unwrap();
    let checks = verify_model(ModelKind::Dinov2, folder.path());
    assert!(failures(&checks)[0].contains("24"), "{checks:?}");
    let checks = verify_model(ModelKind::Dinov2, &folder.path().join("nowhere"));
    assert!(failures(&checks)[0].contains("config.json"), "{checks:?}");
}

#[test]
fn what_is_not_finite_or_all_the_same_is_not_sound() {
    let same = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
    assert!(sound(&same).unwrap_err().to_string().contains("all 6"));
    let wrong = Tensor::new(&[1.0f32, f32::NAN], &Device::Cpu).unwrap();
    assert!(sound(&wrong).unwrap_err().to_string().contains("not finite"));
    assert!(sound(&Tensor::new(&[1.0f32, 2.0], &Device::Cpu).unwrap()).is_ok());
}
