//! The fused group norm, with or without SiLU behind it.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::super::storage::{in_chunks, numbers};
use super::super::vector::{sigmoid, sum, sum2, vectorised};

/// On contiguous tensors: x is (B, C, …).
#[derive(Clone, Copy)]
pub(super) struct GroupNorm {
    pub(super) n_groups: usize,
    pub(super) eps: f32,
    pub(super) silu: bool,
}

/// What `GroupNorm` is applied to.
#[derive(Clone, Copy)]
struct Sizes {
    /// Channels in a group.
    channels: usize,
    /// Numbers in a channel of one row.
    n_pixels: usize,
    n_groups: usize,
}

impl Sizes {
    fn new(norm: &GroupNorm, layout: &Layout) -> Self {
        let dims = layout.dims();
        let (batch, channels) = (dims.first().copied().unwrap_or(1), dims.get(1).copied().unwrap_or(1));
        let n_pixels = layout.shape().elem_count() / (batch * channels).max(1);
        Self { channels: channels / norm.n_groups, n_pixels, n_groups: norm.n_groups }
    }

    /// Numbers in a group of one row.
    fn group(&self) -> usize {
        self.channels * self.n_pixels
    }

    /// The group's part of a tensor with a number for each channel; groups of all rows are counted on.
    fn of<'a>(&self, index: usize, by_channel: &'a [f32]) -> &'a [f32] {
        let first = index % self.n_groups * self.channels;
        &by_channel[first..first + self.channels]
    }
}

/// Mean and 1/√(variance + ε), of channel after channel: sums of few numbers lose little.
#[inline(always)]
fn moments(x: &[f32], n_pixels: usize, eps: f32) -> (f32, f32) {
    let count = x.len() as f64;
    let channels = || x.chunks_exact(n_pixels);
    let mean = channels().map(|x| f64::from(sum(x, |x| x))).sum::<f64>() / count;
    let near = mean as f32;
    let squares = channels().map(|x| f64::from(sum(x, |x| (x - near) * (x - near)))).sum::<f64>();
    (near, 1.0 / ((squares / count) as f32 + eps).sqrt())
}

impl CustomOp3 for GroupNorm {
    fn name(&self) -> &'static str {
        "group-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        weight: &CpuStorage,
        lw: &Layout,
        bias: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::new(self, lx);
        let (x, weight, bias) = (numbers(x, lx)?, numbers(weight, lw)?, numbers(bias, lb)?);
        let y = in_chunks(x.len(), sizes.group(), |index, y| {
            let x = &x[index * sizes.group()..][..sizes.group()];
            let affine = sizes.of(index, weight).iter().zip(sizes.of(index, bias));
            let (mean, scale) = vectorised(
                #[inline(always)]
                || moments(x, sizes.n_pixels, self.eps),
            );
            let channels = y.chunks_exact_mut(sizes.n_pixels).zip(x.chunks_exact(sizes.n_pixels));
            for ((y, x), (weight, bias)) in channels.zip(affine) {
                let (slope, shift) = (scale * weight, bias - mean * scale * weight);
                vectorised(
                    #[inline(always)]
                    || {
                        if self.silu {
                            y.iter_mut().zip(x).for_each(|(y, x)| {
                                let normed = x * slope + shift;
                                *y = normed * sigmoid(normed);
                            });
                        } else {
                            y.iter_mut().zip(x).for_each(|(y, x)| *y = x * slope + shift);
                        }
                    },
                );
            }
        });
        Ok((CpuStorage::F32(y), lx.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (x, grad) = (x.contiguous()?, grad.contiguous()?);
        let affine = Tensor::stack(&[weight.detach(), bias.detach()], 0)?; // (2, C)
        let of_x = x.detach().apply_op3_no_bwd(&affine, &grad, &InputGradient(*self))?;
        if !weight.track_op() && !bias.track_op() {
            return Ok((Some(of_x), None, None));
        }
        let by_row = x.detach().apply_op3_no_bwd(&affine, &grad, &AffineGradient(*self))?; // (B, 2, C)
        let found = by_row.sum(0)?;
        Ok((Some(of_x), Some(found.get(0)?), Some(found.get(1)?)))
    }
}

impl GroupNorm {
    /// The gradient before SiLU, of the one behind it; `slope` and `shift` make the norm's result of `x`.
    #[inline(always)]
    fn before_silu(&self, found: &mut [f32], x: &[f32], grad: &[f32], slope: f32, shift: f32) {
        if !self.silu {
            found.copy_from_slice(grad);
            return;
        }
        for (found, (x, grad)) in found.iter_mut().zip(x.iter().zip(grad)) {
            let normed = x * slope + shift;
            let s = sigmoid(normed);
            *found = grad * (s + normed * s * (1.0 - s));
        }
    }
}

/// Of x, (weight, bias), and the gradient of y.
struct InputGradient(GroupNorm);

impl CustomOp3 for InputGradient {
    fn name(&self) -> &'static str {
        "group-norm-input-gradient"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        affine: &CpuStorage,
        la: &Layout,
        grad: &CpuStorage,
        lg: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::new(&self.0, lx);
        let (x, affine, grad) = (numbers(x, lx)?, numbers(affine, la)?, numbers(grad, lg)?);
        let (weight, bias) = affine.split_at(affine.len() / 2);
        let found = in_chunks(x.len(), sizes.group(), |index, found| {
            let (x, grad) = (&x[index * sizes.group()..], &grad[index * sizes.group()..]);
            let (x, grad) = (&x[..sizes.group()], &grad[..sizes.group()]);
            let (mean, scale) = vectorised(
                #[inline(always)]
                || moments(x, sizes.n_pixels, self.0.eps),
            );
            let (mut first, mut second) = (0.0_f64, 0.0_f64);
            let n_pixels = sizes.n_pixels;
            let affine = sizes.of(index, weight).iter().zip(sizes.of(index, bias));
            let channels =
                found.chunks_exact_mut(n_pixels).zip(x.chunks_exact(n_pixels).zip(grad.chunks_exact(n_pixels)));
            for ((found, (x, grad)), (weight, bias)) in channels.zip(affine) {
                let (slope, shift) = (scale * weight, bias - mean * scale * weight);
                let (sum_of_grad, product) = vectorised(
                    #[inline(always)]
                    || {
                        self.0.before_silu(found, x, grad, slope, shift);
                        found.iter_mut().for_each(|found| *found *= weight);
                        (sum(found, |grad| grad), sum2(found, x, |grad, x| grad * (x - mean)))
                    },
                );
                first += f64::from(sum_of_grad);
                second += f64::from(product);
            }
            // dx = (w·g − mean(w·g) − x̂·mean(w·g·x̂)) / σ
            let count = sizes.group() as f64;
            let (first, second) = ((first / count) as f32, (second / count) as f32 * scale);
            vectorised(
                #[inline(always)]
                || {
                    let pairs = found.iter_mut().zip(x);
                    pairs.for_each(|(found, x)| *found = (*found - first - (x - mean) * scale * second) * scale);
                },
            );
        });
        Ok((CpuStorage::F32(found), lx.shape().clone()))
    }
}

