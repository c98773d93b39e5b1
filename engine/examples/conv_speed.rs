//! Seconds of a convolution, one line for each shape read: `c_in c_out size batch kernel stride train repeats`.
//!
//! Prints the least time of the repeats in milliseconds. `benches/peers/conv.py` drives it, and times PyTorch in turn.
//! `train` is 0 for the forward pass, 1 for forward and backward, 2 for candle's own forward, 3 for candle's own both.

use std::io::{BufRead, Write};
use std::time::Instant;

use cafe_engine::{Device, Tensor, op};
use candle_core::Var;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let numbers = line.split_whitespace().map(str::parse).collect::<Result<Vec<usize>, _>>()?;
        let [c_in, c_out, size, batch, kernel, stride, mode, repeats] = numbers[..] else {
            return Err(format!("eight numbers, not `{line}`").into());
        };
        let x = Var::randn(0f32, 1.0, (batch, c_in, size, size), &Device::Cpu)?;
        let deviation = ((c_in * kernel * kernel) as f64).sqrt().recip();
        let weight = (Tensor::randn(0f32, 1.0, (c_out, c_in, kernel, kernel), &Device::Cpu)? * deviation)?;
        let weight = Var::from_tensor(&weight)?;
        let bias = Var::randn(0f32, 1.0, c_out, &Device::Cpu)?;
        let padding = if kernel == 3 { 1 } else { 0 };
        let run = || -> candle_core::Result<()> {
            if mode % 2 == 1 {
                op::conv2d(&x, &weight, Some(&bias), stride, padding)?.sum_all()?.backward()?;
            } else {
                op::conv2d(&x.detach(), &weight.detach(), Some(&bias.detach()), stride, padding)?;
            }
            Ok(())
        };
        let mut least = f64::INFINITY;
        for _ in 0..repeats {
            let start = Instant::now();
            if mode < 2 {
                run()?;
            } else {
                op::composed(run)?;
            }
            least = least.min(start.elapsed().as_secs_f64());
        }
        writeln!(out, "{}", least * 1e3)?;
        out.flush()?;
    }
    Ok(())
}
