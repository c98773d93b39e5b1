use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};

use super::*;
use crate::encoder::text::TextEncoder;
use crate::encoder::tokenizer::TextTokenizer;
use crate::golden::{Golden, assert_close, relative_error};
use crate::noise::{DdpmScheduler, Noise, NoiseConfig};
use crate::train::{AdamW, AdamWConfig, Gradients};
use crate::unet::UNet;
use crate::weights::Weights;

/// The models of the golden.
pub(super) struct Tiny {
    pub(super) golden: Golden,
    pub(super) promptnet: PromptNet,
    pub(super) unet: UNet,
    pub(super) text: SubjectText,
    pub(super) noise: NoiseConfig,
}

impl Tiny {
    pub(super) fn load() -> Self {
        let golden = Golden::open("profusion");
        let (folder, device) = (golden.folder().to_owned(), &Device::Cpu);
        let tokenizer = TextTokenizer::load(&folder.join("tokenizer")).unwrap();
        let encoder = TextEncoder::load(&folder.join("text_encoder"), device).unwrap();
        Self {
            promptnet: PromptNet::load(&folder.join("promptnet"), device).unwrap(),
            unet: UNet::load(&folder.join("unet"), device).unwrap(),
            text: SubjectText::new(tokenizer, encoder, TextStates::Penultimate.into(), device).unwrap(),
            noise: NoiseConfig::read(&folder.join("scheduler/scheduler_config.json")).unwrap(),
            golden,
        }
    }

    pub(super) fn batch(&self) -> (SubjectBatch, SubjectDraw) {
        let case = |name: &str| self.golden.case(&format!("in.{name}")).clone();
        let batch = SubjectBatch { reference: case("reference"), vision: case("vision"), target: case("target") };
        let timesteps = case("timesteps").to_dtype(candle_core::DType::U32).unwrap().to_vec1().unwrap();
        (batch, SubjectDraw { noise: case("noise"), timesteps })
    }
}

#[test]
fn the_token_is_the_references() {
    let tiny = Tiny::load();
    let case = |name: &str| tiny.golden.case(&format!("in.{name}"));
    let forward = |rows: std::ops::Range<usize>| {
        let part = |name: &str| case(name).narrow(0, rows.start, rows.len()).unwrap();
        tiny.promptnet.forward(&part("reference"), &part("target"), &part("timesteps"), &part("vision")).unwrap()
    };
    let together = forward(0..3);
    tiny.golden.assert_close("out.subject", &together);
    for row in 0..3 {
        assert_close("single row", &forward(row..row + 1), &together.narrow(0, row, 1).unwrap(), 1e-5);
    }
    let prompt = tiny.text.prompt(TRAINING_PROMPT, false).unwrap();
    tiny.golden.assert_close("out.states", &tiny.text.inject(&prompt, &together, 1.0).unwrap());
}

fn gradients_are_the_references() {
    let tiny = Tiny::load();
    let expected = Golden::open("profusion_gradients");
    let (models, variables) = trained(&tiny);
    let loss = loss(&tiny, &models);
    expected.assert_close("loss", &loss);
    expected.assert_gradients("", &variables, &loss.backward().unwrap());
    let n_own = variables.keys().filter(|name| name.starts_with("promptnet.")).count();
    assert!(n_own > 80 && variables.len() - n_own == 42, "{n_own} of {}", variables.len());
}

/// PromptNet and UNet with the variables of tuning.
fn trained(tiny: &Tiny) -> ((PromptNet, UNet), BTreeMap<String, Var>) {
    let weights = |name: &str| Weights::open(&tiny.golden.folder().join(name)).unwrap();
    let (promptnet, unet) = (weights("promptnet"), weights("unet"));
    let (models, variables) = tune::trainable(
        (tiny.promptnet.config().clone(), &promptnet),
        (tiny.unet.config().clone(), &unet),
        &Device::Cpu,
    )
    .unwrap();
    (models, variables)
}

fn loss(tiny: &Tiny, (promptnet, unet): &(PromptNet, UNet)) -> Tensor {
    let (batch, draw) = tiny.batch();
    let prompt = tiny.text.prompt(TRAINING_PROMPT, false).unwrap();
    let scheduler = &DdpmScheduler::new(&tiny.noise).unwrap();
    subject_loss(SubjectModels { promptnet, unet, text: &tiny.text, scheduler }, &prompt, &batch, &draw).unwrap()
}

#[test]
fn the_gradient_of_every_variable_is_the_references() {
    gradients_are_the_references();
}

#[test]
fn the_gradients_of_composed_operations_are_the_references() {
    crate::op::composed(gradients_are_the_references);
}

#[test]
fn steps_of_adamw_follow_pytorch() {
    let tiny = Tiny::load();
    let (models, variables) = trained(&tiny);
    let mut optimizer = AdamW::new(variables.clone(), AdamWConfig::default()).unwrap();
    let losses = Golden::open("profusion_gradients").case("losses").to_vec1::<f32>().unwrap();
    for (step, expected) in losses.into_iter().enumerate() {
        let loss = loss(&tiny, &models);
        optimizer.step(&Gradients::of(&variables, &loss.backward().unwrap()), 1e-3).unwrap();
        let loss = loss.to_scalar::<f32>().unwrap();
        println!("step {step}: loss {loss}, PyTorch's {expected}");
        assert!((loss - expected).abs() <= 1e-3 * expected, "step {step}: loss {loss}, PyTorch's {expected}");
    }
}

