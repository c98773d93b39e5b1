//! `config.json` of Llama, with the defaults of HF transformers: published configs leave keys out.

use std::path::Path;

use serde::Deserialize;

use crate::Result;
use crate::config::unsupported;
use crate::op::{Rope, RopeLayout};

/// `LlamaConfig` of HF transformers: Llama 2 and 3, SmolLM, SmolLM2.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LlamaConfig {
    /// `llama`.
    pub model_type: String,
    /// How many tokens are known.
    pub vocab_size: usize,
    /// C, the width of a token.
    pub hidden_size: usize,
    /// The MLP's inner width.
    pub intermediate_size: usize,
    /// How many blocks.
    pub num_hidden_layers: usize,
    /// Heads of queries.
    pub num_attention_heads: usize,
    /// Heads of keys and values, each for as many heads of queries; as many as those where it is left out.
    pub num_key_value_heads: Option<usize>,
    /// Channels in a head; C / heads where it is left out.
    pub head_dim: Option<usize>,
    /// The MLP's activation: `silu`.
    pub hidden_act: String,
    /// The longest sequence, in tokens.
    pub max_position_embeddings: usize,
    /// Added to mean squares.
    pub rms_norm_eps: f64,
    /// Whether the head's weight is the table of tokens.
    pub tie_word_embeddings: bool,
    /// Whether linear layers of attention have biases: they have not.
    pub attention_bias: bool,
    /// Whether those of the MLP have: they have not.
    pub mlp_bias: bool,
    /// The base of rotary frequencies, θ.
    pub rope_theta: Option<f64>,
    /// Another rule for frequencies.
    pub rope_scaling: Option<RopeParameters>,
    /// Both of the last two, as newer versions of transformers write them.
    pub rope_parameters: Option<RopeParameters>,
    /// Whether the weights of queries and keys are in the order of Meta's own files: see [`RopeLayout::Interleaved`]. Not a
    /// key of transformers' Llama, whose weights are reordered; DeepSeek's configs have it.
    pub rope_interleave: bool,
    /// The token that begins a text.
    pub bos_token_id: Option<u32>,
    /// The tokens that end a reply.
    pub eos_token_id: Option<TokenIds>,
}

/// How frequencies are made.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct RopeParameters {
    /// `default` or `llama3`.
    #[serde(alias = "type", default = "default_rope")]
    pub rope_type: String,
    /// The base of the frequencies, θ.
    pub rope_theta: Option<f64>,
    /// By how much low frequencies are divided.
    pub factor: Option<f64>,
    /// What is low: fewer turns than this in the original length.
    pub low_freq_factor: Option<f64>,
    /// What is high: more turns than this.
    pub high_freq_factor: Option<f64>,
    /// The length that the model was first trained for.
    pub original_max_position_embeddings: Option<f64>,
}

fn default_rope() -> String {
    "default".to_owned()
}

/// One token or several.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum TokenIds {
    /// One.
    One(u32),
    /// Several.
    Many(Vec<u32>),
}

impl TokenIds {
    /// All of them.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![*id],
            Self::Many(ids) => ids.clone(),
        }
    }
}

impl Default for LlamaConfig {
    fn default() -> Self {
        Self {
            model_type: "llama".to_owned(),
            vocab_size: 32000,
            hidden_size: 4096,
            intermediate_size: 11008,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: None,
            head_dim: None,
            hidden_act: "silu".to_owned(),
            max_position_embeddings: 2048,
            rms_norm_eps: 1e-6,
            tie_word_embeddings: false,
            attention_bias: false,
            mlp_bias: false,
            rope_theta: None,
            rope_scaling: None,
            rope_parameters: None,
            rope_interleave: false,
            bos_token_id: Some(1),
            eos_token_id: Some(TokenIds::One(2)),
        }
    }
}

/// Sizes beyond these are mistakes, and would take all memory before a weight is read.
const LARGEST: usize = 1 << 24;
const MOST_POSITIONS: usize = 1 << 20;
const WIDEST_HEAD: usize = 256;

impl LlamaConfig {
    /// Reads the file `path`.
    ///
    /// # Errors
    /// When it cannot be read, is not valid, or asks for what is not supported.
    pub fn read(path: &Path) -> Result<Self> {
        let config: Self = crate::config::read(path)?;
        config.check(path)?;
        Ok(config)
    }

    /// Heads of keys and values.
    #[must_use]
    pub fn n_kv_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    /// Channels in a head.
    #[must_use]
    pub fn head_dim(&self) -> usize {
        self.head_dim.unwrap_or_else(|| self.hidden_size.checked_div(self.num_attention_heads).unwrap_or(0))
    }

