//! AdamW (arXiv 1711.05101), as `torch.optim.AdamW` computes it, with a state that can be saved.

use std::collections::BTreeMap;

use candle_core::{DType, Result as TensorResult, Tensor, Var};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Gradients;
use super::in_place::{self, CHUNK};
use crate::op::is_fused;
use crate::{EngineError, Result};

/// The hyper-parameters of AdamW; by default PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWConfig {
    /// How much of the mean gradient stays per step, 0 to below 1.
    pub beta1: f64,
    /// How much of the mean squared gradient stays per step, 0 to below 1.
    pub beta2: f64,
    /// Added to the root of the mean square, outside the root.
    pub epsilon: f64,
    /// How much of a weight is taken away per step, times the learning rate.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 1e-2 }
    }
}

impl AdamWConfig {
    pub(super) fn check(self) -> Result<Self> {
        let is_share = |beta: f64| (0.0..1.0).contains(&beta);
        let is_size = |size: f64| size >= 0.0 && size.is_finite();
        if is_share(self.beta1) && is_share(self.beta2) && is_size(self.epsilon) && is_size(self.weight_decay) {
            return Ok(self);
        }
        Err(EngineError::argument(format!(
            "AdamW with {self:?}: betas must be 0 to below 1, epsilon and weight decay 0 or more"
        )))
    }
}

/// What is remembered of a variable's gradients, in its shape.
#[derive(Debug)]
pub(super) struct Moments {
    /// Steps in which it had a gradient.
    pub(super) step: u64,
    pub(super) first: Tensor,
    pub(super) second: Tensor,
}

impl Moments {
    /// None yet. They are in f32 for weights in 16 bits, whose squares would vanish.
    fn new(variable: &Tensor) -> TensorResult<Self> {
        let dtype = moment_dtype(variable);
        let zeros = || Tensor::zeros(variable.shape(), dtype, variable.device());
        Ok(Self { step: 0, first: zeros()?, second: zeros()? })
    }
}

/// The type of the moments of `variable`.
pub(super) fn moment_dtype(variable: &Tensor) -> DType {
    if variable.dtype() == DType::F64 { DType::F64 } else { DType::F32 }
}

/// The optimiser: weights move against their mean gradient, by about the learning rate.
#[derive(Debug)]
pub struct AdamW {
    pub(super) config: AdamWConfig,
    pub(super) variables: BTreeMap<String, Var>,
    /// Of the variables that ever had a gradient.
    pub(super) moments: BTreeMap<String, Moments>,
}

impl AdamW {
    /// An optimiser for `variables` that has not stepped yet.
    ///
    /// # Errors
    /// When hyper-parameters make no sense.
    pub fn new(variables: BTreeMap<String, Var>, config: AdamWConfig) -> Result<Self> {
        Ok(Self { config: config.check()?, variables, moments: BTreeMap::new() })
    }

    /// The hyper-parameters.
    #[must_use]
    pub fn config(&self) -> &AdamWConfig {
        &self.config
    }

    /// The variables by name.
    #[must_use]
    pub fn variables(&self) -> &BTreeMap<String, Var> {
        &self.variables
    }

    /// One step along `gradients`. A variable without gradient stays as it is, and its moments do: no decay, no step, as in
    /// PyTorch.
    ///
    /// # Errors
    /// When a gradient has no variable or another shape, or the rate is negative or not finite: then nothing has changed. Or
    /// of the tensors.
    pub fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        if !(learning_rate >= 0.0 && learning_rate.is_finite()) {
            return Err(EngineError::argument(format!("a learning rate of {learning_rate}: it must be 0 or more")));
        }
        for (name, gradient) in gradients.unscaled() {
            match self.variables.get(name) {
                Some(variable) if variable.shape() == gradient.shape() => {}
                Some(variable) => {
                    return Err(EngineError::argument(format!(
                        "the gradient of `{name}` has shape {:?}, the variable {:?}",
                        gradient.dims(),
                        variable.dims()
                    )));
                }
                None => return Err(EngineError::argument(format!("a gradient of `{name}`, which is not trained"))),
            }
        }
        for (name, gradient) in gradients.unscaled() {
            let Some(variable) = self.variables.get(name) else { continue };
            if !self.moments.contains_key(name) {
                self.moments.insert(name.to_owned(), Moments::new(variable)?);
            }
            let Some(moments) = self.moments.get_mut(name) else { continue };
            moments.step += 1;
            let factors = Factors::new(&self.config, moments.step, learning_rate, gradients.factor());
            if is_fused(variable) && is_fused(gradient) {
                factors.update_fused(variable, gradient, moments)?;
            } else {
                factors.update_composed(variable, gradient, moments)?;
            }
        }
        Ok(())
    }
}

