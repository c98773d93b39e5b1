//! The SD2-base UNet with random weights, one step at two sizes: timed, and compared with what diffusers made of the same.
//! `benches/peers/unet.py` makes the folder, and tells how.

use std::path::PathBuf;
use std::time::Instant;

use cafe_engine::unet::{Conditioning, UNet};
use cafe_engine::{Device, EngineError, Tensor, op};

fn main() -> Result<(), EngineError> {
    op::on_cores(measure)
}

fn measure() -> Result<(), EngineError> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "unet".to_owned()));
    let n_runs: usize = arguments.next().and_then(|number| number.parse().ok()).unwrap_or(5);
    let device = Device::Cpu;
    let unet = UNet::load(&folder, &device)?;
    let cases = candle_core::safetensors::load(folder.join("cases.safetensors"), &device)?;
    let case = |name: String| cases.get(&name).cloned().ok_or_else(|| EngineError::Argument(format!("no case {name}")));
    for side in [32, 64] {
        let (latents, states) = (case(format!("{side}.latents"))?, case(format!("{side}.states"))?);
        let conditioning = Conditioning::Text(states);
        let timesteps = Tensor::new(&[500_u32], &device)?;
        let out = unet.forward(&latents, &timesteps, &conditioning)?;
        let expected = case(format!("{side}.out"))?;
        let error = (out - &expected)?.abs()?.max_all()?.to_scalar::<f32>()?;
        let largest = expected.abs()?.max_all()?.to_scalar::<f32>()?;
        let mut times: Vec<f64> = Vec::new();
        for _ in 0..n_runs {
            let begin = Instant::now();
            unet.forward(&latents, &timesteps, &conditioning)?;
            times.push(begin.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        let (least, median) =
            (times.first().copied().unwrap_or_default(), times.get(n_runs / 2).copied().unwrap_or_default());
        eprintln!(
            "engine {side}x{side}: min {least:.3} s, median {median:.3} s; max|a-b| {error:.2e}, max|b| {largest:.2e}"
        );
    }
    Ok(())
}
