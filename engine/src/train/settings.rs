//! What a training is told.

use std::collections::BTreeMap;

use candle_core::Var;
use serde::{Deserialize, Serialize};

use super::{AdamW, AdamWConfig, Ema, EmaConfig, LearningRate};
use crate::error::{EngineError, Result};
use crate::unet::Trainable;

/// What every training is told: all of it decides the result, and a training that goes on must have the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainSettings {
    /// Optimiser steps in all.
    pub n_steps: u64,
    /// Rows in a batch.
    pub batch_size: usize,
    /// Batches in an optimiser step.
    pub n_accumulate: usize,
    /// The learning rate at each step.
    pub learning_rate: LearningRate,
    /// AdamW's weight decay.
    pub weight_decay: f64,
    /// Largest norm of the gradient.
    pub max_gradient_norm: f64,
    /// Decay of the running mean of the weights; 0 for none.
    pub ema_decay: f64,
    /// Seed of all that is drawn.
    pub seed: u64,
}

/// The settings of a training of the UNet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiffusionSettings {
    /// What every training is told.
    #[serde(flatten)]
    pub train: TrainSettings,
    /// Probability with which each of the two conditions is dropped.
    pub drop_probability: f64,
    /// What is trained.
    pub trainable: Trainable,
    /// γ of the min-SNR weights; `None` weighs all timesteps alike, as the paper does.
    pub min_snr_gamma: Option<f64>,
}

impl TrainSettings {
    pub(super) fn check(&self) -> Result<()> {
        if self.batch_size == 0 || self.n_accumulate == 0 {
            return Err(EngineError::argument("batch_size and n_accumulate must be at least 1"));
        }
        self.learning_rate.check()
    }

    pub(super) fn optimizer(&self, variables: BTreeMap<String, Var>) -> Result<AdamW> {
        AdamW::new(variables, AdamWConfig { weight_decay: self.weight_decay, ..AdamWConfig::default() })
    }

    pub(super) fn ema(&self, variables: &BTreeMap<String, Var>) -> Result<Option<Ema>> {
        if self.ema_decay <= 0.0 {
            return Ok(None);
        }
        Ok(Some(Ema::new(variables, EmaConfig { decay: self.ema_decay, ..EmaConfig::default() })?))
    }
}
