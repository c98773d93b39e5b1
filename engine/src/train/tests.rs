//! Training as a whole, against PyTorch.

use std::collections::BTreeMap;

use candle_core::{DType, Device, IndexOp as _, Tensor, Var};

use super::*;
use crate::golden::{Golden, assert_close};
use crate::op::composed;

pub(super) const N_STEPS: usize = 20;
const NAMES: [&str; 5] = ["first.weight", "first.bias", "second.weight", "second.bias", "late"];

/// The network of `goldens/make/optimizer.py`, and all that trains it.
pub(super) struct Run {
    pub(super) golden: Golden,
    pub(super) variables: BTreeMap<String, Var>,
    pub(super) optimizer: AdamW,
    pub(super) ema: Ema,
}

pub(super) const RATE: LearningRate =
    LearningRate { base: 0.03, warm_up_steps: 4, decay: Decay::Cosine, total_steps: N_STEPS as u64 };

impl Run {
    pub(super) fn new() -> Self {
        let golden = Golden::open("optimizer");
        let variables: BTreeMap<String, Var> = NAMES
            .into_iter()
            .map(|name| {
                let start = golden.case(&format!("start.{name}")).copy().unwrap();
                (name.to_owned(), Var::from_tensor(&start).unwrap())
            })
            .collect();
        let config = AdamWConfig { beta1: 0.9, beta2: 0.99, epsilon: 1e-6, weight_decay: 0.1 };
        let optimizer = AdamW::new(variables.clone(), config).unwrap();
        let ema = Ema::new(&variables, EmaConfig { decay: 0.9, ..EmaConfig::default() }).unwrap();
        Self { golden, variables, optimizer, ema }
    }

    fn loss(&self, x: &Tensor, y: &Tensor, step: usize) -> Tensor {
        let linear = |x: &Tensor, name: &str| {
            let [weight, bias] =
                ["weight", "bias"].map(|kind| self.variables[&format!("{name}.{kind}")].as_tensor().clone());
            x.matmul(&weight.t().unwrap()).unwrap().broadcast_add(&bias).unwrap()
        };
        let mut found = linear(&linear(x, "first").tanh().unwrap(), "second"); // (5, 3)
        if step >= 7 {
            found = found.broadcast_add(self.variables["late"].as_tensor()).unwrap();
        }
        (found - y).unwrap().sqr().unwrap().mean_all().unwrap()
    }

    /// Step number `step`, from 1; returns the loss and the norm of the gradient.
    pub(super) fn step(&mut self, step: usize) -> (f64, f64) {
        let mut accumulator = Accumulator::new();
        let mut losses = 0.0;
        for micro in 0..2 {
            let [x, y] = ["x", "y"].map(|name| self.golden.case(name).i((step - 1, micro)).unwrap());
            let loss = self.loss(&x, &y, step);
            losses += f64::from(loss.to_scalar::<f32>().unwrap()) / 2.0;
            accumulator.add(Gradients::of(&self.variables, &loss.backward().unwrap()), 1.0).unwrap();
        }
        let (gradients, norm) = clip_grad_norm(accumulator.take_mean().unwrap(), 1.0).unwrap();
        assert_eq!(gradients.names().count(), if step >= 7 { 5 } else { 4 });
        self.optimizer.step(&gradients, RATE.at(step as u64 - 1)).unwrap();
        self.ema.step(&self.variables).unwrap();
        (losses, norm)
    }
}

/// Every number of all tensors, as bits.
pub(super) fn bits<'a>(tensors: impl IntoIterator<Item = (&'a String, &'a Tensor)>) -> BTreeMap<String, Vec<u64>> {
    let bits = |tensor: &Tensor| {
        let numbers = tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
        numbers.into_iter().map(f64::to_bits).collect()
    };
    tensors.into_iter().map(|(name, tensor)| (name.clone(), bits(tensor))).collect()
}

fn follow_pytorch() {
    let mut run = Run::new();
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for step in 1..=N_STEPS {
        let (loss, norm) = run.step(step);
        losses.push(loss as f32);
        norms.push(norm as f32);
        if [1, 6, 7, 10, 15, 20].contains(&step) {
            for name in NAMES {
                run.golden.assert_close(&format!("weights.{step}.{name}"), run.variables[name].as_tensor());
                run.golden.assert_close(&format!("ema.{step}.{name}"), &run.ema.averages()[name]);
            }
        }
    }
    run.golden.assert_close("losses", &Tensor::new(losses, &Device::Cpu).unwrap());
    run.golden.assert_close("norms", &Tensor::new(norms, &Device::Cpu).unwrap());
    let state = run.optimizer.state().unwrap();
    for name in NAMES {
        for kind in ["step", "exp_avg", "exp_avg_sq"] {
            let tensor = state[&format!("{name}.{kind}")].to_dtype(DType::F32).unwrap();
            // The bound is of the largest number, and squares are small.
            let expected = run.golden.case(&format!("state.{name}.{kind}"));
            let largest = expected.abs().unwrap().flatten_all().unwrap().max(0).unwrap();
            let [tensor, expected] = [&tensor, expected].map(|tensor| tensor.broadcast_div(&largest).unwrap());
            assert_close(&format!("state.{name}.{kind}"), &tensor, &expected, 1e-5);
        }
    }
}

