//! Choosing the next token.

use crate::noise::Noise;
use crate::{EngineError, Result};

/// How the next token is chosen, as HF transformers' `generate` does it: temperature, then the `top_k` most likely, then the
/// fewest of those that have `top_p` of the probability.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// What scores are divided by. 0 takes the most likely token: greedy decoding.
    pub temperature: f64,
    /// How many tokens are kept; 0 keeps all.
    pub top_k: usize,
    /// What share of the probability is kept; 1 keeps all.
    pub top_p: f64,
}

impl Default for Sampling {
    /// Greedy.
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0 }
    }
}

impl Sampling {
    /// # Errors
    /// When a number is out of its range.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(EngineError::argument(message));
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return refuse(format!("a temperature of {}: it must be 0 or more", self.temperature));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return refuse(format!("a top_p of {}: it must be above 0, and 1 at most", self.top_p));
        }
        Ok(())
    }

    /// The next token, of the scores of all. Scores of −∞ are never chosen; of equal ones, the lower id counts as likelier. `noise`
    /// is a place of its own for this token.
    ///
    /// # Errors
    /// When no token may be chosen.
    pub fn choose(&self, logits: &[f32], noise: &Noise) -> Result<u32> {
        let none = || EngineError::argument("no token may come next: all scores are −∞, or not numbers");
        let best = best(logits).ok_or_else(none)?;
        if self.temperature == 0.0 || self.top_k == 1 {
            return Ok(best);
        }
        // In f64, and relative to the best: no score overflows, however low the temperature.
        let top = f64::from(logits.get(best as usize).copied().unwrap_or_default());
        if top.is_infinite() {
            return Ok(best);
        }
        let share = |logit: &f32| ((f64::from(*logit) - top) / self.temperature).exp();
        let possible = logits.iter().enumerate().filter(|(_, logit)| **logit > f32::NEG_INFINITY);
        let mut kept: Vec<(u32, f64)> = possible.map(|(id, logit)| (id as u32, share(logit))).collect();
        let order = |left: &(u32, f64), right: &(u32, f64)| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0));
        if self.top_k > 0 && self.top_k < kept.len() {
            kept.select_nth_unstable_by(self.top_k - 1, order);
            kept.truncate(self.top_k);
        }
        kept.sort_unstable_by(order);
        if self.top_p < 1.0 {
            let wanted = self.top_p * kept.iter().map(|(_, share)| share).sum::<f64>();
            let mut sum = 0.0;
            let n_before = kept.iter().take_while(|(_, share)| {
                sum += share;
                sum < wanted
            });
            let n_kept = n_before.count() + 1;
            kept.truncate(n_kept);
        }
        let drawn = noise.uniform(1).first().copied().unwrap_or_default();
        let mut rest = drawn * kept.iter().map(|(_, share)| share).sum::<f64>();
        let chosen = kept.iter().find(|(_, share)| {
            rest -= share;
            rest < 0.0
        });
        chosen.or(kept.last()).map(|(id, _)| *id).ok_or_else(none)
    }
}

/// The id of the largest score.
fn best(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(usize, f32)> = None;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > best.map_or(f32::NEG_INFINITY, |(_, best)| best) {
            best = Some((id, *logit));
        }
    }
    best.map(|(id, _)| id as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(sampling: &Sampling, logits: &[f32]) -> Vec<usize> {
        let mut counts = vec![0; logits.len()];
        for index in 0..4000 {
            counts[sampling.choose(logits, &Noise::new(1).at(index)).unwrap() as usize] += 1;
        }
        counts
    }

    const LOGITS: [f32; 5] = [0.0, 2.0, 1.0, f32::NEG_INFINITY, 2.0];

    #[test]
    fn frequencies_are_the_softmax() {
        let temperature = 0.7;
        let shares: Vec<f64> = LOGITS.iter().map(|logit| (f64::from(*logit) / temperature).exp()).collect();
        let all: f64 = shares.iter().sum();
        let found = counts(&Sampling { temperature, ..Sampling::default() }, &LOGITS);
        for (count, share) in found.iter().zip(&shares) {
            let expected = share / all;
            let error = (*count as f64 / 4000.0 - expected).abs();
            assert!(error <= 4.0 * (expected * (1.0 - expected) / 4000.0).sqrt(), "{found:?} for {shares:?}");
        }
    }

    #[test]
    fn what_is_unlikely_is_left_out() {
        let found = |top_k: usize, top_p: f64| {
            let counts = counts(&Sampling { temperature: 1.0, top_k, top_p }, &LOGITS);
            (0..5).filter(|id| counts[*id] > 0).collect::<Vec<_>>()
        };
        assert_eq!(found(0, 1.0), [0, 1, 2, 4]);
        assert_eq!(found(3, 1.0), [1, 2, 4]);
        assert_eq!(found(2, 1.0), [1, 4]);
        assert_eq!(found(1, 1.0), [1]);
        assert_eq!(found(0, 0.5), [1, 4]);
        assert_eq!(found(0, 0.39), [1]);
        assert_eq!(found(0, 0.9), [1, 2, 4]);
        // Of the two that are left, one has half of the probability.
        assert_eq!(found(2, 0.5), [1]);
    }

    #[test]
    fn greedy_takes_the_first_of_the_best() {
        let noise = Noise::new(1);
        assert_eq!(Sampling::default().choose(&LOGITS, &noise).unwrap(), 1);
        let cold = Sampling { temperature: 1e-30, ..Sampling::default() };
        assert!([1, 4].contains(&cold.choose(&LOGITS, &noise).unwrap()));
        for logits in [&[f32::NEG_INFINITY, f32::NAN][..], &[]] {
            assert!(Sampling::default().choose(logits, &noise).is_err());
        }
        assert_eq!(Sampling::default().choose(&[f32::NAN, 1.0], &noise).unwrap(), 1);
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let check = |temperature: f64, top_p: f64| Sampling { temperature, top_k: 0, top_p }.check().is_ok();
        assert!(check(0.0, 1.0) && check(2.0, 0.1));
        assert!(
            !check(-1.0, 1.0) && !check(f64::NAN, 1.0) && !check(1.0, 0.0) && !check(1.0, 1.1) && !check(1.0, f64::NAN)
        );
    }
}
