use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;
use crate::golden::{Golden, assert_close};
use crate::weights::Variables;

fn load(golden: &Golden) -> AutoencoderKl {
    AutoencoderKl::load(golden.folder(), DType::F32, &Device::Cpu).unwrap()
}

#[test]
fn encoding_and_decoding_agree_with_diffusers() {
    for name in ["vae", "vae_plain"] {
        let golden = Golden::open(name);
        let model = load(&golden);
        let distribution = model.encode(golden.case("pixels")).unwrap();
        golden.assert_close("mean", distribution.mode());
        golden.assert_close("log_variance", &distribution.log_variance);
        golden.assert_close("sample", &distribution.sample(golden.case("noise")).unwrap());
        golden.assert_close("decoded", &model.decode(golden.case("latents")).unwrap());
    }
}

#[test]
fn a_batch_is_its_rows() {
    let golden = Golden::open("vae");
    let model = load(&golden);
    let rows = |name: &str, work: &dyn Fn(&Tensor) -> Tensor| {
        let rows: Vec<Tensor> = (0..3).map(|row| work(&golden.case(name).narrow(0, row, 1).unwrap())).collect();
        Tensor::cat(&rows, 0).unwrap()
    };
    golden.assert_close("mean", &rows("pixels", &|row| model.encode(row).unwrap().mean));
    golden.assert_close("log_variance", &rows("pixels", &|row| model.encode(row).unwrap().log_variance));
    golden.assert_close("decoded", &rows("latents", &|row| model.decode(row).unwrap()));
}

/// The weights of `vae` with the attention as old files have it: other names, and in the encoder 1×1 convolutions.
fn old_weights(golden: &Golden) -> BTreeMap<String, Tensor> {
    let old = candle_core::safetensors::load(golden.folder().join("old_attention.safetensors"), &Device::Cpu).unwrap();
    assert!(old.contains_key("encoder.mid_block.attentions.0.query.weight"));
    let new = golden.weights();
    let others = new.names().into_iter().filter(|name| !name.contains(".attentions."));
    others.map(|name| (name.clone(), new.tensor(&name).unwrap())).chain(old).collect()
}

#[test]
fn old_files_give_the_same() {
    let golden = Golden::open("vae");
    let weights = Weights::from_tensors(old_weights(&golden), golden.folder());
    let config = VaeConfig::load(golden.folder()).unwrap();
    let model = AutoencoderKl::new(config, &weights.builder(DType::F32, &Device::Cpu)).unwrap();
    assert!(weights.unused().is_empty(), "{:?}", weights.unused());
    golden.assert_close("mean", &model.encode(golden.case("pixels")).unwrap().mean);
    golden.assert_close("decoded", &model.decode(golden.case("latents")).unwrap());
}

#[test]
fn scaling_is_what_the_pipelines_do() {
    let golden = Golden::open("vae_plain");
    let model = load(&golden);
    let (scale, shift) = (1.5, 0.3);
    assert_eq!((model.config().scaling_factor, model.config().shift_factor), (scale, Some(shift)));
    let latents = golden.case("latents");
    let scaled = model.config().scale_latents(latents).unwrap();
    assert_close("scaled", &scaled, &((latents - shift).unwrap() * scale).unwrap(), 1e-6);
    assert_close("and back", &model.config().unscale_latents(&scaled).unwrap(), latents, 1e-6);
}

/// torch.clamp(logvar, -30, 20): beyond, deviations would overflow or vanish.
#[test]
fn variances_are_bounded() {
    let moments = Tensor::new(&[[[[7_f32]], [[7.0]], [[7.0]], [[-31.0]], [[21.0]], [[2.0]]]], &Device::Cpu).unwrap();
    let latents = LatentDistribution::new(&moments).unwrap();
    let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(numbers(latents.mode()), [7.0; 3]);
    assert_eq!(numbers(&latents.log_variance), [-30.0, 20.0, 2.0]);
    let sample = numbers(&latents.sample(&latents.mean.ones_like().unwrap()).unwrap());
    assert_eq!(sample, [7.0 + (-15_f32).exp(), 7.0 + 10_f32.exp(), 7.0 + 1_f32.exp()]);
}

/// The gradient reaches every weight, under the forms for other devices too.
#[test]
fn gradients_reach_every_weight() {
    let golden = Golden::open("vae");
    let gradients = || {
        let variables = Variables::selected_by(|_| true);
        let weights = golden.weights();
        let config = VaeConfig::load(golden.folder()).unwrap();
        let model = AutoencoderKl::new(config, &weights.trainable(&variables, DType::F32, &Device::Cpu)).unwrap();
        let latents = model.encode(golden.case("pixels")).unwrap().sample(golden.case("noise")).unwrap();
        let loss = model.decode(&latents).unwrap().sqr().unwrap().mean_all().unwrap();
        let store = loss.backward().unwrap();
        let gradient = |(name, variable): (String, candle_core::Var)| {
            let gradient = store.get(&variable).unwrap_or_else(|| panic!("{name} has no gradient"));
            (name, gradient.clone())
        };
        variables.all().into_iter().map(gradient).collect::<BTreeMap<_, _>>()
    };
    let (fused, composed) = (gradients(), crate::op::composed(gradients));
    assert_eq!(fused.len(), golden.weights().names().len());
    for (name, gradient) in &fused {
        let norm = gradient.sqr().unwrap().sum_all().unwrap().sqrt().unwrap().to_scalar::<f32>().unwrap();
        // A constant added to all keys of a query changes no attention.
        assert!(norm.is_finite() && (norm > 1e-6 || name.ends_with("to_k.bias")), "{name}: {norm}");
        let error = crate::golden::relative_error(gradient, &composed[name]);
        assert!(error <= 1e-3 || name.ends_with("to_k.bias"), "{name}: {error:e}");
    }
}