#[test]
fn twenty_steps_follow_pytorch() {
    follow_pytorch();
}

#[test]
fn twenty_steps_follow_pytorch_when_composed() {
    composed(follow_pytorch);
}

#[test]
fn rates_of_the_run_are_those_of_the_reference() {
    let golden = Golden::open("optimizer");
    let rates: Vec<f32> = (0..N_STEPS as u64).map(|step| RATE.at(step) as f32).collect();
    assert_close("rates", &Tensor::new(rates, &Device::Cpu).unwrap(), golden.case("rates"), 1e-8);
}

#[test]
fn decays_are_those_of_the_reference() {
    let golden = Golden::open("optimizer");
    let warm_up = Some(EmaWarmUp { inv_gamma: 2.0, power: 0.75 });
    for (name, config) in [
        ("plain", EmaConfig::default()),
        ("late", EmaConfig { decay: 0.5, update_after_step: 7, min_decay: 0.2, warm_up: None }),
        ("warm_up", EmaConfig { decay: 0.9, warm_up, ..EmaConfig::default() }),
    ] {
        let decays: Vec<f64> = (1..=40).map(|step| config.decay_at(step)).collect();
        let decays = Tensor::new(decays, &Device::Cpu).unwrap();
        assert_close(name, &decays, golden.case(&format!("decays.{name}")), 1e-12);
    }
}

/// A large variable, so that it is updated in several pieces, and the last is odd.
fn large(seed: u64) -> Tensor {
    crate::noise::Noise::new(seed).normal((3, 16_391), &Device::Cpu).unwrap()
}

fn large_run(as_composed: bool, dtype: DType) -> (Tensor, Tensor) {
    let variable = Var::from_tensor(&large(0).to_dtype(dtype).unwrap()).unwrap();
    let variables = BTreeMap::from([("w".to_owned(), variable.clone())]);
    let mut optimizer = AdamW::new(variables.clone(), AdamWConfig::default()).unwrap();
    let mut ema = Ema::new(&variables, EmaConfig::default()).unwrap();
    for step in 1..4 {
        let gradients = std::iter::once(("w".to_owned(), large(step).to_dtype(dtype).unwrap())).collect();
        let mut work = || {
            optimizer.step(&gradients, 0.1).unwrap();
            ema.step(&variables).unwrap();
        };
        if as_composed { composed(work) } else { work() }
    }
    (variable.as_detached_tensor(), ema.averages()["w"].clone())
}

#[test]
fn the_fused_update_is_the_composed_one() {
    let (fused, composed) = (large_run(false, DType::F32), large_run(true, DType::F32));
    assert_close("weights", &fused.0, &composed.0, 1e-6);
    assert_close("averages", &fused.1, &composed.1, 1e-6);
    // Other types take the composed one by themselves.
    for (dtype, tolerance) in [(DType::F64, 1e-6), (DType::BF16, 2e-2)] {
        let (weights, averages) = large_run(false, dtype);
        assert_eq!((weights.dtype(), averages.dtype()), (dtype, dtype));
        assert_close("weights", &weights, &fused.0, tolerance);
        assert_close("averages", &averages, &fused.1, tolerance);
    }
}

#[test]
fn gradients_that_do_not_fit_change_nothing() {
    let mut run = Run::new();
    let before = bits(run.variables.iter().map(|(name, variable)| (name, variable.as_tensor())));
    let gradient = |name: &str, n: usize| (name.to_owned(), Tensor::ones(n, DType::F32, &Device::Cpu).unwrap());
    for (gradients, rate, message) in [
        (
            vec![gradient("first.bias", 8), gradient("late", 4)],
            0.1,
            "the gradient of `late` has shape [4], the variable [3]",
        ),
        (vec![gradient("first.bias", 8), gradient("other", 4)], 0.1, "a gradient of `other`, which is not trained"),
        (vec![gradient("late", 3)], f64::NAN, "a learning rate of NaN: it must be 0 or more"),
    ] {
        let gradients = gradients.into_iter().collect();
        assert_eq!(run.optimizer.step(&gradients, rate).unwrap_err().to_string(), message);
    }
    assert_eq!(bits(run.variables.iter().map(|(name, variable)| (name, variable.as_tensor()))), before);
    let config = AdamWConfig { beta1: 1.0, ..AdamWConfig::default() };
    assert!(AdamW::new(BTreeMap::new(), config).is_err());
    assert!(Ema::new(&run.variables, EmaConfig { decay: 1.5, ..EmaConfig::default() }).is_err());
}