#[test]
fn in_pre_training_the_base_model_has_no_gradient() {
    let tiny = Tiny::load();
    let weights = Weights::open(&tiny.golden.folder().join("promptnet")).unwrap();
    let (promptnet, variables) =
        PromptNet::for_training(tiny.promptnet.config().clone(), &weights, &Device::Cpu).unwrap();
    let models = (promptnet, tiny.unet.clone());
    let gradients = loss(&tiny, &models).backward().unwrap();
    let expected = Golden::open("profusion_gradients");
    for (name, variable) in variables.all() {
        let error = relative_error(gradients.get(&variable).unwrap(), expected.case(&format!("promptnet.{name}")));
        assert!(error <= 1e-3, "{name}: {error:e}");
    }
}

#[test]
fn a_new_one_is_the_unets_way_down() {
    let tiny = Tiny::load();
    let unet = Weights::open(&tiny.golden.folder().join("unet")).unwrap();
    let config = PromptNetConfig::for_unet(tiny.unet.config(), 16, 12, TextStates::Penultimate).unwrap();
    assert_eq!((config.downsample(), config.region_kernel_size, config.latent_size()), (4, 2, 8));
    assert_eq!(config.head_sizes(), [2, 1, 1]);
    let new = |seed: u64| from_unet(&config, &unet, &Noise::new(seed)).unwrap();
    let (tensors, same) = (new(1), new(1));
    let weights = Weights::from_tensors(tensors.clone(), std::path::Path::new("new.safetensors"));
    let net = PromptNet::from_weights(config.clone(), &weights, &Device::Cpu).unwrap();
    assert!(weights.unused().is_empty(), "{:?}", weights.unused());
    for (name, tensor) in &tensors {
        assert_eq!(relative_error(tensor, &same[name]), 0.0);
        if unet.contains(name) {
            assert_eq!(relative_error(tensor, &unet.tensor(name).unwrap()), 0.0, "{name}");
        } else {
            assert!(tensor.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap() > 0.0, "{name}");
        }
    }
    let (batch, _) = tiny.batch();
    let timesteps = Tensor::new(&[1_u32, 500, 999], &Device::Cpu).unwrap();
    let token = net.forward(&batch.reference, &batch.target, &timesteps, &batch.vision).unwrap();
    assert_eq!(token.dims(), [3, 1, 16]);
    // What is written is read back.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
    assert_eq!(PromptNetConfig::read(&path).unwrap(), config);
}

#[test]
fn sd2_has_the_published_kernels() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let published = r#"{"sample_size": 64, "in_channels": 4, "block_out_channels": [320, 640, 1280, 1280],
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024, "use_linear_projection": true,
        "use_clip_vision_embeds": true, "with_noise": true, "use_res": true}"#;
    std::fs::write(&path, published).unwrap();
    let config = PromptNetConfig::read(&path).unwrap();
    assert_eq!((config.downsample(), config.head_sizes(), config.region_kernel_size), (8, vec![4, 2, 1, 1], 8));
    assert_eq!((config.vision_dim(), config.prompt_channel, config.region_proj_channel), (1280, 1024, 128));
    for (from, to, message) in [
        ("\"sample_size\": 64", "\"sample_size\": 32", "sample_size is 32, and region_kernel_size 8 times"),
        ("\"with_noise\": true", "\"with_noise\": false", "with_noise is false"),
        ("\"use_res\": true", "\"region_downsample\": 12", "region_downsample is 12: it must be a multiple of 8"),
        ("\"use_res\": true", "\"prompt_channel\": 0", "prompt_channel is 0"),
        ("\"use_res\": true", "\"act_fn\": \"gelu\"", "act_fn is \"gelu\""),
    ] {
        std::fs::write(&path, published.replace(from, to)).unwrap();
        let error = PromptNetConfig::read(&path).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn what_does_not_fit_is_an_error_that_says_why() {
    let tiny = Tiny::load();
    let (batch, _) = tiny.batch();
    let timesteps = Tensor::new(&[1_u32, 500, 999], &Device::Cpu).unwrap();
    let forward = |reference: &Tensor, timesteps: &Tensor, vision: &Tensor| {
        tiny.promptnet.forward(reference, &batch.target, timesteps, vision).unwrap_err().to_string()
    };
    let small = batch.reference.narrow(3, 0, 4).unwrap();
    assert!(forward(&small, &timesteps, &batch.vision).contains("(3, 4, 8, 8) is wanted"));
    assert!(forward(&batch.reference, &timesteps.narrow(0, 0, 1).unwrap(), &batch.vision).contains("timesteps have"));
    let narrow = batch.vision.narrow(2, 0, 5).unwrap();
    assert!(forward(&batch.reference, &timesteps, &narrow).contains("(3, N, 12) is wanted"));
    let prompt = tiny.text.prompt(TRAINING_PROMPT, true).unwrap();
    let wide = Tensor::zeros((1, 2, 16), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(tiny.text.inject(&prompt, &wide, 1.0).unwrap_err().to_string().contains("(1, 1, 16) is what"));
}
