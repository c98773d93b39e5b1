//! A PromptNet to begin its training with: what it shares with the base model's UNet is copied, its heads are random.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::config::PromptNetConfig;
use crate::error::Result;
use crate::noise::Noise;
use crate::weights::Weights;

/// Parts that a UNet has under the same names.
const SHARED: [&str; 4] = ["conv_in.", "time_embedding.", "down_blocks.", "mid_block."];

/// The weights of a new PromptNet in f32, by name: shared ones from `unet`, the others even in ±1/√(fan in), as PyTorch
/// begins linear layers and convolutions; drawn from `noise`.
///
/// # Errors
/// When the UNet's weights cannot be read. That they fit is told when the PromptNet is built.
pub fn from_unet(config: &PromptNetConfig, unet: &Weights, noise: &Noise) -> Result<BTreeMap<String, Tensor>> {
    let mut tensors = BTreeMap::new();
    for name in unet.names() {
        if SHARED.iter().any(|shared| name.starts_with(shared)) {
            let tensor = unet.tensor(&name)?.to_dtype(DType::F32)?;
            tensors.insert(name, tensor);
        }
    }
    for (name, n_out, fan) in own_layers(config) {
        let fan_in: usize = fan.iter().product();
        let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
        for (suffix, shape) in [("weight", [&[n_out], fan.as_slice()].concat()), ("bias", vec![n_out])] {
            let name = format!("{name}.{suffix}");
            let numbers = noise.of(&name).uniform(shape.iter().product());
            let numbers: Vec<f32> = numbers.into_iter().map(|number| ((2.0 * number - 1.0) * bound) as f32).collect();
            tensors.insert(name, Tensor::from_vec(numbers, shape, &Device::Cpu)?);
        }
    }
    Ok(tensors)
}

/// Name, outputs and the other dimensions of the weight of each layer that no UNet has.
fn own_layers(config: &PromptNetConfig) -> Vec<(String, usize, Vec<usize>)> {
    let (unet, width) = (&config.unet, config.region_proj_channel);
    let widths = &unet.block_out_channels;
    let (first, last) = (widths.first().copied().unwrap_or_default(), widths.last().copied().unwrap_or_default());
    let sizes = config.head_sizes();
    let conv = |n_in: usize, size: usize| vec![n_in, size, size];
    let mut layers = vec![
        ("promptnet_cond_embedding.conv_in".to_owned(), first, conv(unet.in_channels, 3)),
        ("promptnet_cond_embedding.conv_out".to_owned(), first, conv(first, 3)),
        ("vision_embedding".to_owned(), unet.cross_attention_dim, vec![config.vision_dim()]),
        ("first_prompt_projection".to_owned(), width, conv(first, config.downsample())),
        ("mid_prompt_projection".to_owned(), width, conv(last, sizes.last().copied().unwrap_or_default())),
    ];
    for (index, (n_in, size)) in widths.iter().zip(sizes).enumerate() {
        layers.push((format!("down_prompt_projections.{index}"), width, conv(*n_in, size)));
    }
    let n_maps = (widths.len() + 2) * width;
    layers.push(("region_prompt_output".to_owned(), config.prompt_channel, conv(n_maps, config.region_kernel_size)));
    layers
}
