use candle_core::{Device, IndexOp as _};

use super::super::{Noise, PredictionType, TimestepSpacing};
use super::*;
use crate::golden::{Golden, assert_close};

/// The formula that stands for a model in the goldens.
pub(in super::super) fn model(latents: &Tensor, timestep: u32) -> Tensor {
    latents.affine(0.6, 0.0003 * f64::from(timestep) - 0.1).unwrap()
}

fn sample(sampler: &DdimScheduler, start: &Tensor, noise: &Tensor, until: usize) -> Tensor {
    let mut latents = start.clone();
    for (index, timestep) in sampler.timesteps().iter().enumerate().take(until) {
        let noise = sampler.wants_noise().then(|| noise.get(index).unwrap());
        latents = sampler.step(&model(&latents, *timestep), index, &latents, noise.as_ref()).unwrap();
    }
    latents
}

fn follows(golden: &Golden, name: &str, config: &NoiseConfig, n_steps: u32, eta: f64) {
    let sampler = DdimScheduler::new(config, n_steps, eta).unwrap();
    let (start, noise) = (golden.case("start"), golden.case("steps_noise"));
    golden.assert_close(&format!("{name}.first"), &sample(&sampler, start, noise, 1));
    golden.assert_close(&format!("{name}.last"), &sample(&sampler, start, noise, usize::MAX));
}

#[test]
fn whole_loops_end_where_the_reference_ends() {
    let golden = Golden::open("noise");
    for (prediction, name) in [
        (PredictionType::Epsilon, "epsilon"),
        (PredictionType::VPrediction, "v_prediction"),
        (PredictionType::Sample, "sample"),
    ] {
        for (timestep_spacing, spacing) in [
            (TimestepSpacing::Leading, "leading"),
            (TimestepSpacing::Trailing, "trailing"),
            (TimestepSpacing::Linspace, "linspace"),
        ] {
            let config = NoiseConfig { timestep_spacing, ..NoiseConfig::stable_diffusion(prediction) };
            for n_steps in [20, 50] {
                for eta in [0.0, 0.7] {
                    follows(&golden, &format!("ddim.{name}.{spacing}.{n_steps}.{eta:.1}"), &config, n_steps, eta);
                }
            }
        }
    }
}

#[test]
fn options_are_those_of_the_reference() {
    let golden = Golden::open("noise");
    let base = NoiseConfig::stable_diffusion(PredictionType::Epsilon);
    let alpha_one = NoiseConfig { set_alpha_to_one: true, steps_offset: 0, ..base };
    follows(&golden, "ddim.alpha_one", &alpha_one, 20, 0.7);
    let clipped = NoiseConfig { clip_sample: true, clip_sample_range: 1.5, ..base };
    follows(&golden, "ddim.clipped", &clipped, 20, 0.7);
    let zero_snr = NoiseConfig {
        rescale_betas_zero_snr: true,
        timestep_spacing: TimestepSpacing::Trailing,
        ..NoiseConfig::stable_diffusion(PredictionType::VPrediction)
    };
    follows(&golden, "ddim.zero_snr", &zero_snr, 20, 0.7);
}

#[test]
fn variances_are_those_of_the_reference() {
    let golden = Golden::open("noise");
    let schedule = NoiseSchedule::new(&NoiseConfig::default()).unwrap();
    let alpha = |timestep: i64| u32::try_from(timestep).map_or(1.0, |t| schedule.alpha_cumprod(t).unwrap());
    let pairs = golden.case("variance.pairs").to_vec2::<i64>().unwrap();
    let found: Vec<f32> = pairs.iter().map(|pair| variance(alpha(pair[0]), alpha(pair[1])) as f32).collect();
    assert!((found[1] - 0.14771).abs() < 1e-5, "{found:?}");
    // The reference rounds 1 - ᾱ/ᾱ' to f32, a difference of nearly equal numbers between neighbours.
    assert_close("variances", &Tensor::new(found, &Device::Cpu).unwrap(), golden.case("variance.values"), 2e-6);
}

#[test]
fn a_batch_is_its_rows() {
    let config = NoiseConfig::stable_diffusion(PredictionType::VPrediction);
    let sampler = DdimScheduler::new(&config, 10, 1.0).unwrap();
    let device = &Device::Cpu;
    let rows: Vec<Noise> = (0..3).map(Noise::new).collect();
    let start = |rows: &[Noise]| {
        let rows: Vec<Noise> = rows.iter().map(|row| row.of("latents")).collect();
        Noise::normal_rows(&rows, (4, 2, 2), device).unwrap()
    };
    let noise = |rows: &[Noise]| {
        let step = |index: u64| {
            let rows: Vec<Noise> = rows.iter().map(|row| row.of("step").at(index)).collect();
            Noise::normal_rows(&rows, (4, 2, 2), device).unwrap()
        };
        Tensor::stack(&(0..10).map(step).collect::<Vec<_>>(), 0).unwrap()
    };
    let together = sample(&sampler, &start(&rows), &noise(&rows), usize::MAX);
    for (index, row) in rows.iter().enumerate() {
        let row = std::slice::from_ref(row);
        let alone = sample(&sampler, &start(row), &noise(row), usize::MAX);
        let together = together.i(index..=index).unwrap();
        assert_close(&format!("row {index}"), &alone, &together, 0.0);
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let config = NoiseConfig::stable_diffusion(PredictionType::Epsilon);
    let message = |eta| DdimScheduler::new(&config, 10, eta).unwrap_err().to_string();
    assert_eq!(message(-0.1), "eta is -0.1: it must be 0 to 1");
    assert_eq!(message(f64::NAN), "eta is NaN: it must be 0 to 1");
    let sampler = DdimScheduler::new(&config, 10, 1.0).unwrap();
    let x = Tensor::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap();
    assert_eq!(sampler.step(&x, 3, &x, None).unwrap_err().to_string(), "step 3 with eta 1 needs noise");
    assert_eq!(sampler.step(&x, 10, &x, Some(&x)).unwrap_err().to_string(), "step 10: there are 10, from 0");
    // Noise alone says nothing of x0 when the model predicts noise.
    let zero_snr = NoiseConfig { rescale_betas_zero_snr: true, timestep_spacing: TimestepSpacing::Trailing, ..config };
    let sampler = DdimScheduler::new(&zero_snr, 10, 0.0).unwrap();
    assert!(sampler.step(&x, 0, &x, None).unwrap_err().to_string().contains("use v_prediction"));
}
