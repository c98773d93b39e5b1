use candle_core::{DType, Device};

use super::super::{FinalSigma, TimestepSpacing};
use super::*;
use crate::golden::Golden;

fn config(name: &str) -> SamplerConfig {
    let folder = Golden::open("samplers").folder().join(name);
    SamplerConfig::read(&folder.join("scheduler_config.json")).unwrap()
}

#[test]
fn the_file_chooses_and_the_caller_overrides() {
    for (name, expected) in
        [("ddim", SamplerKind::Ddim), ("pndm", SamplerKind::Ddim), ("dpm_solver", SamplerKind::DpmSolver)]
    {
        let config = config(name);
        assert_eq!(config.kind().unwrap(), expected, "{name}");
        assert!(!config.noise.clip_sample, "{name} clips");
        for kind in [SamplerKind::Ddim, SamplerKind::DpmSolver] {
            let sampler = config.sampler(Some(kind), 7, 0.0).unwrap();
            assert_eq!(matches!(sampler, Sampler::Ddim(_)), kind == SamplerKind::Ddim);
            assert_eq!(sampler.timesteps().len(), 7);
        }
    }
}

#[test]
fn options_are_read() {
    let solver = config("dpm_solver").dpm_solver.unwrap();
    assert!(solver.use_karras_sigmas && solver.lower_order_final && !solver.euler_at_final);
    assert_eq!((solver.timestep_spacing, solver.final_sigmas_type), (TimestepSpacing::Trailing, FinalSigma::Zero));
    // Without spacing in the file, each class has its own default. As diffusers makes DPM-Solver++ of PNDM's file:
    let bare = SamplerConfig::parse(r#"{"_class_name": "PNDMScheduler", "steps_offset": 1}"#, Path::new("x")).unwrap();
    let first = |kind| bare.sampler(Some(kind), 20, 0.0).unwrap().timesteps()[0];
    assert_eq!((first(SamplerKind::Ddim), first(SamplerKind::DpmSolver)), (951, 999));
}

#[test]
fn what_there_is_not_is_refused_by_key_and_value() {
    let error = config("euler").sampler(None, 10, 0.0).unwrap_err().to_string();
    assert!(
        error.contains("scheduler_config.json: `_class_name` is \"EulerDiscreteScheduler\": supported are DDIM"),
        "{error}"
    );
    // But it can be sampled with another.
    for name in ["euler", "unipc"] {
        assert!(config(name).sampler(None, 10, 0.0).is_err());
        assert!(config(name).sampler(Some(SamplerKind::Ddim), 10, 0.0).is_ok(), "{name}");
        assert!(config(name).sampler(Some(SamplerKind::DpmSolver), 10, 0.0).is_ok(), "{name}");
    }
    let error = config("dpm_solver_order_3").sampler(None, 10, 0.0).unwrap_err().to_string();
    assert!(error.contains("scheduler_config.json: `solver_order` is 3: DPM-Solver++ supports 2 here"), "{error}");
    assert!(config("dpm_solver_order_3").sampler(Some(SamplerKind::Ddim), 10, 0.5).is_ok());
    for (json, message) in [
        (
            r#"{"algorithm_type": "sde-dpmsolver++"}"#,
            "`algorithm_type` is \"sde-dpmsolver++\": DPM-Solver++ supports \"dpmsolver++\", \"deis\" here",
        ),
        (r#"{"solver_type": "heun"}"#, "`solver_type` is \"heun\""),
        (r#"{"use_lu_lambdas": true}"#, "`use_lu_lambdas` is true: DPM-Solver++ supports false here"),
        (r#"{"lambda_min_clipped": -5.1}"#, "`lambda_min_clipped` is -5.1: DPM-Solver++ supports null here"),
        (r#"{"final_sigmas_type": "one"}"#, "`final_sigmas_type` is \"one\""),
        (r#"{"lower_order_final": 1}"#, "invalid type: integer `1`"),
    ] {
        let config = SamplerConfig::parse(json, Path::new("x.json")).unwrap();
        let error = config.sampler(Some(SamplerKind::DpmSolver), 10, 0.0).unwrap_err().to_string();
        assert!(error.contains(message) && error.starts_with("x.json: "), "{error}");
        assert!(config.sampler(None, 10, 0.0).is_ok(), "DDIM does not mind");
    }
    let refusal = |json| SamplerConfig::parse(json, Path::new("x")).err().unwrap();
    assert_eq!(refusal(r#"{"_class_name": 3}"#), "`_class_name` is 3: a word is expected");
    assert!(refusal(r#"{"prediction_type": "flow_prediction"}"#).starts_with("`prediction_type` is"));
    assert!(refusal("[").starts_with("is not a JSON object"));
    let error = config("dpm_solver").sampler(None, 10, 0.5).unwrap_err().to_string();
    assert_eq!(error, "eta is 0.5: DPM-Solver++ adds no noise; it must be 0, or use ddim");
    assert!(SamplerConfig::read(Path::new("/nowhere/scheduler_config.json")).is_err());
}

#[test]
fn a_picture_starts_where_its_strength_says() {
    for name in ["ddim", "dpm_solver"] {
        let sampler = config(name).sampler(None, 50, 0.0).unwrap();
        let first = |strength| sampler.first_step(strength).unwrap();
        assert_eq!([0.0, 0.01, 0.02, 0.5, 0.58, 0.999, 1.0].map(first), [50, 50, 49, 25, 22, 1, 0]);
        assert_eq!(sampler.first_step(1.1).unwrap_err().to_string(), "strength is 1.1: it must be 0 to 1");
        assert!(sampler.first_step(f64::NAN).is_err());
        let x = Tensor::ones(3, DType::F32, &Device::Cpu).unwrap();
        let kept = sampler.add_noise(&x, &x, 50).unwrap();
        assert_eq!(kept.to_vec1::<f32>().unwrap(), [1.0; 3]);
        assert!(sampler.add_noise(&x, &x, 51).is_err());
        assert!(sampler.step(&x, 50, &x, None, &mut Memory::default()).is_err());
    }
}

/// The state is in the memory alone: walks may be interleaved.
#[test]
fn walks_do_not_touch_each_other() {
    let sampler = config("dpm_solver").sampler(None, 6, 0.0).unwrap();
    let model = |latents: &Tensor| (latents * 0.4).unwrap();
    let starts = [1.0_f32, -2.0].map(|start| Tensor::new(&[start], &Device::Cpu).unwrap());
    let walk = |start: &Tensor| {
        let mut memory = Memory::default();
        (0..6).fold(start.clone(), |x, index| sampler.step(&model(&x), index, &x, None, &mut memory).unwrap())
    };
    let mut together = starts.clone().map(|start| (start, Memory::default()));
    for index in 0..6 {
        for (x, memory) in &mut together {
            *x = sampler.step(&model(x), index, x, None, memory).unwrap();
        }
    }
    for (start, (x, _)) in starts.iter().zip(&together) {
        assert_eq!(walk(start).to_vec1::<f32>().unwrap(), x.to_vec1::<f32>().unwrap());
    }
}
