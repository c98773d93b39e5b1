use candle_core::{Device, IndexOp as _};

use super::*;
use crate::golden::Golden;

#[test]
fn noise_is_added_per_sample_as_in_the_reference() {
    let golden = Golden::open("noise");
    let config = NoiseConfig::stable_diffusion(PredictionType::VPrediction);
    let ddpm = DdpmScheduler::new(&config).unwrap();
    let (x0, noise) = (golden.case("forward.x0"), golden.case("forward.noise"));
    let timesteps = [0, 1, 420, 998, 999];
    let noisy = ddpm.add_noise(x0, noise, &timesteps).unwrap();
    golden.assert_close("forward.noisy", &noisy);
    golden.assert_close("forward.velocity", &ddpm.velocity(x0, noise, &timesteps).unwrap());
    golden.assert_close("forward.velocity", &ddpm.target(x0, noise, &timesteps).unwrap());
    for (row, timestep) in timesteps.into_iter().enumerate() {
        let rows = row..=row;
        let alone = ddpm.add_noise(&x0.i(rows.clone()).unwrap(), &noise.i(rows.clone()).unwrap(), &[timestep]).unwrap();
        let [alone, together] =
            [alone, noisy.i(rows).unwrap()].map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        assert_eq!(alone, together);
    }
}

#[test]
fn the_target_is_what_the_model_predicts() {
    let golden = Golden::open("noise");
    let (x0, noise) = (golden.case("forward.x0"), golden.case("forward.noise"));
    for (prediction, expected) in [(PredictionType::Epsilon, "forward.noise"), (PredictionType::Sample, "forward.x0")] {
        let ddpm = DdpmScheduler::new(&NoiseConfig::stable_diffusion(prediction)).unwrap();
        golden.assert_close(expected, &ddpm.target(x0, noise, &[0, 1, 420, 998, 999]).unwrap());
    }
}

#[test]
fn ancestral_sampling_ends_where_the_reference_ends() {
    let golden = Golden::open("noise");
    let run = |name: &str, config: &NoiseConfig, n_steps: u32| {
        let sampler = AncestralScheduler::new(config, n_steps).unwrap();
        let mut latents = golden.case("start").clone();
        for (index, timestep) in sampler.timesteps().iter().enumerate() {
            let output = super::super::ddim::tests::model(&latents, *timestep);
            let noise = golden.case("steps_noise").get(index).unwrap();
            latents = sampler.step(&output, index, &latents, &noise).unwrap();
        }
        golden.assert_close(&format!("{name}.last"), &latents);
    };
    for (variance_type, variance) in [(VarianceType::FixedSmall, "small"), (VarianceType::FixedLarge, "large")] {
        for (prediction, name) in [
            (PredictionType::Epsilon, "epsilon"),
            (PredictionType::VPrediction, "v_prediction"),
            (PredictionType::Sample, "sample"),
        ] {
            let config = NoiseConfig { variance_type, ..NoiseConfig::stable_diffusion(prediction) };
            run(&format!("ddpm.fixed_{variance}.{name}"), &config, 50);
        }
    }
    let clipped =
        NoiseConfig { clip_sample: true, steps_offset: 0, ..NoiseConfig::stable_diffusion(PredictionType::Epsilon) };
    run("ddpm.clipped", &clipped, 20);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let config = NoiseConfig::default();
    let ddpm = DdpmScheduler::new(&config).unwrap();
    let x = Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
    let message = |timesteps: &[u32]| ddpm.add_noise(&x, &x, timesteps).unwrap_err().to_string();
    assert_eq!(
        message(&[1]),
        "1 timesteps for samples of shape [2, 3]: there must be one for each of the first dimension"
    );
    assert_eq!(message(&[1, 1000]), "timestep 1000: the schedule has 1000");
    assert!(ddpm.add_noise(&x, &x.t().unwrap(), &[1, 2]).is_err());
    let sampler = AncestralScheduler::new(&config, 10).unwrap();
    assert_eq!(sampler.step(&x, 10, &x, &x).unwrap_err().to_string(), "step 10: there are 10, from 0");
}
