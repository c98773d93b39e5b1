//! What a GGUF file says of a model, as `config.json` says it.

use serde_json::{Value as Json, json};

use super::header::{Header, Result};

/// The sizes of a Llama.
pub(super) struct Facts {
    pub(super) vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    n_layers: usize,
    n_heads: usize,
    n_kv_heads: usize,
    pub(super) head_dim: usize,
    n_positions: usize,
    rms_norm_eps: f64,
    rope_theta: f64,
    is_tied: bool,
}

impl Facts {
    /// Reads and checks them. What is refused here would give numbers, but wrong ones.
    pub(super) fn read(header: &Header) -> Result<Self> {
        let architecture = header.text("general.architecture")?;
        if architecture != Some("llama") {
            return Err(format!(
                "key `general.architecture` is {architecture:?}, which is not supported: \"llama\" is"
            ));
        }
        let size = |key: &str| match header.size(&format!("llama.{key}"))? {
            Some(size) if size > 0 => Ok(size),
            found => Err(format!("key `llama.{key}` is {found:?}: a number above 0 is right")),
        };
        let or =
            |key: &str, other: usize| -> Result<usize> { Ok(header.size(&format!("llama.{key}"))?.unwrap_or(other)) };
        if let Some(n_experts) = header.size("llama.expert_count")?
            && n_experts > 0
        {
            return Err(format!("key `llama.expert_count` is {n_experts}: mixtures of experts are not supported"));
        }
        if let Some(rule) = header.text("llama.rope.scaling.type")?
            && rule != "none"
        {
            return Err(format!("key `llama.rope.scaling.type` is {rule:?}, which is not supported: \"none\" is"));
        }
        if header.tensors.contains_key("rope_freqs.weight") {
            return Err("has a tensor `rope_freqs.weight`: frequencies of its own are not supported; convert the \
                        published safetensors instead"
                .to_owned());
        }
        let (hidden_size, n_heads) = (size("embedding_length")?, size("attention.head_count")?);
        let head_dim = or("attention.key_length", hidden_size / n_heads)?;
        for key in ["rope.dimension_count", "attention.value_length"] {
            let found = or(key, head_dim)?;
            if found != head_dim {
                return Err(format!(
                    "key `llama.{key}` is {found}, which is not supported: {head_dim} is, all of a head"
                ));
            }
        }
        if head_dim == 0 || !head_dim.is_multiple_of(2) {
            return Err(format!("heads of {head_dim} channels: rotary embeddings turn pairs of them"));
        }
        let table = header.tensors.get("token_embd.weight").and_then(|place| place.shape.first());
        Ok(Self {
            vocab_size: table.copied().unwrap_or(0),
            hidden_size,
            intermediate_size: size("feed_forward_length")?,
            n_layers: size("block_count")?,
            n_heads,
            n_kv_heads: or("attention.head_count_kv", n_heads)?,
            head_dim,
            n_positions: size("context_length")?,
            rms_norm_eps: header.float("llama.attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5),
            rope_theta: header.float("llama.rope.freq_base")?.unwrap_or(10_000.0),
            is_tied: !header.tensors.contains_key("output.weight"),
        })
    }

    /// `config.json`; `generation` says which tokens begin and end.
    pub(super) fn config(&self, generation: &Json) -> Json {
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "torch_dtype": "float16",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.n_layers,
            "num_attention_heads": self.n_heads,
            "num_key_value_heads": self.n_kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.n_positions,
            "rms_norm_eps": shortest(self.rms_norm_eps),
            "rope_theta": shortest(self.rope_theta),
            "rope_scaling": null,
            "tie_word_embeddings": self.is_tied,
            "attention_bias": false,
            "mlp_bias": false,
            "bos_token_id": generation.get("bos_token_id"),
            "eos_token_id": generation.get("eos_token_id"),
        })
    }
}

/// The shortest number that is the same in f32, which is what the file has: 1e-5, not 9.99999974737875e-6.
fn shortest(number: f64) -> f64 {
    format!("{}", number as f32).parse().unwrap_or(number)
}
