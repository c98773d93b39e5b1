//! The trainable tensors of a model.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Tensor, Var};

type Select = dyn Fn(&str) -> bool + Send + Sync;

/// The variables of a model, by the name of their tensor: filled while the model is built, trained afterwards.
#[derive(Clone)]
pub struct Variables {
    select: Arc<Select>,
    taken: Arc<Mutex<BTreeMap<String, Var>>>,
}

impl Variables {
    /// Takes in the tensors that `select` wants by name; all others stay frozen.
    pub fn selected_by(select: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self { select: Arc::new(select), taken: Arc::default() }
    }

    /// All variables by name, in order.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Var> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A selected tensor becomes a variable, which the model then computes with.
    pub(super) fn take_in(&self, name: &str, tensor: Tensor) -> candle_core::Result<Tensor> {
        if !(self.select)(name) {
            return Ok(tensor);
        }
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(variable) = taken.get(name) {
            return Ok(variable.as_tensor().clone());
        }
        let variable = Var::from_tensor(&tensor)?;
        let tensor = variable.as_tensor().clone();
        taken.insert(name.to_owned(), variable);
        Ok(tensor)
    }
}
