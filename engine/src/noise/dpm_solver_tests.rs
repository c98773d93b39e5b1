use candle_core::Device;

use super::super::PredictionType;
use super::super::ddim::tests::model;
use super::*;
use crate::golden::{Golden, assert_close};

const SPACINGS: [(TimestepSpacing, &str); 3] = [
    (TimestepSpacing::Leading, "leading"),
    (TimestepSpacing::Trailing, "trailing"),
    (TimestepSpacing::Linspace, "linspace"),
];

fn walk(solver: &DpmSolverScheduler, start: &Tensor, until: usize) -> Tensor {
    let (mut latents, mut previous) = (start.clone(), None);
    for (index, timestep) in solver.timesteps().iter().enumerate().take(until) {
        let step = solver.step(&model(&latents, *timestep), index, &latents, previous.as_ref()).unwrap();
        (latents, previous) = (step.latents, Some(step.x0));
    }
    latents
}

fn follows(golden: &Golden, name: &str, noise: &NoiseConfig, config: DpmSolverConfig, n_steps: u32) {
    let solver = DpmSolverScheduler::new(noise, config, n_steps).unwrap();
    let expected = golden.case(&format!("{name}.timesteps")).to_vec1::<i64>().unwrap();
    assert_eq!(solver.timesteps().iter().map(|t| i64::from(*t)).collect::<Vec<_>>(), expected, "{name}");
    let sigmas = Tensor::new(solver.sigmas(), &Device::Cpu).unwrap();
    assert_close(&format!("{name}.sigmas"), &sigmas, golden.case(&format!("{name}.sigmas")), 1e-6);
    golden.assert_close(&format!("{name}.second"), &walk(&solver, golden.case("start"), 2));
    golden.assert_close(&format!("{name}.last"), &walk(&solver, golden.case("start"), usize::MAX));
}

#[test]
fn whole_loops_end_where_the_reference_ends() {
    let golden = Golden::open("samplers");
    for (prediction, name) in [
        (PredictionType::Epsilon, "epsilon"),
        (PredictionType::VPrediction, "v_prediction"),
        (PredictionType::Sample, "sample"),
    ] {
        let noise = NoiseConfig::stable_diffusion(prediction);
        for (timestep_spacing, spacing) in SPACINGS {
            let config = DpmSolverConfig { timestep_spacing, ..DpmSolverConfig::default() };
            for n_steps in [5, 10, 14, 15, 20, 50] {
                follows(&golden, &format!("dpm.{name}.{spacing}.{n_steps}"), &noise, config, n_steps);
            }
        }
    }
}

#[test]
fn options_are_those_of_the_reference() {
    let golden = Golden::open("samplers");
    let epsilon = NoiseConfig::stable_diffusion(PredictionType::Epsilon);
    let base = DpmSolverConfig::default();
    for n_steps in [5, 20] {
        let follows = |name: &str, noise: &NoiseConfig, config| {
            follows(&golden, &format!("dpm.{name}.{n_steps}"), noise, config, n_steps);
        };
        let sigma_min = DpmSolverConfig { final_sigmas_type: FinalSigma::SigmaMin, ..base };
        follows("sigma_min", &epsilon, sigma_min);
        follows("second_order_final", &epsilon, DpmSolverConfig { lower_order_final: false, ..sigma_min });
        follows("euler_at_final", &epsilon, DpmSolverConfig { euler_at_final: true, ..sigma_min });
        let karras = DpmSolverConfig { use_karras_sigmas: true, ..base };
        follows("karras", &epsilon, karras);
        let cosine = NoiseConfig { beta_schedule: BetaSchedule::SquaredCosine, ..epsilon.clone() };
        follows("karras_cosine", &cosine, karras);
        let zero_snr =
            NoiseConfig { rescale_betas_zero_snr: true, ..NoiseConfig::stable_diffusion(PredictionType::VPrediction) };
        follows("zero_snr", &zero_snr, DpmSolverConfig { timestep_spacing: TimestepSpacing::Trailing, ..base });
    }
}

