//! Self-attention and cross-attention, to text or to CAFE's conditions.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::conditioning::{Context, Tokens};
use super::config::{CafeConfig, UNetConfig};
use crate::layer::Linear;
use crate::op;

/// Attention of a sequence to itself: `attn1`.
#[derive(Clone, Debug)]
pub(super) struct SelfAttention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    n_heads: usize,
}

impl SelfAttention {
    pub(super) fn new(width: usize, n_heads: usize, weights: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            to_q: Linear::without_bias(width, width, &weights.pp("to_q"))?,
            to_k: Linear::without_bias(width, width, &weights.pp("to_k"))?,
            to_v: Linear::without_bias(width, width, &weights.pp("to_v"))?,
            to_out: Linear::new(width, width, &weights.pp("to_out.0"))?,
            n_heads,
        })
    }

    /// `x` is (B, HW, C).
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (query, key, value) = (self.to_q.forward(x)?, self.to_k.forward(x)?, self.to_v.forward(x)?);
        self.to_out.forward(&op::attention(&query, &key, &value, self.n_heads, None)?)
    }
}

/// Attention of a sequence to conditions: `attn2`.
#[derive(Clone, Debug)]
pub(super) struct CrossAttention {
    /// As in the weight file, by which its keys and values are found.
    name: String,
    to_q: Linear,
    to_out: Linear,
    n_heads: usize,
    sources: Sources,
}

#[derive(Clone, Debug)]
enum Sources {
    /// The base model's: text.
    Text(KeyValue),
    /// CAFE's, decoupled (Eq. 1).
    Cafe { clip: KeyValue, dino: KeyValue },
}

/// The keys and values of one condition.
#[derive(Clone, Debug)]
struct KeyValue {
    to_k: Linear,
    to_v: Linear,
}

impl KeyValue {
    /// `suffix` tells conditions apart: `_clip` loads `to_k_clip` and `to_v_clip`.
    fn new(n_in: usize, width: usize, suffix: &str, weights: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            to_k: Linear::without_bias(n_in, width, &weights.pp(format!("to_k{suffix}")))?,
            to_v: Linear::without_bias(n_in, width, &weights.pp(format!("to_v{suffix}")))?,
        })
    }

    fn project(&self, states: &Tensor) -> Result<(Tensor, Tensor)> {
        Ok((self.to_k.forward(states)?, self.to_v.forward(states)?))
    }
}

impl CrossAttention {
    pub(super) fn new(width: usize, n_heads: usize, config: &UNetConfig, weights: &VarBuilder<'_>) -> Result<Self> {
        let sources = match &config.cafe {
            None => Sources::Text(KeyValue::new(config.cross_attention_dim, width, "", weights)?),
            Some(CafeConfig { clip_dim, dino_dim, .. }) => Sources::Cafe {
                clip: KeyValue::new(*clip_dim, width, "_clip", weights)?,
                dino: KeyValue::new(*dino_dim, width, "_dino", weights)?,
            },
        };
        Ok(Self {
            to_q: Linear::without_bias(width, width, &weights.pp("to_q"))?,
            to_out: Linear::new(width, width, &weights.pp("to_out.0"))?,
            n_heads,
            sources,
            name: weights.prefix(),
        })
    }

    /// `x` is (B, HW, C). With CAFE's conditions, the query is shared, and the two results are summed before the output
    /// projection (Eq. 1; IP-Adapter's order).
    pub(super) fn forward(&self, x: &Tensor, context: &Context) -> Result<Tensor> {
        let query = self.to_q.forward(x)?; // (B, HW, C)
        let attended = match (&self.sources, context) {
            (Sources::Text(text), Context::Text(tokens)) => self.attend(&query, text, tokens)?,
            (Sources::Cafe { clip, dino }, Context::Cafe { clip: clip_tokens, dino: dino_tokens }) => {
                (self.attend(&query, clip, clip_tokens)? + self.attend(&query, dino, dino_tokens)?)?
            }
            (Sources::Text(_), Context::Cafe { .. }) => {
                candle_core::bail!("this UNet is conditioned on text, and was given CAFE's conditions")
            }
            (Sources::Cafe { .. }, Context::Text(_)) => {
                candle_core::bail!("this UNet has CAFE's conditions, and was given text")
            }
        };
        self.to_out.forward(&attended)
    }

    /// `query` is (B, HW, C).
    fn attend(&self, query: &Tensor, source: &KeyValue, tokens: &Tokens) -> Result<Tensor> {
        let (keys, values) = tokens.keys_and_values(&self.name, |states| source.project(states))?; // (B, N, C)
        op::attention(query, &keys, &values, self.n_heads, None)
    }
}
