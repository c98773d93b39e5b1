//! Gradients by name, and their mean over micro-batches.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};

use crate::{EngineError, Result};

/// Gradients by the name of their variable. A variable that the loss does not depend on has none.
#[derive(Clone, Debug)]
pub struct Gradients {
    tensors: BTreeMap<String, Tensor>,
    /// What all of them are still to be multiplied by: who reads them does, and saves a pass over memory.
    factor: f64,
}

impl Gradients {
    /// The gradients of `variables` in what `backward` returned.
    #[must_use]
    pub fn of(variables: &BTreeMap<String, Var>, store: &GradStore) -> Self {
        let gradient =
            |(name, variable): (&String, &Var)| Some((name.clone(), store.get(variable.as_tensor())?.detach()));
        variables.iter().filter_map(gradient).collect()
    }

    /// The gradient of the variable `name`, in its shape.
    ///
    /// # Errors
    /// Of the tensors.
    pub fn get(&self, name: &str) -> Result<Option<Tensor>> {
        Ok(self.tensors.get(name).map(|tensor| times(tensor, self.factor)).transpose()?)
    }

    /// The names of variables that have one, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// All gradients times `factor`.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        Self { factor: self.factor * factor, ..self }
    }

    /// What all of [`Self::unscaled`] are to be multiplied by.
    pub(super) fn factor(&self) -> f64 {
        self.factor
    }

    /// Names and gradients, in order, before they are multiplied.
    pub(super) fn unscaled(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }
}

impl FromIterator<(String, Tensor)> for Gradients {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(gradients: I) -> Self {
        Self { tensors: gradients.into_iter().collect(), factor: 1.0 }
    }
}

fn times(tensor: &Tensor, factor: f64) -> candle_core::Result<Tensor> {
    if factor == 1.0 { Ok(tensor.clone()) } else { tensor * factor }
}

/// Sums the gradients of micro-batches, so that several small ones make one large batch.
#[derive(Debug, Default)]
pub struct Accumulator {
    sum: BTreeMap<String, Tensor>,
    weight: f64,
}

impl Accumulator {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the gradients of a micro-batch's mean loss, which counts with `weight`: its number of samples, or 1 when all
    /// have as many.
    ///
    /// # Errors
    /// When the weight is not above 0, or of the tensors.
    pub fn add(&mut self, gradients: Gradients, weight: f64) -> Result<()> {
        if !(weight > 0.0 && weight.is_finite()) {
            return Err(EngineError::argument(format!("a micro-batch of weight {weight}: it must be above 0")));
        }
        let factor = gradients.factor * weight;
        for (name, gradient) in gradients.tensors {
            let gradient = times(&gradient, factor)?;
            let sum = match self.sum.remove(&name) {
                Some(sum) => (sum + gradient)?,
                None => gradient,
            };
            self.sum.insert(name, sum);
        }
        self.weight += weight;
        Ok(())
    }

    /// The weighted mean of what was added, and begins anew. Where some micro-batches had a gradient and others none, those
    /// count as zero, as in PyTorch.
    ///
    /// # Errors
    /// When nothing was added, or of the tensors.
    pub fn take_mean(&mut self) -> Result<Gradients> {
        let Self { sum, weight } = std::mem::take(self);
        if weight == 0.0 {
            return Err(EngineError::argument("the mean of no micro-batch"));
        }
        Ok(sum.into_iter().collect::<Gradients>().scaled(1.0 / weight))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn gradients(numbers: &[(&str, f32)]) -> Gradients {
        let tensor = |value: f32| Tensor::new(&[value], &Device::Cpu).unwrap();
        numbers.iter().map(|(name, value)| ((*name).to_owned(), tensor(*value))).collect()
    }

    fn numbers(gradients: &Gradients) -> Vec<(String, f32)> {
        let number = |name: &str| gradients.get(name).unwrap().unwrap().to_vec1::<f32>().unwrap()[0];
        gradients.names().map(|name| (name.to_owned(), number(name))).collect()
    }

    #[test]
    fn the_mean_is_weighted_and_starts_anew() {
        let mut accumulator = Accumulator::new();
        accumulator.add(gradients(&[("a", 1.0), ("b", 8.0)]), 3.0).unwrap();
        accumulator.add(gradients(&[("a", 5.0)]), 1.0).unwrap();
        assert_eq!(numbers(&accumulator.take_mean().unwrap()), [("a".to_owned(), 2.0), ("b".to_owned(), 6.0)]);
        accumulator.add(gradients(&[("a", 7.0)]), 1.0).unwrap();
        assert_eq!(numbers(&accumulator.take_mean().unwrap()), [("a".to_owned(), 7.0)]);
        let scaled = gradients(&[("a", 2.0)]).scaled(0.5).scaled(3.0);
        accumulator.add(scaled, 1.0).unwrap();
        assert_eq!(numbers(&accumulator.take_mean().unwrap()), [("a".to_owned(), 3.0)]);
        assert_eq!(accumulator.take_mean().unwrap_err().to_string(), "the mean of no micro-batch");
        assert!(accumulator.add(gradients(&[]), 0.0).is_err());
    }

    #[test]
    fn two_halves_are_the_whole() {
        let device = &Device::Cpu;
        let weight = Var::from_vec(vec![0.5_f32, -1.0], (2, 1), device).unwrap();
        let variables = BTreeMap::from([("weight".to_owned(), weight.clone())]);
        let x = Tensor::new(&[[1.0_f32, 2.0], [3.0, -1.0], [0.5, 4.0], [2.0, 2.0]], device).unwrap();
        let backward = |rows: &Tensor| {
            let loss = rows.matmul(weight.as_tensor()).unwrap().sqr().unwrap().mean_all().unwrap();
            Gradients::of(&variables, &loss.backward().unwrap())
        };
        let mut accumulator = Accumulator::new();
        for (start, n) in [(0, 1), (1, 3)] {
            accumulator.add(backward(&x.narrow(0, start, n).unwrap()), n as f64).unwrap();
        }
        let [halves, whole] =
            [accumulator.take_mean().unwrap(), backward(&x)].map(|mean| mean.get("weight").unwrap().unwrap());
        crate::golden::assert_close("mean", &halves, &whole, 1e-6);
    }
}