/// What a step multiplies by, worked out in f64.
#[derive(Clone, Copy)]
struct Factors {
    gradient: f64,
    keep_weight: f64,
    add_first: f64,
    keep_second: f64,
    add_second: f64,
    second_root: f64,
    epsilon: f64,
    step_size: f64,
}

impl Factors {
    fn new(config: &AdamWConfig, step: u64, learning_rate: f64, gradient: f64) -> Self {
        let AdamWConfig { beta1, beta2, epsilon, weight_decay } = *config;
        let unbias = |beta: f64| 1.0 - beta.powf(step as f64);
        Self {
            gradient,
            keep_weight: 1.0 - learning_rate * weight_decay,
            add_first: 1.0 - beta1,
            keep_second: beta2,
            add_second: 1.0 - beta2,
            second_root: unbias(beta2).sqrt(),
            epsilon,
            step_size: learning_rate / unbias(beta1),
        }
    }

    /// One pass over the numbers: they are read once and written once.
    fn update_fused(self, variable: &Tensor, gradient: &Tensor, moments: &Moments) -> TensorResult<()> {
        let arch = pulp::Arch::new();
        in_place::on(&moments.first, |first| {
            in_place::on(&moments.second, |second| {
                in_place::on_with(variable, gradient, |weights, gradient| {
                    let moments = first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK));
                    let numbers = weights.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
                    numbers.zip(moments).for_each(|((weights, gradient), (first, second))| {
                        arch.dispatch(|| self.update(weights, gradient, first, second));
                    });
                    Ok(())
                })
            })
        })
    }

    /// In PyTorch's order of operations.
    #[inline(always)]
    fn update(self, weights: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        let [keep_weight, add_first, keep_second, add_second] =
            [self.keep_weight, self.add_first, self.keep_second, self.add_second].map(|factor| factor as f32);
        let [second_root, epsilon, step_size] =
            [self.second_root, self.epsilon, self.step_size].map(|factor| factor as f32);
        let scale = self.gradient as f32;
        for (((weight, gradient), first), second) in weights.iter_mut().zip(gradient).zip(first).zip(second) {
            let gradient = gradient * scale;
            *first += add_first * (gradient - *first);
            *second = *second * keep_second + add_second * gradient * gradient;
            *weight = *weight * keep_weight - step_size * *first / (second.sqrt() / second_root + epsilon);
        }
    }

    fn update_composed(self, variable: &Var, gradient: &Tensor, moments: &mut Moments) -> TensorResult<()> {
        let gradient = (gradient.to_dtype(moments.first.dtype())? * self.gradient)?;
        let first = (&moments.first + ((&gradient - &moments.first)? * self.add_first)?)?;
        let second = ((&moments.second * self.keep_second)? + (gradient.sqr()? * self.add_second)?)?;
        let divisor = ((second.sqrt()? / self.second_root)? + self.epsilon)?;
        let weights = (variable.as_detached_tensor().to_dtype(first.dtype())? * self.keep_weight)?;
        let weights = (weights - ((&first * self.step_size)? / divisor)?)?;
        variable.set(&weights.to_dtype(variable.dtype())?)?;
        (moments.first, moments.second) = (first, second);
        Ok(())
    }
}
