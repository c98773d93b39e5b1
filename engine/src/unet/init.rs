//! CAFE's UNet from the base model's: what it shares is copied, its new keys and values are made.
//!
//! The paper does not say how. Ours (see ARCHITECTURE.md): W_new = W_text·P, where P maps the condition into the space of
//! the text states that W_text was trained on, fitted by ridge regression on images with captions, or random with
//! orthogonal rows where there are none. Values of the DINO branch start at zero, so that training starts from what the
//! CLIP branch alone gives.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::config::{CafeConfig, UNetConfig};
use crate::error::{EngineError, Result};
use crate::noise::Noise;
use crate::weights::Weights;

/// Maps from the conditions' spaces into that of the text states.
#[derive(Clone, Debug)]
pub struct Projections {
    /// (D_text, D_clip).
    pub clip: Tensor,
    /// (D_text, D_dino).
    pub dino: Tensor,
}

impl Projections {
    /// Random ones with orthogonal rows or columns, scaled by `scale`.
    ///
    /// # Errors
    /// Of the tensors.
    pub fn orthogonal(config: &UNetConfig, cafe: &CafeConfig, scale: f64, noise: &Noise) -> Result<Self> {
        let make = |purpose: &str, width: usize| -> Result<Tensor> {
            Ok((orthogonal(config.cross_attention_dim, width, &noise.of(purpose))? * scale)?)
        };
        Ok(Self { clip: make("clip", cafe.clip_dim)?, dino: make("dino", cafe.dino_dim)? })
    }

    /// Fitted on images with captions by [`ridge`]: from F (N, D_clip) and from E, its tokens' mean (N, D_dino), to the
    /// mean of the caption's text states (N, D_text).
    ///
    /// # Errors
    /// When the rows are not equally many, or of the tensors.
    pub fn fitted(clip: &Tensor, dino: &Tensor, text: &Tensor) -> Result<Self> {
        let fit = |features: &Tensor| -> Result<Tensor> {
            // A hundredth of the features' own size: enough where there are fewer captions than dimensions.
            let (n_rows, n_in) = features.dims2()?;
            let size = features.to_dtype(DType::F64)?.sqr()?.mean_all()?.to_scalar::<f64>()?;
            ridge(features, text, (0.01 * size * n_rows.max(n_in) as f64).max(f64::MIN_POSITIVE))
        };
        Ok(Self { clip: fit(clip)?, dino: fit(dino)? })
    }
}

/// The projection P (`n_out`, `n_in`) that fits `targets` (N, `n_out`) by `features` (N, `n_in`):
/// the least of ‖features·Pᵀ − targets‖² + `penalty`·‖P‖².
///
/// # Errors
/// When shapes do not fit, or the penalty is not positive.
pub fn ridge(features: &Tensor, targets: &Tensor, penalty: f64) -> Result<Tensor> {
    if penalty <= 0.0 || !penalty.is_finite() {
        return Err(EngineError::argument(format!(
            "the penalty of a ridge regression is {penalty}: it must be positive"
        )));
    }
    let (features, targets) = (features.to_dtype(DType::F64)?, targets.to_dtype(DType::F64)?);
    let (_, n_in) = features.dims2()?;
    let transposed = features.t()?.contiguous()?; // (n_in, N)
    let gram = (transposed.matmul(&features)? + (Tensor::eye(n_in, DType::F64, &Device::Cpu)? * penalty)?)?;
    let products = transposed.matmul(&targets)?; // (n_in, n_out)
    let solution = solve(&gram, &products)?;
    Ok(solution.t()?.to_dtype(DType::F32)?.contiguous()?)
}

