//! What a training is told.

use serde::{Deserialize, Serialize};

use crate::train::LearningRate;
use crate::unet::Trainable;

/// The settings of a training of the UNet: all of them decide the result, and a training that goes on must have the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiffusionSettings {
    /// Optimiser steps in all.
    pub n_steps: u64,
    /// Pairs in a batch.
    pub batch_size: usize,
    /// Batches in an optimiser step.
    pub n_accumulate: usize,
    /// The learning rate at each step.
    pub learning_rate: LearningRate,
    /// AdamW's weight decay.
    pub weight_decay: f64,
    /// Largest norm of the gradient.
    pub max_gradient_norm: f64,
    /// Probability with which each of the two conditions is dropped.
    pub drop_probability: f64,
    /// Decay of the running mean of the weights; 0 for none.
    pub ema_decay: f64,
    /// What is trained.
    pub trainable: Trainable,
    /// Seed of all that is drawn.
    pub seed: u64,
}
