//! Models of published sizes against PyTorch: the largest error, and the seconds that each takes.
//!
//! `cargo run --release -p cafe-engine --example parity -- FOLDER MODEL…`, after
//! `python engine/goldens/make/full_size.py MODEL FOLDER` made the weights, the inputs and what PyTorch makes of them.

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::time::Instant;

use cafe_engine::encoder::clip::{ClipImage, ClipText};
use cafe_engine::encoder::dino::Dino;
use cafe_engine::encoder::dinov2::Dinov2;
use cafe_engine::encoder::text::TextEncoder;
use cafe_engine::language::Llama;
use cafe_engine::{Device, Tensor, op};

/// How often each is timed; the fastest counts.
const TIMES: usize = 5;
/// After so many seconds it is not timed again.
const ENOUGH: f64 = 30.0;

type Cases = HashMap<String, Tensor>;
type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_default();
    for model in arguments {
        let folder = Path::new(&folder).join(&model);
        op::on_cores(|| run(&model, &folder).map_err(|error| error.to_string()))?;
    }
    Ok(())
}

fn run(model: &str, folder: &Path) -> Result<()> {
    let device = Device::Cpu;
    let cases = candle_core::safetensors::load(folder.join("cases.safetensors"), &device)?;
    let torch: HashMap<String, f64> = cafe_engine::config::read(&folder.join("torch.json"))?;
    let (pixels, ids) = (|| case(&cases, "pixels"), || case(&cases, "ids"));
    match model {
        "dinov2-giant" => {
            let encoder = Dinov2::load(folder, &device)?;
            report(model, "image", &cases, &torch, || Ok(encoder.forward(pixels()?)?))
        }
        "dino-s16" => {
            let encoder = Dino::load(folder, &device)?;
            report(model, "image", &cases, &torch, || Ok(encoder.forward(pixels()?)?))
        }
        "text-sd2" => {
            let encoder = TextEncoder::load(folder, &device)?;
            report(model, "text", &cases, &torch, || Ok(encoder.forward(ids()?)?))
        }
        "llama2-7b" | "llama2-13b" | "llama2-70b" => {
            let llama = Llama::load(folder, &device)?;
            let embeddings = llama.embed(&ids()?.flatten_all()?.to_vec1::<u32>()?)?.unsqueeze(0)?; // (1, T, C)
            report(model, "logits", &cases, &torch, || Ok(llama.logits(&llama.forward(&embeddings, None)?)?))
        }
        _ => {
            let image = ClipImage::load(folder, &device)?;
            report(model, "image", &cases, &torch, || Ok(image.forward(pixels()?)?))?;
            drop(image);
            let text = ClipText::load(folder, &device)?;
            report(model, "text", &cases, &torch, || Ok(text.forward(ids()?)?))
        }
    }
}

fn case<'a>(cases: &'a Cases, name: &str) -> Result<&'a Tensor> {
    cases.get(name).ok_or_else(|| format!("cases.safetensors has no `{name}`").into())
}

#[expect(clippy::print_stdout, reason = "this is what the example is for")]
fn report(
    model: &str,
    output: &str,
    cases: &Cases,
    torch: &HashMap<String, f64>,
    forward: impl Fn() -> Result<Tensor>,
) -> Result<()> {
    let mut actual = forward()?;
    let (mut fastest, begin) = (f64::INFINITY, Instant::now());
    for _ in 0..TIMES {
        let start = Instant::now();
        actual = forward()?;
        fastest = fastest.min(start.elapsed().as_secs_f64());
        if begin.elapsed().as_secs_f64() > ENOUGH {
            break;
        }
    }
    let expected = case(cases, &format!("{output}.expected"))?;
    let largest = |tensor: Tensor| -> Result<f32> { Ok(tensor.abs()?.flatten_all()?.max(0)?.to_scalar()?) };
    let (error, scale) = (largest((&actual - expected)?)?, largest(expected.clone())?.max(1.0));
    let torch = torch.get(output).copied().unwrap_or(f64::NAN);
    println!(
        "{model} {output} {:?}: max|a−b| = {error:.2e} = {:.2e}·max(1, max|b|), allowed 1e-4; {fastest:.3} s, PyTorch {torch:.3} s: {:.2}×",
        actual.dims(),
        error / scale,
        fastest / torch,
    );
    Ok(())
}