/// Solves A·X = B for a symmetric, positive definite A by conjugate gradients, all columns of B at once.
fn solve(matrix: &Tensor, right: &Tensor) -> Result<Tensor> {
    let squares = |tensor: &Tensor| tensor.sqr()?.sum_keepdim(0); // (1, columns)
    let mut solution = right.zeros_like()?;
    let mut residual = right.clone();
    let mut direction = right.clone();
    let mut norms = squares(&residual)?;
    let target = (&norms * 1e-24)?;
    // In exact arithmetic, as many steps as A has rows are enough.
    for _ in 0..2 * matrix.dim(0)? {
        if norms.le(&target)?.min_all()?.to_scalar::<u8>()? == 1 {
            break;
        }
        let product = matrix.matmul(&direction)?;
        let curvature = (&direction * &product)?.sum_keepdim(0)?;
        // A column that is solved divides nothing by nothing.
        let step = norms.div(&curvature.maximum(f64::MIN_POSITIVE)?)?;
        solution = (solution + direction.broadcast_mul(&step)?)?;
        residual = (residual - product.broadcast_mul(&step)?)?;
        let next = squares(&residual)?;
        let turn = next.div(&norms.maximum(f64::MIN_POSITIVE)?)?;
        direction = (&residual + direction.broadcast_mul(&turn)?)?;
        norms = next;
    }
    Ok(solution)
}

/// A random (`n_out`, `n_in`) matrix whose shorter side is orthonormal: Gram–Schmidt on Gaussian rows.
fn orthogonal(n_out: usize, n_in: usize, noise: &Noise) -> Result<Tensor> {
    let (short, long) = (n_out.min(n_in), n_out.max(n_in));
    let rows = noise.normal(&[short, long], &Device::Cpu)?.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(short);
    for mut row in rows {
        // Twice, since once loses orthogonality to rounding.
        for _ in 0..2 {
            for other in &basis {
                let along: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
                row.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
            }
        }
        let norm = row.iter().map(|value| value * value).sum::<f64>().sqrt();
        row.iter_mut().for_each(|value| *value /= norm);
        basis.push(row);
    }
    let matrix = Tensor::new(basis, &Device::Cpu)?.to_dtype(DType::F32)?; // (short, long)
    Ok(if n_out <= n_in { matrix } else { matrix.t()?.contiguous()? })
}

/// Makes the weights of a CAFE UNet from `base`, the weights of a UNet of `config` that is conditioned on text.
/// Returns them with their config.
///
/// # Errors
/// When `base` has CAFE's conditions already, lacks tensors, or the projections do not fit.
pub fn from_base(
    base: &Weights,
    config: &UNetConfig,
    cafe: CafeConfig,
    projections: &Projections,
    noise: &Noise,
) -> Result<(BTreeMap<String, Tensor>, UNetConfig)> {
    if config.cafe.is_some() {
        return Err(EngineError::argument("the base UNet has CAFE's conditions already: it can be trained as it is"));
    }
    let mut tensors = BTreeMap::new();
    for name in base.names() {
        let tensor = base.tensor(&name)?.to_dtype(DType::F32)?;
        match name.rsplit_once(".attn2.") {
            Some((block, role @ ("to_k.weight" | "to_v.weight"))) => {
                let role = role.trim_end_matches(".weight");
                let made = |condition: &str| format!("{block}.attn2.{role}_{condition}.weight");
                let dino = tensor.matmul(&projections.dino)?; // (C, D_dino)
                tensors.insert(made("clip"), tensor.matmul(&projections.clip)?);
                tensors.insert(made("dino"), if role == "to_v" { dino.zeros_like()? } else { dino });
            }
            _ => {
                tensors.insert(name, tensor);
            }
        }
    }
    if cafe.n_clip_tokens > 1 {
        tensors.extend(clip_tokens(&cafe, noise)?);
    }
    let config = UNetConfig { cafe: Some(cafe), ..config.clone() };
    Ok((tensors, config))
}

