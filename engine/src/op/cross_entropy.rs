//! Cross entropy, of scores.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::storage::{in_chunks, numbers};

/// −log of the softmax of each row of `logits` (N, V) at its target: (N), finite also where scores are large. `targets` are
/// N indices below V.
///
/// A vocabulary is wide: what PyTorch makes in three passes is made in one, and the gradient in one more.
///
/// # Errors
/// When there are not as many targets as rows, one is V or more, or of the tensors.
pub fn cross_entropy(logits: &Tensor, targets: &[u32]) -> Result<Tensor> {
    let (n_rows, width) = logits.dims2()?;
    if targets.len() != n_rows {
        bail!("{} targets for {n_rows} rows of scores", targets.len());
    }
    if let Some(target) = targets.iter().find(|target| **target as usize >= width) {
        bail!("target {target} of {width} scores");
    }
    if super::is_fused(logits) {
        return logits.contiguous()?.apply_op1(CrossEntropy { targets: targets.to_vec() });
    }
    let targets = Tensor::new(targets, logits.device())?.unsqueeze(1)?; // (N, 1)
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?; // (N, V)
    let total = shifted.exp()?.sum(D::Minus1)?.log()?; // (N)
    total - shifted.gather(&targets, 1)?.squeeze(1)?
}

struct CrossEntropy {
    targets: Vec<u32>,
}

/// The largest number of a row, and the sum of the exponentials of what lies below it.
fn largest_and_sum(row: &[f32]) -> (f32, f64) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (largest, row.iter().map(|score| f64::from((score - largest).exp())).sum())
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        let rows = numbers(logits, layout)?.par_chunks_exact(width).zip(&self.targets);
        let losses = rows.map(|(row, target)| {
            let (largest, sum) = largest_and_sum(row);
            let score = row.get(*target as usize).copied().unwrap_or(f32::NAN);
            (sum.ln() - f64::from(score - largest)) as f32
        });
        Ok((CpuStorage::F32(losses.collect()), Shape::from(self.targets.len())))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let gradient = CrossEntropy { targets: self.targets.clone() };
        Ok(Some(logits.detach().contiguous()?.apply_op2_no_bwd(&grad.contiguous()?, &gradient)?))
    }
}

/// The gradient of the scores, of them and the gradient of each row's loss: (softmax − target)·gradient.
impl CustomOp2 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy-gradient"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, ll: &Layout, grad: &CpuStorage, lg: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = ll.shape().dims2()?;
        let (logits, grad) = (numbers(logits, ll)?, numbers(grad, lg)?);
        let found = in_chunks(logits.len(), width, |index, found| {
            let start = index * width;
            let (Some(row), Some(grad), Some(target)) =
                (logits.get(start..start + width), grad.get(index), self.targets.get(index))
            else {
                return;
            };
            let (largest, sum) = largest_and_sum(row);
            let share = (1.0 / sum) as f32 * grad;
            found.iter_mut().zip(row).for_each(|(found, score)| *found = (score - largest).exp() * share);
            if let Some(at_target) = found.get_mut(*target as usize) {
                *at_target -= grad;
            }
        });
        Ok((CpuStorage::F32(found), ll.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{compare, normal};
    use super::*;

    #[test]
    fn fused_is_composed() {
        let targets = [0, 7, 22, 3, 3];
        compare(&[(normal(1, &[5, 23]) * 4.0).unwrap()], |tensors| cross_entropy(&tensors[0], &targets));
    }

    #[test]
    fn large_scores_are_finite() {
        let logits = Tensor::new(&[[1e30_f32, -1e30, 0.0], [-1e4, -1e4, -1e4]], &candle_core::Device::Cpu).unwrap();
        let losses = cross_entropy(&logits, &[0, 2]).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(losses[0], 0.0);
        assert!((losses[1] - 3.0_f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn targets_are_checked() {
        let logits = normal(1, &[2, 3]);
        assert!(cross_entropy(&logits, &[0]).is_err());
        assert!(cross_entropy(&logits, &[0, 3]).unwrap_err().to_string().contains("target 3 of 3 scores"));
    }
}
