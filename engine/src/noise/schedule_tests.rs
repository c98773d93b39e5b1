use candle_core::Device;

use super::*;
use crate::golden::{Golden, assert_close};

fn config(schedule: BetaSchedule) -> NoiseConfig {
    match schedule {
        BetaSchedule::ScaledLinear => {
            NoiseConfig { beta_schedule: schedule, ..NoiseConfig::stable_diffusion(PredictionType::Epsilon) }
        }
        _ => NoiseConfig { beta_schedule: schedule, ..NoiseConfig::default() },
    }
}

#[test]
fn betas_and_alphas_are_those_of_the_reference() {
    let golden = Golden::open("noise");
    for (schedule, name) in [
        (BetaSchedule::Linear, "linear"),
        (BetaSchedule::ScaledLinear, "scaled_linear"),
        (BetaSchedule::SquaredCosine, "squaredcos_cap_v2"),
    ] {
        for (suffix, rescale_betas_zero_snr) in [("", false), (".zero_snr", true)] {
            let made = NoiseSchedule::new(&NoiseConfig { rescale_betas_zero_snr, ..config(schedule) }).unwrap();
            for (kind, numbers) in [("betas", made.betas()), ("alphas_cumprod", made.alphas_cumprod())] {
                let name = format!("{kind}.{name}{suffix}");
                let numbers = Tensor::new(numbers, &Device::Cpu).unwrap();
                assert_close(&name, &numbers, golden.case(&name), 3e-7);
            }
            assert_eq!(made.alphas_cumprod().last() == Some(&0.0), rescale_betas_zero_snr);
        }
    }
}

#[test]
fn predictions_of_every_type_say_the_same() {
    let device = &Device::Cpu;
    let noise = super::super::Noise::new(0);
    let shape = (2, 4, 3, 3);
    let x0 = noise.of("x0").normal(shape, device).unwrap();
    let epsilon = noise.of("noise").normal(shape, device).unwrap();
    for alpha in [0.999_f64, 0.5, 0.01] {
        let (signal, scale) = (alpha.sqrt(), (1.0 - alpha).sqrt());
        let latents = ((&x0 * signal).unwrap() + (&epsilon * scale).unwrap()).unwrap();
        let velocity = ((&epsilon * signal).unwrap() - (&x0 * scale).unwrap()).unwrap();
        for (prediction, output) in [
            (PredictionType::Epsilon, &epsilon),
            (PredictionType::Sample, &x0),
            (PredictionType::VPrediction, &velocity),
        ] {
            let schedule = NoiseSchedule::new(&NoiseConfig::stable_diffusion(prediction)).unwrap();
            let (found_x0, found_epsilon) = schedule.x0_and_epsilon(output, &latents, alpha).unwrap();
            assert_close(&format!("x0 from {prediction:?} at {alpha}"), &found_x0, &x0, 1e-5);
            assert_close(&format!("ε from {prediction:?} at {alpha}"), &found_epsilon, &epsilon, 1e-5);
        }
    }
}

#[test]
fn timesteps_are_spaced_as_in_the_reference() {
    let golden = Golden::open("noise");
    for (spacing, name) in [
        (TimestepSpacing::Leading, "leading"),
        (TimestepSpacing::Trailing, "trailing"),
        (TimestepSpacing::Linspace, "linspace"),
    ] {
        for n_steps in [20, 50] {
            let config =
                NoiseConfig { timestep_spacing: spacing, ..NoiseConfig::stable_diffusion(PredictionType::Epsilon) };
            let expected =
                golden.case(&format!("ddim.epsilon.{name}.{n_steps}.0.0.timesteps")).to_vec1::<i64>().unwrap();
            let found: Vec<i64> = timesteps(&config, n_steps).unwrap().into_iter().map(i64::from).collect();
            assert_eq!(found, expected, "{name} {n_steps}");
        }
        for n_steps in 1..=999 {
            let config = NoiseConfig { timestep_spacing: spacing, ..NoiseConfig::default() };
            let found = timesteps(&config, n_steps).unwrap();
            assert_eq!(found.len(), n_steps as usize);
            assert!(found.is_sorted_by(|left, right| left > right) && found[0] < 1000, "{name} {n_steps}: {found:?}");
        }
    }
}

#[test]
fn numbers_of_steps_that_cannot_be_are_refused() {
    let config = NoiseConfig::stable_diffusion(PredictionType::Epsilon);
    let message = |n_steps| timesteps(&config, n_steps).unwrap_err().to_string();
    assert_eq!(message(0), "0 steps: there must be 1 to 1000, the training's");
    assert_eq!(message(1001), "1001 steps: there must be 1 to 1000, the training's");
    assert_eq!(
        message(1000),
        "1000 steps with `steps_offset` 1: the first timestep is 1000, and training has 1000: use fewer steps"
    );
    let schedule = NoiseSchedule::new(&config).unwrap();
    assert_eq!(schedule.alpha_cumprod(1000).unwrap_err().to_string(), "timestep 1000: the schedule has 1000");
    let zeros = Tensor::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(schedule.x0_and_epsilon(&zeros, &zeros, 0.0).unwrap_err().to_string().contains("use v_prediction"));
    assert!(NoiseSchedule::new(&NoiseConfig { beta_end: 2.0, ..config }).is_err());
}
