use std::collections::BTreeMap;

use candle_core::Var;

use super::*;
use crate::golden::{Golden, relative_error};
use crate::noise::{NoiseConfig, PredictionType};
use crate::train::{AdamW, AdamWConfig, Gradients, clip_grad_norm};
use crate::unet::{Trainable, UNetConfig};
use crate::weights::Weights;

fn scheduler(prediction_type: PredictionType) -> DdpmScheduler {
    DdpmScheduler::new(&NoiseConfig::stable_diffusion(prediction_type)).unwrap()
}

fn batch(golden: &Golden, prefix: &str) -> (DiffusionBatch, DiffusionDraw) {
    let case = |name: &str| golden.case(&format!("{prefix}.{name}")).clone();
    let batch = DiffusionBatch {
        latents: case("latents"),
        conditions: CafeConditioning { clip: case("clip"), dino: case("dino") },
    };
    let draw = DiffusionDraw {
        noise: case("noise"),
        timesteps: case("timesteps").to_dtype(DType::U32).unwrap().to_vec1().unwrap(),
        keep_clip: case("keep_clip"),
        keep_dino: case("keep_dino"),
    };
    (batch, draw)
}

fn model(golden: &Golden, n_clip_tokens: usize, trainable: Trainable) -> (UNet, BTreeMap<String, Var>) {
    let mut config = UNetConfig::read(&golden.folder().join("config.json")).unwrap();
    config.cafe.as_mut().unwrap().n_clip_tokens = n_clip_tokens;
    let weights: Weights = golden.weights();
    let (unet, variables) = UNet::for_training(config, &weights, trainable, &Device::Cpu).unwrap();
    (unet, variables.all())
}

fn loss(golden: &Golden, kind: PredictionType, min_snr_gamma: Option<f64>) -> f32 {
    let (unet, _) = model(golden, 2, Trainable::All);
    let (batch, draw) = batch(golden, "in");
    diffusion_loss(&unet, &scheduler(kind), &batch, &draw, min_snr_gamma).unwrap().to_scalar().unwrap()
}

#[test]
fn the_loss_is_the_references() {
    let golden = Golden::open("cafe_unet");
    for (kind, name) in [(PredictionType::Epsilon, "epsilon"), (PredictionType::VPrediction, "v_prediction")] {
        for (form, gamma) in [("loss", None), ("min_snr", Some(1.0))] {
            let expected = golden.case(&format!("out.{form}.{name}")).to_scalar::<f32>().unwrap();
            let actual = loss(&golden, kind, gamma);
            assert!((actual - expected).abs() <= 1e-5 * expected, "{form} of {name}: {actual} for {expected}");
        }
    }
}

fn gradients_are_the_references() {
    let golden = Golden::open("cafe_unet");
    let (unet, variables) = model(&golden, 2, Trainable::All);
    let (batch, draw) = batch(&golden, "in");
    let loss = diffusion_loss(&unet, &scheduler(PredictionType::Epsilon), &batch, &draw, None).unwrap();
    let gradients = loss.backward().unwrap();
    golden.assert_gradients("gradient.", &variables, &gradients);
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
fn with_one_clip_token_its_keys_have_exactly_no_gradient() {
    let golden = Golden::open("cafe_unet");
    let (unet, variables) = model(&golden, 1, Trainable::NewKv);
    let (batch, draw) = batch(&golden, "in");
    let loss = diffusion_loss(&unet, &scheduler(PredictionType::Epsilon), &batch, &draw, None).unwrap();
    let gradients = loss.backward().unwrap();
    let largest = |variable: &Var| {
        let gradient = gradients.get(variable).unwrap();
        gradient.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
    };
    let mut n_keys = 0;
    for (name, variable) in &variables {
        if name.ends_with("to_k_clip.weight") {
            assert_eq!(largest(variable), 0.0, "{name}");
            n_keys += 1;
        } else {
            assert!(largest(variable) > 0.0, "{name}");
        }
    }
    assert_eq!(n_keys, 7);
}

#[test]
fn frozen_weights_have_no_gradient() {
    let golden = Golden::open("cafe_unet");
    let (unet, variables) = model(&golden, 2, Trainable::Attn2);
    assert!(variables.keys().all(|name| name.contains(".attn2.") || name.starts_with("clip_tokens.")));
    let (batch, draw) = batch(&golden, "in");
    let loss = diffusion_loss(&unet, &scheduler(PredictionType::Epsilon), &batch, &draw, None).unwrap();
    let gradients = loss.backward().unwrap();
    for (name, variable) in &variables {
        let expected = golden.case(&format!("gradient.{name}"));
        assert!(relative_error(gradients.get(variable).unwrap(), expected) <= 1e-3, "{name}");
    }
}

#[test]
fn twenty_steps_of_adamw_follow_pytorch() {
    let golden = Golden::open("cafe_unet");
    let (unet, variables) = model(&golden, 2, Trainable::All);
    let config = AdamWConfig { weight_decay: 1e-2, ..AdamWConfig::default() };
    let mut optimizer = AdamW::new(variables.clone(), config).unwrap();
    let expected = golden.case("train.losses").to_vec1::<f32>().unwrap();
    for (step, expected) in expected.into_iter().enumerate() {
        let (batch, draw) = batch(&golden, &format!("train.{}", step % 5));
        let loss = diffusion_loss(&unet, &scheduler(PredictionType::Epsilon), &batch, &draw, None).unwrap();
        let gradients = loss.backward().unwrap();
        let (gradients, _) = clip_grad_norm(Gradients::of(&variables, &gradients), 1.0).unwrap();
        optimizer.step(&gradients, 1e-3).unwrap();
        let loss = loss.to_scalar::<f32>().unwrap();
        println!("step {step}: loss {loss}, PyTorch's {expected}");
        assert!((loss - expected).abs() <= 1e-3 * expected, "step {step}: loss {loss}, PyTorch's {expected}");
    }
}

#[test]
fn draws_are_reproducible_and_as_asked() {
    let draw = |seed: u64| DiffusionDraw::new(&[4000, 1, 1, 1], 1000, 0.1, &Noise::new(seed), &Device::Cpu).unwrap();
    let (one, same, other) = (draw(7), draw(7), draw(8));
    let numbers =
        |tensor: &Tensor| tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(numbers(&one.noise), numbers(&same.noise));
    assert_ne!(numbers(&one.noise), numbers(&other.noise));
    let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
    let (clip, dino) = (numbers(&one.keep_clip), numbers(&one.keep_dino));
    assert!((mean(&clip) - 0.9).abs() < 0.02 && (mean(&dino) - 0.9).abs() < 0.02);
    // Independent: both are dropped in a hundredth of the rows.
    let n_neither = clip.iter().zip(&dino).filter(|(clip, dino)| **clip + **dino == 0.0).count();
    assert!((15..=70).contains(&n_neither), "{n_neither} of 4000");
    let steps: Vec<f32> = one.timesteps.iter().map(|step| *step as f32).collect();
    assert!(steps.iter().all(|step| (0.0..1000.0).contains(step)) && (mean(&steps) - 499.5).abs() < 20.0);
}