/// What order is: halving the steps divides the error by four. The model knows the answer: x0 is normal with variance s.
#[test]
fn it_is_of_second_order() {
    let noise = NoiseConfig::stable_diffusion(PredictionType::Sample);
    let start = Tensor::new(&[1.3_f32], &Device::Cpu).unwrap();
    let variance = 0.25;
    let end = |n_steps: u32| -> (f64, f64) {
        // Karras's steps are about even in λ, so that few are enough for the limit to show.
        let config = DpmSolverConfig {
            use_karras_sigmas: true,
            final_sigmas_type: FinalSigma::SigmaMin,
            ..DpmSolverConfig::default()
        };
        let solver = DpmSolverScheduler::new(&noise, config, n_steps).unwrap();
        let (mut latents, mut previous) = (start.clone(), None);
        let spread = |(signal, noise): (f64, f64)| (signal * signal * variance + noise * noise).sqrt();
        for index in 0..n_steps as usize {
            let scales = solver.scales(index).unwrap();
            let x0 = (&latents * (scales.0 * variance / spread(scales).powi(2))).unwrap();
            let step = solver.step(&x0, index, &latents, previous.as_ref()).unwrap();
            (latents, previous) = (step.latents, Some(step.x0));
        }
        let ratio = spread(solver.scales(n_steps as usize).unwrap()) / spread(solver.scales(0).unwrap());
        (f64::from(latents.to_vec1::<f32>().unwrap()[0]), 1.3 * ratio)
    };
    let errors: Vec<f64> = [20, 40, 80].into_iter().map(end).map(|(found, exact)| (found - exact).abs()).collect();
    println!("errors with 20, 40, 80 steps: {errors:?}");
    assert!(errors[0] / errors[1] > 3.0 && errors[1] / errors[2] > 3.0, "{errors:?}");
}

#[test]
fn what_does_not_fit_is_an_error() {
    let noise = NoiseConfig::stable_diffusion(PredictionType::Epsilon);
    let config = DpmSolverConfig::default();
    let message = |config, n_steps| DpmSolverScheduler::new(&noise, config, n_steps).unwrap_err().to_string();
    assert_eq!(message(config, 0), "0 steps: there must be 1 to 999");
    assert_eq!(message(config, 1000), "1000 steps: there must be 1 to 999");
    assert_eq!(
        message(DpmSolverConfig { use_karras_sigmas: true, ..config }, 1000),
        "1000 steps: there must be 1 to 999"
    );
    let leading = DpmSolverConfig { timestep_spacing: TimestepSpacing::Leading, ..config };
    assert!(
        message(leading, 999).contains("the first timestep is 1000, and training has 1000"),
        "{}",
        message(leading, 999)
    );
    let solver = DpmSolverScheduler::new(&noise, config, 10).unwrap();
    let x = Tensor::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap();
    assert_eq!(solver.step(&x, 10, &x, None).unwrap_err().to_string(), "step 10: there are 10, from 0");
    assert_eq!(solver.scales(11).unwrap_err().to_string(), "step 11: there are 10, from 0");
    let one = NoiseConfig { num_train_timesteps: 1, ..noise.clone() };
    assert!(DpmSolverScheduler::new(&one, config, 1).is_err());
    assert!(DpmSolverScheduler::new(&one, DpmSolverConfig { use_karras_sigmas: true, ..config }, 1).is_err());
    for spacing in SPACINGS.map(|(spacing, _)| spacing) {
        // Whatever number of steps: it works, or it says why not.
        for n_steps in 1..=999 {
            let config = DpmSolverConfig { timestep_spacing: spacing, ..config };
            if let Ok(solver) = DpmSolverScheduler::new(&noise, config, n_steps) {
                assert_eq!(solver.sigmas().len(), n_steps as usize + 1);
            }
        }
    }
}