/// Each token starts as another rotation of the embedding: equal tokens would stay equal.
fn clip_tokens(cafe: &CafeConfig, noise: &Noise) -> Result<Vec<(String, Tensor)>> {
    let CafeConfig { clip_dim, n_clip_tokens, .. } = *cafe;
    let rotations = (0..n_clip_tokens)
        .map(|index| orthogonal(clip_dim, clip_dim, &noise.of(&format!("clip_tokens/{index}"))))
        .collect::<Result<Vec<_>>>()?;
    let zeros = |n: usize| Tensor::zeros(n, DType::F32, &Device::Cpu);
    Ok(vec![
        ("clip_tokens.proj.weight".to_owned(), Tensor::cat(&rotations, 0)?),
        ("clip_tokens.proj.bias".to_owned(), zeros(n_clip_tokens * clip_dim)?),
        ("clip_tokens.norm.weight".to_owned(), Tensor::ones(clip_dim, DType::F32, &Device::Cpu)?),
        ("clip_tokens.norm.bias".to_owned(), zeros(clip_dim)?),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{Golden, assert_close};
    use crate::unet::UNet;

    #[test]
    fn ridge_recovers_a_linear_map() {
        let noise = Noise::new(1);
        let features = noise.of("x").normal(&[200, 7], &Device::Cpu).unwrap();
        let map = noise.of("p").normal(&[3, 7], &Device::Cpu).unwrap();
        let targets = features.matmul(&map.t().unwrap()).unwrap();
        assert_close("P", &ridge(&features, &targets, 1e-9).unwrap(), &map, 1e-5);
        // A great penalty leaves nothing.
        let small = ridge(&features, &targets, 1e12).unwrap();
        assert_close("P", &small, &map.zeros_like().unwrap(), 1e-6);
        assert!(ridge(&features, &targets, 0.0).is_err());
    }

    #[test]
    fn fitted_projections_tell_captions_by_images() {
        let noise = Noise::new(4);
        let text = noise.of("text").normal(&[60, 9], &Device::Cpu).unwrap();
        let seen = |name: &str, width| text.matmul(&noise.of(name).normal(&[9, width], &Device::Cpu).unwrap()).unwrap();
        let (clip, dino) = (seen("clip", 12), seen("dino", 20));
        let fitted = Projections::fitted(&clip, &dino, &text).unwrap();
        for (projection, seen) in [(&fitted.clip, &clip), (&fitted.dino, &dino)] {
            let told = seen.matmul(&projection.t().unwrap()).unwrap();
            let share = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
            let left = share(&(told - &text).unwrap()) / share(&text);
            assert!(left < 0.05, "{left} of the captions is not told");
        }
        assert!(Projections::fitted(&clip, &dino, &text.narrow(0, 0, 59).unwrap()).is_err());
    }

    #[test]
    fn orthogonal_matrices_are() {
        for (n_out, n_in) in [(3, 8), (8, 3), (5, 5)] {
            let matrix = orthogonal(n_out, n_in, &Noise::new(2)).unwrap();
            assert_eq!(matrix.dims(), [n_out, n_in]);
            let short = n_out.min(n_in);
            let gram =
                if n_out <= n_in { matrix.matmul(&matrix.t().unwrap()) } else { matrix.t().unwrap().matmul(&matrix) };
            assert_close("gram", &gram.unwrap(), &Tensor::eye(short, DType::F32, &Device::Cpu).unwrap(), 1e-5);
        }
    }

    #[test]
    fn a_cafe_unet_is_made_of_the_base_models() {
        let base = Golden::open("unet_sd2");
        let config = UNetConfig::read(&base.folder().join("config.json")).unwrap();
        for n_clip_tokens in [1, 3] {
            let cafe = CafeConfig { clip_dim: 12, dino_dim: 20, n_clip_tokens };
            let noise = Noise::new(3);
            let projections = Projections::orthogonal(&config, &cafe, 1.0, &noise).unwrap();
            let (tensors, made) = from_base(&base.weights(), &config, cafe, &projections, &noise).unwrap();
            let all = Weights::from_tensors(tensors, std::path::Path::new("made"));
            UNet::from_weights(made, &all, &Device::Cpu).unwrap();
            assert_eq!(all.unused(), Vec::<String>::new());
            let zero = all.tensor("mid_block.attentions.0.transformer_blocks.0.attn2.to_v_dino.weight").unwrap();
            assert_eq!(zero.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap(), 0.0);
        }
    }
}
