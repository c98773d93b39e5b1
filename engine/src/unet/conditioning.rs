//! What the UNet is conditioned on.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::config::CafeConfig;
use crate::layer::{LayerNorm, Linear};

/// The conditions of a batch.
#[derive(Clone, Debug)]
pub enum Conditioning {
    /// The base model's: states of the text encoder (B, T, D).
    Text(Tensor),
    /// CAFE's.
    Cafe(CafeConditioning),
}

/// c and E(x) of Eq. 4; a dropped condition is zeros, as in IP-Adapter.
#[derive(Clone, Debug)]
pub struct CafeConditioning {
    /// F(x~), H(s), or the mix of Eq. 4: (B, D_clip), not normalised.
    pub clip: Tensor,
    /// E(x), the class token and the patches: (B, 1 + N, D_dino).
    pub dino: Tensor,
}

impl CafeConditioning {
    /// Zeroes the rows whose `keep` is 0: `keep_clip` and `keep_dino` are (B), of 0 and 1.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn kept(&self, keep_clip: &Tensor, keep_dino: &Tensor) -> Result<Self> {
        let batch = self.clip.dim(0)?;
        Ok(Self {
            clip: self.clip.broadcast_mul(&keep_clip.reshape((batch, 1))?)?,
            dino: self.dino.broadcast_mul(&keep_dino.reshape((batch, 1, 1))?)?,
        })
    }

    /// The same with only the conditions named: a branch of guidance.
    ///
    /// # Errors
    /// Of the tensors.
    pub fn only(&self, has_clip: bool, has_dino: bool) -> Result<Self> {
        let keep = |tensor: &Tensor, has: bool| if has { Ok(tensor.clone()) } else { tensor.zeros_like() };
        Ok(Self { clip: keep(&self.clip, has_clip)?, dino: keep(&self.dino, has_dino)? })
    }
}

/// Conditions as token sequences, which the attentions read.
#[derive(Debug)]
pub(crate) enum Context {
    /// (B, T, D).
    Text(Tokens),
    /// (B, `n_clip_tokens`, D_clip) and (B, 1 + N, D_dino).
    Cafe { clip: Tokens, dino: Tokens },
}

/// The tokens of one condition.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// (R, N, D): R is B, or, where several rows of the batch share a condition, less.
    states: Tensor,
    /// Which of the R rows each of the B has: (B).
    rows: Option<Tensor>,
    /// What attentions made of `states`, if that is kept.
    kept: Option<KeysAndValues>,
}

/// Keys and values (R, N, C) by the name of their attention.
type KeysAndValues = Mutex<HashMap<String, (Tensor, Tensor)>>;

impl Tokens {
    /// For one evaluation.
    pub(crate) fn once(states: Tensor) -> Self {
        Self { states, rows: None, kept: None }
    }

    /// For many evaluations: what is made of `states` in the first is kept.
    pub(super) fn kept(states: Tensor) -> Self {
        Self { states, rows: None, kept: Some(Mutex::default()) }
    }

    /// For many evaluations of a batch whose rows are those of `states` that `rows` (B) names.
    pub(super) fn kept_by_row(self, rows: Tensor) -> Self {
        Self { rows: Some(rows), ..Self::kept(self.states) }
    }

    /// How many rows of keys are kept, for each attention.
    #[cfg(test)]
    pub(super) fn kept_rows(&self) -> Vec<usize> {
        let kept = self.kept.as_ref().unwrap().lock().unwrap();
        kept.values().map(|(keys, _)| keys.dim(0).unwrap()).collect()
    }

    /// Keys and values (B, N, C) of the attention `name`, which `project` makes of the tokens.
    pub(super) fn keys_and_values(
        &self,
        name: &str,
        project: impl FnOnce(&Tensor) -> Result<(Tensor, Tensor)>,
    ) -> Result<(Tensor, Tensor)> {
        let Some(kept) = &self.kept else { return project(&self.states) };
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (keys, values) = match kept.get(name) {
            Some(found) => found.clone(),
            None => kept.entry(name.to_owned()).or_insert(project(&self.states)?).clone(),
        };
        match &self.rows {
            Some(rows) => Ok((keys.index_select(rows, 0)?, values.index_select(rows, 0)?)),
            None => Ok((keys, values)),
        }
    }
}

/// Makes tokens of F(x): itself where one is wanted, else a projection and a norm, as IP-Adapter's `image_proj_model`.
#[derive(Clone, Debug)]
pub(super) struct ClipTokens {
    projection: Option<(Linear, LayerNorm)>,
    n_tokens: usize,
}

impl ClipTokens {
    pub(super) fn new(config: &CafeConfig, weights: &VarBuilder<'_>) -> Result<Self> {
        let CafeConfig { clip_dim, n_clip_tokens, .. } = *config;
        let projection = if n_clip_tokens == 1 {
            None
        } else {
            let proj = Linear::new(clip_dim, n_clip_tokens * clip_dim, &weights.pp("proj"))?;
            Some((proj, LayerNorm::new(clip_dim, 1e-5, &weights.pp("norm"))?))
        };
        Ok(Self { projection, n_tokens: n_clip_tokens })
    }

    /// `clip` is (B, D). Returns (B, `n_clip_tokens`, D).
    pub(super) fn forward(&self, clip: &Tensor) -> Result<Tensor> {
        let (batch, width) = clip.dims2()?;
        match &self.projection {
            None => clip.unsqueeze(1),
            Some((proj, norm)) => norm.forward(&proj.forward(clip)?.reshape((batch, self.n_tokens, width))?),
        }
    }
}
