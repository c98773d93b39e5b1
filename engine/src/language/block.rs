//! A block of Llama: attention and MLP, each behind a norm and beside a residual.

use candle_core::{Result, Tensor};

use super::config::LlamaConfig;
use super::llama::Source;
use crate::op::attention::grouped::{Heads, self_attention};
use crate::op::{Frozen, Rope, add, attention, is_fused, rms_norm, swiglu};

/// `LlamaDecoderLayer` of HF transformers.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) input_layernorm: Tensor,
    /// `q_proj`, `k_proj`, `v_proj`, one after the other.
    pub(super) qkv_proj: Frozen,
    pub(super) o_proj: Frozen,
    pub(super) post_attention_layernorm: Tensor,
    /// `gate_proj`, `up_proj`, one after the other.
    pub(super) gate_up_proj: Frozen,
    pub(super) down_proj: Frozen,
    pub(super) n_heads: usize,
    pub(super) n_kv_heads: usize,
    pub(super) head_dim: usize,
    eps: f64,
}

impl Block {
    pub(super) fn new(config: &LlamaConfig, index: usize, source: &Source<'_>) -> crate::Result<Self> {
        let (width, inner, head_dim) = (config.hidden_size, config.intermediate_size, config.head_dim());
        let (of_queries, of_keys) = (config.num_attention_heads * head_dim, config.n_kv_heads() * head_dim);
        let name = |name: &str| format!("model.layers.{index}.{name}");
        let matrix = |parts: &[(&str, usize)], n_in: usize| {
            let parts: Vec<(String, usize)> = parts.iter().map(|(part, n_out)| (name(part), *n_out)).collect();
            let parts: Vec<(&str, usize)> = parts.iter().map(|(part, n_out)| (part.as_str(), *n_out)).collect();
            source.matrix(&parts, n_in)
        };
        let (query, key, value) = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj");
        Ok(Self {
            input_layernorm: source.vector(&name("input_layernorm"), width)?,
            qkv_proj: matrix(&[(query, of_queries), (key, of_keys), (value, of_keys)], width)?,
            o_proj: matrix(&[("self_attn.o_proj", width)], of_queries)?,
            post_attention_layernorm: source.vector(&name("post_attention_layernorm"), width)?,
            gate_up_proj: matrix(&[("mlp.gate_proj", inner), ("mlp.up_proj", inner)], width)?,
            down_proj: matrix(&[("mlp.down_proj", width)], inner)?,
            n_heads: config.num_attention_heads,
            n_kv_heads: config.n_kv_heads(),
            head_dim,
            eps: config.rms_norm_eps,
        })
    }

    /// `x` is (B, T, C), as is what is returned. `masks` (T, T) are one for all rows, or one for each.
    pub(super) fn forward(&self, x: &Tensor, masks: &[Tensor], rope: &Rope) -> Result<Tensor> {
        let attended = self.attention(&rms_norm(x, &self.input_layernorm, self.eps)?, masks, rope)?;
        let x = add(x, &attended)?;
        let normed = rms_norm(&x, &self.post_attention_layernorm, self.eps)?;
        let inner = swiglu(&self.gate_up_proj.forward(&normed)?)?;
        add(&x, &self.down_proj.forward(&inner)?)
    }

    fn attention(&self, x: &Tensor, masks: &[Tensor], rope: &Rope) -> Result<Tensor> {
        let (of_queries, of_keys) = (self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim);
        let qkv = self.qkv_proj.forward(x)?; // (B, T, queries + keys + values)
        if let ([mask], true) = (masks, is_fused(&qkv)) {
            let heads = Heads { n_heads: self.n_heads, n_kv_heads: self.n_kv_heads, head_dim: self.head_dim };
            return self.o_proj.forward(&self_attention(&qkv, heads, rope, mask)?);
        }
        let query = rope.forward(&qkv.narrow(2, 0, of_queries)?, 0)?; // (B, T, H·d)
        let key = rope.forward(&qkv.narrow(2, of_queries, of_keys)?, 0)?; // (B, T, Hkv·d)
        let (key, value) = (self.shared(&key)?, self.shared(&qkv.narrow(2, of_queries + of_keys, of_keys)?)?); // (B, T, H·d)
        let attended = match masks {
            [mask] => attention(&query, &key, &value, self.n_heads, Some(mask))?,
            masks => {
                let rows = masks.iter().enumerate().map(|(row, mask)| {
                    let of = |tensor: &Tensor| tensor.narrow(0, row, 1);
                    attention(&of(&query)?, &of(&key)?, &of(&value)?, self.n_heads, Some(mask))
                });
                Tensor::cat(&rows.collect::<Result<Vec<_>>>()?, 0)?
            }
        };
        self.o_proj.forward(&attended)
    }

    /// Each head of keys or values (B, T, Hkv·d) as often as heads of queries share it: (B, T, H·d).
    fn shared(&self, x: &Tensor) -> Result<Tensor> {
        let n_shares = self.n_heads / self.n_kv_heads;
        if n_shares == 1 {
            return Ok(x.clone());
        }
        let (batch, n_tokens, _) = x.dims3()?;
        let one = x.reshape((batch, n_tokens, self.n_kv_heads, 1, self.head_dim))?;
        let all = one.broadcast_as((batch, n_tokens, self.n_kv_heads, n_shares, self.head_dim))?;
        all.contiguous()?.reshape((batch, n_tokens, self.n_heads * self.head_dim))
    }
}
