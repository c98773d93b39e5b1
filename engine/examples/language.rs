//! The speed of a language model: reading a prompt, and writing one reply or eight at once. `benches/peers/language.py` times
//! llama.cpp on the same file.
//!
//! `cargo run --release -p cafe-engine --example language -- FILE.gguf FOLDER [TIMES]` converts the file to the folder first, if
//! that is not done yet.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use candle_core::Var;

use cafe_engine::Device;
use cafe_engine::language::{Llama, Request, Sampling, Sequence, gguf};
use cafe_engine::noise::Noise;

/// Tokens of the prompt.
const PROMPT: u32 = 95;
/// Tokens of a reply.
const REPLY: usize = 64;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (file, folder) = (arguments.next().unwrap_or_default(), arguments.next().unwrap_or_default());
    let times: usize = arguments.next().and_then(|number| number.parse().ok()).unwrap_or(5);
    let folder = Path::new(&folder);
    if !folder.join("config.json").is_file() {
        let start = Instant::now();
        gguf::convert(Path::new(&file), folder)?;
        report("convert", 1, start.elapsed().as_secs_f64(), "file");
    }
    let start = Instant::now();
    let model = Llama::load(folder, &Device::Cpu)?;
    report("load", 1, start.elapsed().as_secs_f64(), "model");
    let ids: Vec<u32> = (0..PROMPT).map(|index| 1000 + index * 37 % 4000).collect();

    let seconds = fastest(times, || {
        model.extend(&mut [Sequence::new(model.config())], &[model.embed(&ids)?])?;
        Ok(())
    })?;
    report("prefill", ids.len(), seconds, "tokens");
    let variable = Var::from_tensor(&model.embed(&ids)?.unsqueeze(0)?)?;
    let seconds = fastest(times.div_ceil(2), || {
        model.forward(&variable, None)?.sqr()?.sum_all()?.backward()?;
        Ok(())
    })?;
    report("prefill with gradient", ids.len(), seconds, "tokens");
    let mut read = [Sequence::new(model.config())];
    model.extend(&mut read, &[model.embed(ids.get(1..).unwrap_or_default())?])?;
    let [mut sequence] = read;
    sequence.freeze();
    for n_rows in [1, 2, 4, 8, 16] {
        let request = Request {
            prompt: model.embed(ids.get(..1).unwrap_or_default())?,
            sequence: sequence.clone(),
            sampling: Sampling::default(),
            noise: Noise::new(1),
            max_new_tokens: REPLY,
            stop: Vec::new(),
        };
        let seconds = fastest(times.div_ceil(2), || {
            model.generate(vec![request.clone(); n_rows])?;
            Ok(())
        })?;
        report(&format!("decode, {n_rows} at once"), n_rows * REPLY, seconds, "tokens");
    }
    Ok(())
}

fn fastest(times: usize, work: impl Fn() -> Result<()>) -> Result<f64> {
    work()?;
    let mut fastest = f64::INFINITY;
    for _ in 0..times {
        let start = Instant::now();
        work()?;
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    Ok(fastest)
}

#[expect(clippy::print_stdout, reason = "this is what the example is for")]
fn report(what: &str, count: usize, seconds: f64, unit: &str) {
    println!("{what}: {seconds:.3} s, {:.1} {unit}/s", count as f64 / seconds);
}
