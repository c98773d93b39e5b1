//! Iterations of ProFusion's tuning, timed. `benches/peers/profusion.py` makes the folder, and times the same in PyTorch.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use cafe_engine::encoder::text::TextEncoder;
use cafe_engine::encoder::tokenizer::TextTokenizer;
use cafe_engine::noise::{NoiseConfig, PredictionType};
use cafe_engine::profusion::{MiniSet, PromptNetConfig, SubjectText, TuneBase, TuneSettings, tune};
use cafe_engine::unet::UNetConfig;
use cafe_engine::weights::Weights;
use cafe_engine::{Device, EngineError, op};

fn main() -> Result<(), EngineError> {
    op::on_cores(measure)
}

fn measure() -> Result<(), EngineError> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "profusion".to_owned()));
    let n_runs: u64 = arguments.next().and_then(|number| number.parse().ok()).unwrap_or(7);
    let device = Device::Cpu;
    let promptnet = PromptNetConfig::read(&folder.join("promptnet/config.json"))?;
    let unet = UNetConfig::read(&folder.join("unet/config.json"))?;
    let text = SubjectText::new(
        TextTokenizer::load(&folder.join("tokenizer"))?,
        TextEncoder::load(&folder.join("text_encoder"), &device)?,
        promptnet.text_states.into(),
        &device,
    )?;
    let pictures = Weights::open_file(&folder.join("set.safetensors"))?;
    let set = MiniSet { latents: pictures.tensor("latents")?, vision: pictures.tensor("vision")? };
    let base = TuneBase {
        promptnet: (&promptnet, &Weights::open(&folder.join("promptnet"))?),
        unet: (&unet, &Weights::open(&folder.join("unet"))?),
        text: &text,
        noise: &NoiseConfig::stable_diffusion(PredictionType::Epsilon),
    };
    // As many as fit the model's size: 4 as ProFusion has it, 1 of SD2.
    let batch_size = if promptnet.latent_size() < 64 { 4 } else { 1 };
    let settings = TuneSettings { n_iterations: n_runs + 1, batch_size, ..TuneSettings::default() };
    let ends = Mutex::new(Vec::new());
    let end = |_: u64, _: f64| ends.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
    tune(base, &set, &settings, &end)?;
    let ends = ends.into_inner().unwrap_or_else(PoisonError::into_inner);
    // The first is not counted: it makes room for moments.
    let pairs = ends.iter().zip(ends.iter().skip(1));
    let mut times: Vec<f64> = pairs.map(|(begin, end)| (*end - *begin).as_secs_f64()).collect();
    times.sort_by(f64::total_cmp);
    let (least, median) =
        (times.first().copied().unwrap_or_default(), times.get(times.len() / 2).copied().unwrap_or_default());
    eprintln!("engine tune: min {least:.3} s, median {median:.3} s");
    Ok(())
}
