//! A moving average of the weights, which samples better than the weights themselves.

use std::collections::BTreeMap;

use candle_core::{Result as TensorResult, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::in_place;
use crate::op::is_fused;
use crate::{EngineError, Result};

/// How the decay grows in the beginning, by diffusers' `use_ema_warmup`: 1 - (1 + step/γ)^-p.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmaWarmUp {
    /// γ, above 0.
    pub inv_gamma: f64,
    /// p, above 0: 2/3 for a million steps and more, 3/4 for fewer.
    pub power: f64,
}

/// How slowly the average follows, as diffusers' `EMAModel` has it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmaConfig {
    /// How much of the average stays per step, at most; 0 to 1.
    pub decay: f64,
    /// And at least.
    pub min_decay: f64,
    /// Steps for which the average is the weights themselves.
    pub update_after_step: u64,
    /// How the decay grows to its full size; by default as (1 + step) / (10 + step).
    pub warm_up: Option<EmaWarmUp>,
}

impl Default for EmaConfig {
    fn default() -> Self {
        Self { decay: 0.9999, min_decay: 0.0, update_after_step: 0, warm_up: None }
    }
}

impl EmaConfig {
    fn check(self) -> Result<Self> {
        let is_share = |decay: f64| (0.0..=1.0).contains(&decay);
        let is_positive = |number: f64| number > 0.0 && number.is_finite();
        let warms_up = self.warm_up.is_none_or(|warm_up| is_positive(warm_up.inv_gamma) && is_positive(warm_up.power));
        if is_share(self.decay) && is_share(self.min_decay) && warms_up {
            return Ok(self);
        }
        Err(EngineError::argument(format!("{self:?}: decays must be 0 to 1, `inv_gamma` and `power` above 0")))
    }

    /// How much of the average stays in step number `step`, from 1.
    #[must_use]
    pub fn decay_at(&self, step: u64) -> f64 {
        let step = step.saturating_sub(self.update_after_step).saturating_sub(1) as f64;
        if step == 0.0 {
            return 0.0;
        }
        let growing = match self.warm_up {
            Some(EmaWarmUp { inv_gamma, power }) => 1.0 - (1.0 + step / inv_gamma).powf(-power),
            None => (1.0 + step) / (10.0 + step),
        };
        growing.min(self.decay).max(self.min_decay)
    }
}

/// The average of the variables over the steps, in their shapes.
#[derive(Debug)]
pub struct Ema {
    config: EmaConfig,
    step: u64,
    averages: BTreeMap<String, Tensor>,
}

impl Ema {
    /// Begins with the variables as they are.
    ///
    /// # Errors
    /// When numbers of the config make no sense, or of the tensors.
    pub fn new(variables: &BTreeMap<String, Var>, config: EmaConfig) -> Result<Self> {
        let copy = |(name, variable): (&String, &Var)| Ok((name.clone(), variable.as_detached_tensor().copy()?));
        let averages = variables.iter().map(copy).collect::<TensorResult<_>>()?;
        Ok(Self { config: config.check()?, step: 0, averages })
    }

    /// Steps so far.
    #[must_use]
    pub fn n_steps(&self) -> u64 {
        self.step
    }

    /// The averages by name. The next step writes to these tensors: copy what should stay.
    #[must_use]
    pub fn averages(&self) -> &BTreeMap<String, Tensor> {
        &self.averages
    }

    /// Follows the variables by one step: s - (1 - decay)·(s - w).
    ///
    /// # Errors
    /// When the variables are not those it began with, or of the tensors.
    pub fn step(&mut self, variables: &BTreeMap<String, Var>) -> Result<()> {
        same_tensors("the average", &self.averages, variables)?;
        self.step += 1;
        let share = 1.0 - self.config.decay_at(self.step);
        for (variable, average) in variables.values().zip(self.averages.values_mut()) {
            if is_fused(variable) {
                let share = share as f32;
                in_place::on_with(average, variable, |average, weights| {
                    in_place::each_pair(average, weights, |average: &mut [f32], weights: &[f32]| {
                        for (average, weight) in average.iter_mut().zip(weights) {
                            *average -= share * (*average - weight);
                        }
                    });
                    Ok(())
                })?;
            } else {
                let distance = (&*average - variable.as_detached_tensor())?;
                *average = (&*average - (distance * share)?)?;
            }
        }
        Ok(())
    }

    /// Sets the variables to their averages.
    ///
    /// # Errors
    /// When the variables are not those it began with, or of the tensors.
    pub fn copy_to(&self, variables: &BTreeMap<String, Var>) -> Result<()> {
        same_tensors("the average", &self.averages, variables)?;
        for (variable, average) in variables.values().zip(self.averages.values()) {
            variable.set(average)?;
        }
        Ok(())
    }

    /// Takes up averages after `n_steps` steps.
    ///
    /// # Errors
    /// When they have other names, shapes or types than those here, or of the tensors. Then nothing has changed.
    pub fn restore(&mut self, averages: BTreeMap<String, Tensor>, n_steps: u64) -> Result<()> {
        let prepared = self.prepare(averages)?;
        self.apply(prepared, n_steps);
        Ok(())
    }

    /// Checks averages, and copies them: a step writes to them where they lie.
    pub(super) fn prepare(&self, averages: BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
        same_tensors("the saved average", &averages, &self.averages)?;
        let copy =
            |((name, saved), here): ((String, Tensor), &Tensor)| Ok((name, saved.copy()?.to_device(here.device())?));
        averages.into_iter().zip(self.averages.values()).map(copy).collect()
    }

    pub(super) fn apply(&mut self, averages: BTreeMap<String, Tensor>, n_steps: u64) {
        (self.averages, self.step) = (averages, n_steps);
    }
}

/// Refuses `found` when it has other names, shapes or types than `wanted`; `what` names it.
pub(super) fn same_tensors<A: AsTensor, B: AsTensor>(
    what: &str,
    found: &BTreeMap<String, A>,
    wanted: &BTreeMap<String, B>,
) -> Result<()> {
    if let Some(name) = found.keys().find(|name| !wanted.contains_key(*name)) {
        return Err(EngineError::argument(format!("{what} has `{name}`, which is not trained")));
    }
    for (name, wanted) in wanted {
        let Some(found) = found.get(name).map(AsTensor::as_tensor) else {
            return Err(EngineError::argument(format!("{what} has no `{name}`, which is trained")));
        };
        let wanted = wanted.as_tensor();
        if found.shape() != wanted.shape() || found.dtype() != wanted.dtype() {
            return Err(EngineError::argument(format!(
                "{what} has `{name}` as {:?} of {:?}, and what is trained is {:?} of {:?}",
                found.dtype(),
                found.dims(),
                wanted.dtype(),
                wanted.dims()
            )));
        }
    }
    Ok(())
}

/// A tensor, or a variable.
pub(super) trait AsTensor {
    /// The tensor.
    fn as_tensor(&self) -> &Tensor;
}

impl AsTensor for Tensor {
    fn as_tensor(&self) -> &Tensor {
        self
    }
}

impl AsTensor for Var {
    fn as_tensor(&self) -> &Tensor {
        self
    }
}