/// A copy of the golden, to be damaged.
fn copy(golden: &Golden) -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "diffusion_pytorch_model.safetensors"] {
        std::fs::copy(golden.folder().join(name), folder.path().join(name)).unwrap();
    }
    let paths = ["config.json", "diffusion_pytorch_model.safetensors"].map(|name| folder.path().join(name));
    let [config, weights] = paths;
    (folder, config, weights)
}

#[test]
fn configs_that_cannot_be_followed_are_refused_by_key_and_value() {
    let golden = Golden::open("vae");
    let (folder, config, _) = copy(&golden);
    let whole: serde_json::Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    for (key, value, wanted) in [
        ("_class_name", serde_json::json!("VQModel"), "_class_name = \"VQModel\" is not supported"),
        ("act_fn", serde_json::json!("gelu"), "act_fn = \"gelu\" is not supported; supported is silu"),
        ("norm_num_groups", serde_json::json!(4), "norm_num_groups = 4 does not divide all of block_out_channels"),
        ("norm_num_groups", serde_json::json!(0), "norm_num_groups = 0 does not divide"),
        ("latent_channels", serde_json::json!(0), "latent_channels = 0 is not supported"),
        ("latents_mean", serde_json::json!([0.1]), "latents_mean = [0.1] is not supported"),
        ("scaling_factor", serde_json::json!(0.0), "scaling_factor = 0 cannot be divided by"),
        ("block_out_channels", serde_json::json!([4, 6]), "supported is DownEncoderBlock2D, once for each level (2)"),
        ("down_block_types", serde_json::json!(["AttnDownEncoderBlock2D"]), "down_block_types = [\"AttnDown"),
        // What the config allows and the weights do not.
        ("block_out_channels", serde_json::json!([4, 6, 10]), "has shape"),
        ("layers_per_block", serde_json::json!(3), "has no tensor `encoder.down_blocks.0.resnets.2"),
        ("layers_per_block", serde_json::json!(1), "has no use for `decoder.up_blocks.0.resnets.2"),
        ("use_quant_conv", serde_json::json!(false), "has no use for `quant_conv.bias`"),
        ("layers_per_block", serde_json::json!("two"), "config.json: is not valid"),
    ] {
        let mut changed = whole.clone();
        changed[key] = value;
        std::fs::write(&config, changed.to_string()).unwrap();
        let error = AutoencoderKl::load(folder.path(), DType::F32, &Device::Cpu).unwrap_err().to_string();
        assert!(error.contains(wanted) && error.contains("config.json"), "{error}");
    }
    std::fs::remove_file(&config).unwrap();
    let error = AutoencoderKl::load(folder.path(), DType::F32, &Device::Cpu).unwrap_err();
    assert!(matches!(error, EngineError::Io { .. }), "{error}");
}

#[test]
fn weights_that_are_cut_short_or_missing_are_refused() {
    let golden = Golden::open("vae");
    let (folder, _, file) = copy(&golden);
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 40]).unwrap();
    let error = AutoencoderKl::load(folder.path(), DType::F32, &Device::Cpu).unwrap_err();
    assert!(matches!(error, EngineError::Weights(_)), "{error}");
    std::fs::remove_file(&file).unwrap();
    let error = AutoencoderKl::load(folder.path(), DType::F32, &Device::Cpu).unwrap_err();
    assert!(error.to_string().contains("holds no weights"), "{error}");
    let mut weights = old_weights(&golden);
    let name = "decoder.mid_block.attentions.0.value.weight";
    weights.insert(name.to_owned(), Tensor::zeros((8, 4), DType::F32, &Device::Cpu).unwrap());
    let weights = Weights::from_tensors(weights, golden.folder());
    let config = VaeConfig::load(golden.folder()).unwrap();
    let error = AutoencoderKl::new(config, &weights.builder(DType::F32, &Device::Cpu)).unwrap_err().to_string();
    assert!(error.contains(&format!("`{name}` has shape [8, 4]")) && error.contains("asks for [8, 8]"), "{error}");
}

#[test]
fn tensors_of_other_shapes_are_refused() {
    let model = load(&Golden::open("vae"));
    let zeros = |shape: (usize, usize, usize, usize)| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    for shape in [(1, 4, 16, 16), (1, 3, 16, 18), (1, 3, 0, 16), (1, 3, 2, 16)] {
        let message = model.encode(&zeros(shape)).unwrap_err().to_string();
        assert!(message.contains("takes (B, 3, H, W), with H and W multiples of 4"), "{message}");
    }
    for shape in [(1, 3, 4, 4), (1, 4, 0, 4)] {
        let message = model.decode(&zeros(shape)).unwrap_err().to_string();
        assert!(message.contains("takes (B, 4, H, W)"), "{message}");
    }
    assert!(model.decode(&zeros((1, 1, 4, 4)).squeeze(0).unwrap()).is_err());
    let latents = model.encode(&zeros((1, 3, 8, 8))).unwrap();
    let message = latents.sample(&zeros((2, 4, 2, 2))).unwrap_err().to_string();
    assert!(message.contains("noise of shape [2, 4, 2, 2] for latents of shape [1, 4, 2, 2]"), "{message}");
}
