//! A transformer block: x + s₁·Attention(LN(x)), then x + s₂·MLP(LN(x)).

use std::path::Path;

use candle_core::{D, Result, Tensor};
use candle_nn::VarBuilder;

use crate::config::unsupported;
use crate::layer::{LayerNorm, Linear};
use crate::op;

/// What the parts of a block are called in a weight file.
pub(in crate::encoder) struct Names {
    pub(in crate::encoder) norm1: &'static str,
    pub(in crate::encoder) query: &'static str,
    pub(in crate::encoder) key: &'static str,
    pub(in crate::encoder) value: &'static str,
    pub(in crate::encoder) output: &'static str,
    pub(in crate::encoder) norm2: &'static str,
}

/// The activation between the two layers of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::encoder) enum Activation {
    /// GELU by the error function.
    Gelu,
    /// x·σ(1.702·x).
    QuickGelu,
}

impl Activation {
    /// The `hidden_act` of the config at `path`.
    pub(in crate::encoder) fn from_config(name: &str, path: &Path) -> crate::Result<Self> {
        match name {
            "gelu" => Ok(Self::Gelu),
            "quick_gelu" => Ok(Self::QuickGelu),
            _ => Err(unsupported(path, "hidden_act", format_args!("\"{name}\""), "\"gelu\" or \"quick_gelu\"")),
        }
    }

    fn apply(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Gelu => op::gelu(x),
            Self::QuickGelu => op::quick_gelu(x),
        }
    }
}

/// What follows attention, token by token: (B, T, C) to (B, T, C).
#[derive(Clone, Debug)]
pub(in crate::encoder) enum Mlp {
    /// W₂·a(W₁·x).
    Plain { first: Linear, activation: Activation, second: Linear },
    /// W_out·(SiLU(x₁)·x₂), where x₁ and x₂ are the halves of W_in·x.
    SwiGlu { first: Linear, second: Linear },
}

impl Mlp {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Plain { first, activation, second } => second.forward(&activation.apply(&first.forward(x)?)?),
            Self::SwiGlu { first, second } => {
                let halves = first.forward(x)?.chunk(2, D::Minus1)?; // Two of (B, T, hidden).
                let [gate, value] = halves.as_slice() else {
                    candle_core::bail!("SwiGLU needs an even width");
                };
                second.forward(&(op::silu(&gate.contiguous()?)? * value)?)
            }
        }
    }
}

/// One block.
#[derive(Clone, Debug)]
pub(in crate::encoder) struct Block {
    norm1: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    scale1: Option<Tensor>,
    norm2: LayerNorm,
    mlp: Mlp,
    scale2: Option<Tensor>,
    n_heads: usize,
}

impl Block {
    /// Loads a block of `width` channels, `n_heads` heads, and the `mlp`.
    pub(in crate::encoder) fn new(
        names: &Names,
        (width, n_heads, eps): (usize, usize, f64),
        qkv_bias: bool,
        mlp: Mlp,
        weights: &VarBuilder<'_>,
    ) -> Result<Self> {
        let projection = |name: &str| match qkv_bias {
            true => Linear::new(width, width, &weights.pp(name)),
            false => Linear::without_bias(width, width, &weights.pp(name)),
        };
        Ok(Self {
            norm1: LayerNorm::new(width, eps, &weights.pp(names.norm1))?,
            query: projection(names.query)?,
            key: projection(names.key)?,
            value: projection(names.value)?,
            output: Linear::new(width, width, &weights.pp(names.output))?,
            scale1: None,
            norm2: LayerNorm::new(width, eps, &weights.pp(names.norm2))?,
            mlp,
            scale2: None,
            n_heads,
        })
    }

    /// Scales what attention and MLP add, by channel: LayerScale, each (C).
    pub(in crate::encoder) fn scaled_by(self, attention: Tensor, mlp: Tensor) -> Self {
        Self { scale1: Some(attention), scale2: Some(mlp), ..self }
    }

    /// `x` is (B, T, C), `mask` (T, T) is added to the scores. Returns (B, T, C).
    pub(in crate::encoder) fn forward(&self, x: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let normed = self.norm1.forward(x)?;
        self.finish(x, &normed, &normed, mask)
    }

    /// The first token of what [`forward`](Self::forward) returns, (B, 1, C), for the price of one token: where only the
    /// CLS token counts, most of the last block does not.
    pub(in crate::encoder) fn forward_first(&self, x: &Tensor) -> Result<Tensor> {
        let normed = self.norm1.forward(x)?;
        self.finish(&x.narrow(1, 0, 1)?, &normed.narrow(1, 0, 1)?, &normed, None)
    }

    /// `x` and its norm, (B, Tq, C), attend to `all` (B, T, C). Returns (B, Tq, C).
    fn finish(&self, x: &Tensor, normed: &Tensor, all: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let (query, key, value) = (self.query.forward(normed)?, self.key.forward(all)?, self.value.forward(all)?);
        let attended = self.output.forward(&op::attention(&query, &key, &value, self.n_heads, mask)?)?;
        let x = op::add(x, &scaled(attended, self.scale1.as_ref())?)?;
        op::add(&x, &scaled(self.mlp.forward(&self.norm2.forward(&x)?)?, self.scale2.as_ref())?)
    }
}

fn scaled(x: Tensor, scale: Option<&Tensor>) -> Result<Tensor> {
    match scale {
        Some(scale) => x.broadcast_mul(scale),
        None => Ok(x),
    }
}

/// Runs `x` (B, T, C) through all blocks. Returns the first token, (B, C).
pub(in crate::encoder) fn first_token(blocks: &[Block], x: Tensor) -> Result<Tensor> {
    let Some((last, others)) = blocks.split_last() else {
        return x.narrow(1, 0, 1)?.squeeze(1);
    };
    let x = others.iter().try_fold(x, |x, block| block.forward(&x, None))?;
    last.forward_first(&x)?.squeeze(1)
}