/// Of x, (weight, bias), and the gradient of y: those of weight and bias in each row, (B, 2, C).
struct AffineGradient(GroupNorm);

impl CustomOp3 for AffineGradient {
    fn name(&self) -> &'static str {
        "group-norm-affine-gradient"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        affine: &CpuStorage,
        la: &Layout,
        grad: &CpuStorage,
        lg: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::new(&self.0, lx);
        let (x, affine, grad) = (numbers(x, lx)?, numbers(affine, la)?, numbers(grad, lg)?);
        let (weight, bias) = affine.split_at(affine.len() / 2);
        let n_channels = weight.len();
        let groups = x.par_chunks(sizes.group()).zip(grad.par_chunks(sizes.group())).enumerate();
        let found: Vec<(f32, f32)> = groups
            .flat_map_iter(|(index, (x, grad))| {
                let (mean, scale) = moments(x, sizes.n_pixels, self.0.eps);
                let affine = sizes.of(index, weight).iter().zip(sizes.of(index, bias));
                let channels = x.chunks_exact(sizes.n_pixels).zip(grad.chunks_exact(sizes.n_pixels));
                let mut before = vec![0.0; sizes.n_pixels];
                channels
                    .zip(affine)
                    .map(|((x, grad), (weight, bias))| {
                        let (slope, shift) = (scale * weight, bias - mean * scale * weight);
                        vectorised(
                            #[inline(always)]
                            || {
                                self.0.before_silu(&mut before, x, grad, slope, shift);
                                let of_weight = sum2(&before, x, |grad, x| grad * (x - mean)) * scale;
                                (of_weight, sum(&before, |grad| grad))
                            },
                        )
                    })
                    .collect::<Vec<_>>()
            })
            .collect(); // (B·C)
        let mut by_row = Vec::with_capacity(2 * found.len());
        for row in found.chunks_exact(n_channels) {
            by_row.extend(row.iter().map(|(of_weight, _)| *of_weight));
            by_row.extend(row.iter().map(|(_, of_bias)| *of_bias));
        }
        Ok((CpuStorage::F32(by_row), Shape::from((found.len() / n_channels, 2, n_channels))))
    }
}
