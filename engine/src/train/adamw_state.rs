//! The state of AdamW as tensors by name.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::adamw::{AdamW, AdamWConfig, Moments, moment_dtype};
use crate::{EngineError, Result};

/// The tensor with the hyper-parameters. Names of moments have a dot in them, so that no variable's can be this.
const HYPER_PARAMETERS: &str = "hyper_parameters";

/// A state that was checked against the variables.
pub(super) struct Prepared {
    config: AdamWConfig,
    moments: BTreeMap<String, Moments>,
}

impl AdamW {
    /// The whole state by name: `NAME.step`, `NAME.exp_avg`, `NAME.exp_avg_sq` of every variable that ever had a gradient,
    /// and `hyper_parameters`. As in PyTorch, the tensors are those that the next step writes to: copy what should stay.
    ///
    /// # Errors
    /// Of the tensors.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let AdamWConfig { beta1, beta2, epsilon, weight_decay } = self.config;
        let device = &Device::Cpu;
        let hyper_parameters = Tensor::new(&[beta1, beta2, epsilon, weight_decay], device)?;
        let mut state = BTreeMap::from([(HYPER_PARAMETERS.to_owned(), hyper_parameters)]);
        for (name, moments) in &self.moments {
            let step = i64::try_from(moments.step).unwrap_or(i64::MAX);
            state.insert(format!("{name}.step"), Tensor::new(&[step], device)?);
            state.insert(format!("{name}.exp_avg"), moments.first.clone());
            state.insert(format!("{name}.exp_avg_sq"), moments.second.clone());
        }
        Ok(state)
    }

    /// Takes up a [`Self::state`], hyper-parameters too.
    ///
    /// # Errors
    /// When it is not whole, has other shapes, or is of variables that are not trained here. Then nothing has changed.
    pub fn restore(&mut self, state: BTreeMap<String, Tensor>) -> Result<()> {
        let prepared = self.prepare(state)?;
        self.apply(prepared);
        Ok(())
    }

    pub(super) fn apply(&mut self, prepared: Prepared) {
        (self.config, self.moments) = (prepared.config, prepared.moments);
    }

    /// Checks a state, and copies it.
    pub(super) fn prepare(&self, mut state: BTreeMap<String, Tensor>) -> Result<Prepared> {
        let mut take = |name: &str| {
            state.remove(name).ok_or_else(|| EngineError::argument(format!("the optimizer's state has no `{name}`")))
        };
        let config = match take(HYPER_PARAMETERS)?.to_vec1::<f64>()?.as_slice() {
            [beta1, beta2, epsilon, weight_decay] => {
                AdamWConfig { beta1: *beta1, beta2: *beta2, epsilon: *epsilon, weight_decay: *weight_decay }.check()?
            }
            others => {
                let n = others.len();
                return Err(EngineError::argument(format!("the optimizer's state has {n} hyper-parameters, not four")));
            }
        };
        let mut moments = BTreeMap::new();
        for (name, variable) in &self.variables {
            // Absent for a variable that never had a gradient.
            let Ok(step) = take(&format!("{name}.step")) else { continue };
            let step = step.to_vec1::<i64>()?.first().and_then(|step| u64::try_from(*step).ok());
            let step = step.ok_or_else(|| EngineError::argument(format!("`{name}.step` is no number of steps")))?;
            let mut moment = |kind: &str| -> Result<Tensor> {
                let tensor = take(&format!("{name}.{kind}"))?;
                if tensor.shape() != variable.shape() || tensor.dtype() != moment_dtype(variable) {
                    return Err(EngineError::argument(format!(
                        "`{name}.{kind}` of the optimizer's state is {:?} of {:?}, for a variable of {:?}",
                        tensor.dtype(),
                        tensor.dims(),
                        variable.dims()
                    )));
                }
                // A copy in any case: a step writes to its moments where they lie.
                Ok(tensor.copy()?.to_device(variable.device())?)
            };
            let (first, second) = (moment("exp_avg")?, moment("exp_avg_sq")?);
            moments.insert(name.clone(), Moments { step, first, second });
        }
        match state.keys().next() {
            None => Ok(Prepared { config, moments }),
            Some(name) => {
                Err(EngineError::argument(format!("the optimizer's state has `{name}`, of what is not trained")))
            }
        }
    }
}
