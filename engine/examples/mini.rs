//! A CAFE UNet of the mini family's size: a training step and DDIM sampling, timed. `benches/peers/mini.py` makes the
//! folder, and times the same in PyTorch.

use std::path::PathBuf;
use std::time::Instant;

use cafe_engine::noise::{DdimScheduler, DdpmScheduler, Guidance, Noise, NoiseConfig, Order, PredictionType};
use cafe_engine::train::{
    AdamW, AdamWConfig, DiffusionBatch, DiffusionDraw, Gradients, clip_grad_norm, diffusion_loss,
};
use cafe_engine::unet::{CafeConditioning, Conditioning, Trainable, UNet, UNetConfig};
use cafe_engine::weights::Weights;
use cafe_engine::{Device, EngineError, Tensor, op};

const BATCH: usize = 16;
const SAMPLES: usize = 12;
const N_DINO_TOKENS: usize = 65;
const STEPS: u32 = 20;

fn main() -> Result<(), EngineError> {
    op::on_cores(measure)
}

fn measure() -> Result<(), EngineError> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "mini".to_owned()));
    let n_runs: usize = arguments.next().and_then(|number| number.parse().ok()).unwrap_or(7);
    let config = UNetConfig::read(&folder.join("config.json"))?;
    let weights = Weights::open(&folder)?;
    let device = Device::Cpu;
    let (unet, variables) = UNet::for_training(config.clone(), &weights, Trainable::All, &device)?;
    let variables = variables.all();
    let noise = Noise::new(1);
    let conditions = |n_rows: usize| -> Result<CafeConditioning, EngineError> {
        let cafe = config.cafe.as_ref().ok_or_else(|| EngineError::Argument("no conditions of CAFE".to_owned()))?;
        Ok(CafeConditioning {
            clip: noise.of("clip").normal((n_rows, cafe.clip_dim), &device)?,
            dino: noise.of("dino").normal((n_rows, N_DINO_TOKENS, cafe.dino_dim), &device)?,
        })
    };
    let batch =
        DiffusionBatch { latents: noise.of("x").normal((BATCH, 4, 16, 16), &device)?, conditions: conditions(BATCH)? };
    let draw = DiffusionDraw::new(&[BATCH, 4, 16, 16], 1000, 0.0, &noise, &device)?;
    let noise_config = NoiseConfig::stable_diffusion(PredictionType::Epsilon);
    let scheduler = DdpmScheduler::new(&noise_config)?;
    let mut optimizer = AdamW::new(variables.clone(), AdamWConfig::default())?;
    timed("train", n_runs, || {
        let loss = diffusion_loss(&unet, &scheduler, &batch, &draw, None)?;
        let (gradients, _) = clip_grad_norm(Gradients::of(&variables, &loss.backward()?), 1.0)?;
        optimizer.step(&gradients, 1e-4)
    })?;

    let unet = UNet::from_weights(config.clone(), &weights, &device)?;
    let conditions = conditions(SAMPLES)?;
    let guidance = Guidance::Nested { dino_scale: 1.5, clip_scale: 3.0, order: Order::DinoFirst };
    let parts = guidance
        .branches()
        .iter()
        .map(|branch| conditions.only(branch.clip, branch.dino))
        .collect::<Result<Vec<_>, _>>()?;
    let clip: Vec<&Tensor> = parts.iter().map(|part| &part.clip).collect();
    let dino: Vec<&Tensor> = parts.iter().map(|part| &part.dino).collect();
    let conditioning =
        Conditioning::Cafe(CafeConditioning { clip: Tensor::cat(&clip, 0)?, dino: Tensor::cat(&dino, 0)? });
    let ddim = DdimScheduler::new(&noise_config, STEPS, 0.0)?;
    let sample = |predict: &dyn Fn(&Tensor, &Tensor) -> Result<Tensor, EngineError>| -> Result<(), EngineError> {
        let mut latents = noise.of("latents").normal((SAMPLES, 4, 16, 16), &device)?;
        for (index, timestep) in ddim.timesteps().iter().enumerate() {
            let repeated = Tensor::cat(&vec![&latents; parts.len()], 0)?;
            let timesteps = Tensor::full(*timestep, repeated.dim(0)?, &device)?;
            let predicted = guidance.combine_stacked(&predict(&repeated, &timesteps)?)?;
            latents = ddim.step(&predicted, index, &latents, None)?;
        }
        Ok(())
    };
    let kept: Vec<(bool, bool)> = guidance.branches().iter().map(|branch| (branch.clip, branch.dino)).collect();
    let n_runs = (n_runs / 2).max(2);
    // In turn, so that both have the machine as it is.
    for _ in 0..2 {
        timed("sample, keys and values made in every step", n_runs, || {
            sample(&|latents, timesteps| Ok(unet.forward(latents, timesteps, &conditioning)?))
        })?;
        timed("sample", n_runs, || {
            let prepared = unet.prepare_branches(&conditions, &kept)?;
            sample(&|latents, timesteps| Ok(prepared.forward(latents, timesteps)?))
        })?;
    }
    Ok(())
}

fn timed(name: &str, n_runs: usize, mut work: impl FnMut() -> Result<(), EngineError>) -> Result<(), EngineError> {
    work()?;
    let mut times = Vec::new();
    for _ in 0..n_runs {
        let begin = Instant::now();
        work()?;
        times.push(begin.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let (least, median) =
        (times.first().copied().unwrap_or_default(), times.get(n_runs / 2).copied().unwrap_or_default());
    eprintln!("engine {name}: min {least:.3} s, median {median:.3} s");
    Ok(())
}