    /// The tokens that end a reply.
    #[must_use]
    pub fn eos_ids(&self) -> Vec<u32> {
        self.eos_token_id.as_ref().map(TokenIds::to_vec).unwrap_or_default()
    }

    /// Refuses what is not supported; `path` names the file in messages.
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        let refuse =
            |key: &str, found: &dyn std::fmt::Display, supported: &str| Err(unsupported(path, key, found, supported));
        if self.model_type != "llama" {
            return refuse("model_type", &format!("{:?}", self.model_type), "\"llama\" is");
        }
        if self.hidden_act != "silu" {
            return refuse("hidden_act", &format!("{:?}", self.hidden_act), "\"silu\" is");
        }
        for (key, found) in [("attention_bias", self.attention_bias), ("mlp_bias", self.mlp_bias)] {
            if found {
                return refuse(key, &found, "linear layers of Llama have no biases");
            }
        }
        let sizes = [
            ("vocab_size", self.vocab_size, LARGEST),
            ("hidden_size", self.hidden_size, LARGEST),
            ("intermediate_size", self.intermediate_size, LARGEST),
            ("num_hidden_layers", self.num_hidden_layers, LARGEST),
            ("num_attention_heads", self.num_attention_heads, LARGEST),
            ("num_key_value_heads", self.n_kv_heads(), LARGEST),
            ("max_position_embeddings", self.max_position_embeddings, MOST_POSITIONS),
            ("head_dim", self.head_dim(), WIDEST_HEAD),
        ];
        for (key, found, most) in sizes {
            if found == 0 || found > most {
                return refuse(key, &found, &format!("1 to {most} is"));
            }
        }
        if !self.head_dim().is_multiple_of(2) {
            return refuse("head_dim", &self.head_dim(), "rotary embeddings turn pairs of channels");
        }
        if !self.num_attention_heads.is_multiple_of(self.n_kv_heads()) {
            let supported = format!("each is shared by as many of the {} heads", self.num_attention_heads);
            return refuse("num_key_value_heads", &self.n_kv_heads(), &supported);
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return refuse("rms_norm_eps", &self.rms_norm_eps, "a number of 0 or more is");
        }
        self.frequencies(path).map(drop)
    }

    /// The angles of all positions.
    ///
    /// # Errors
    /// When the rule is not supported.
    pub(super) fn rope(&self, path: &Path) -> Result<Rope> {
        let layout = if self.rope_interleave { RopeLayout::Interleaved } else { RopeLayout::Halves };
        let frequencies = self.frequencies(path)?;
        Ok(Rope::of_frequencies(self.head_dim(), &frequencies, self.max_position_embeddings, layout)?)
    }

    /// Radians per position, of each pair of channels.
    fn frequencies(&self, path: &Path) -> Result<Vec<f32>> {
        let (key, rule) = match (&self.rope_parameters, &self.rope_scaling) {
            (Some(rule), _) => ("rope_parameters", Some(rule)),
            (None, rule) => ("rope_scaling", rule.as_ref()),
        };
        let theta = rule.and_then(|rule| rule.rope_theta).or(self.rope_theta).unwrap_or(10_000.0);
        if !(theta.is_finite() && theta > 0.0) {
            return Err(unsupported(path, "rope_theta", theta, "a number above 0 is"));
        }
        let head_dim = self.head_dim();
        let plain = (0..head_dim / 2).map(|pair| 1.0 / theta.powf(2.0 * pair as f64 / head_dim as f64));
        let Some(rule) = rule.filter(|rule| rule.rope_type != "default") else {
            return Ok(plain.map(|frequency| frequency as f32).collect());
        };
        if rule.rope_type != "llama3" {
            let found = format!("of type {:?}", rule.rope_type);
            return Err(unsupported(path, key, found, "\"default\" and \"llama3\" are"));
        }
        let value = |name: &str, value: Option<f64>| match value {
            Some(value) if value.is_finite() && value > 0.0 => Ok(value),
            _ => Err(unsupported(path, &format!("{key}.{name}"), format!("{value:?}"), "a number above 0 is")),
        };
        let factor = value("factor", rule.factor)?;
        let low = value("low_freq_factor", rule.low_freq_factor)?;
        let high = value("high_freq_factor", rule.high_freq_factor)?;
        let length = value("original_max_position_embeddings", rule.original_max_position_embeddings)?;
        if low >= high {
            return Err(unsupported(path, &format!("{key}.low_freq_factor"), low, "less than high_freq_factor is"));
        }
        let scaled = plain.map(|frequency| {
            let turns = length * frequency / std::f64::consts::TAU;
            let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            (frequency / factor * (1.0 - smooth) + frequency * smooth) as f32
        });
        Ok(scaled.collect())
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
