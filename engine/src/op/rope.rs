//! Rotary position embedding (RoFormer, arXiv 2104.09864): pairs of a head's channels turn by an angle that grows with the
//! position.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::storage::numbers;

/// Which channels of a head of d channels make a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeLayout {
    /// Channel i and channel i + d/2: Hugging Face's, after GPT-NeoX.
    Halves,
    /// Channels 2i and 2i + 1: that of Meta's own Llama weights and of GGUF files.
    Interleaved,
}

/// The angles of every position.
#[derive(Clone, Debug)]
pub struct Rope {
    table: Arc<Table>,
    layout: RopeLayout,
}

#[derive(Debug)]
struct Table {
    /// Channels in a head.
    head_dim: usize,
    /// (positions, d/2).
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rope {
    /// The angles of `n_positions` positions: position times θ^(−2i/d) for the pair i of heads of `head_dim` = d channels.
    ///
    /// # Errors
    /// When d is odd or zero, or `theta` is not a positive number.
    pub fn new(head_dim: usize, theta: f64, n_positions: usize, layout: RopeLayout) -> Result<Self> {
        if !(theta.is_finite() && theta > 0.0) {
            bail!("rotary embeddings of base {theta}: it must be a positive number");
        }
        let frequency = |pair: usize| (1.0 / theta.powf(2.0 * pair as f64 / head_dim as f64)) as f32;
        Self::of_frequencies(head_dim, &(0..head_dim / 2).map(frequency).collect::<Vec<_>>(), n_positions, layout)
    }

    /// The same of other `frequencies`, one for each pair, in radians per position.
    ///
    /// # Errors
    /// When d is odd or zero, or there is not one frequency for each pair.
    pub fn of_frequencies(
        head_dim: usize,
        frequencies: &[f32],
        n_positions: usize,
        layout: RopeLayout,
    ) -> Result<Self> {
        if head_dim == 0 || !head_dim.is_multiple_of(2) || frequencies.len() != head_dim / 2 {
            bail!("rotary embeddings of {head_dim} channels and {} frequencies", frequencies.len());
        }
        // The angle is rounded to f32 before its sine is taken, as the reference does it.
        let angles = || {
            (0..n_positions).flat_map(|position| frequencies.iter().map(move |frequency| position as f32 * frequency))
        };
        let cos = angles().map(f32::cos).collect();
        let sin = angles().map(f32::sin).collect();
        Ok(Self { table: Arc::new(Table { head_dim, cos, sin }), layout })
    }

    /// How many positions it has angles for.
    #[must_use]
    pub fn n_positions(&self) -> usize {
        self.table.cos.len() / (self.table.head_dim / 2)
    }

    /// Turns `x` (B, T, heads·d), whose tokens stand at positions `first`, `first` + 1, …; differentiable.
    ///
    /// # Errors
    /// When the width is not whole heads, there are not so many positions, or of the tensors.
    pub fn forward(&self, x: &Tensor, first: usize) -> Result<Tensor> {
        let (_, n_tokens, width) = x.dims3()?;
        let head_dim = self.table.head_dim;
        if width == 0 || !width.is_multiple_of(head_dim) {
            bail!("rotary embeddings of heads of {head_dim} channels were given {:?}", x.dims());
        }
        if first + n_tokens > self.n_positions() {
            bail!("positions up to {}: there are {}", first + n_tokens, self.n_positions());
        }
        if super::is_fused(x) {
            return x.contiguous()?.apply_op1(Turn { rope: self.clone(), first, is_back: false });
        }
        self.composed(x, first)
    }

    fn composed(&self, x: &Tensor, first: usize) -> Result<Tensor> {
        let (batch, n_tokens, width) = x.dims3()?;
        let (half, n_heads) = (self.table.head_dim / 2, width / self.table.head_dim);
        let angles = |table: &[f32]| -> Result<Tensor> {
            let shape = (n_tokens, 1, half);
            let rows = table.get(first * half..(first + n_tokens) * half).unwrap_or_default();
            Tensor::from_vec(rows.to_vec(), shape, &Device::Cpu)?.to_device(x.device())?.to_dtype(x.dtype())
        };
        let (cos, sin) = (angles(&self.table.cos)?, angles(&self.table.sin)?); // (T, 1, d/2)
        let (left, right) = match self.layout {
            RopeLayout::Halves => {
                let x = x.reshape((batch, n_tokens, n_heads, 2, half))?;
                (x.narrow(3, 0, 1)?.squeeze(3)?, x.narrow(3, 1, 1)?.squeeze(3)?)
            }
            RopeLayout::Interleaved => {
                let x = x.reshape((batch, n_tokens, n_heads, half, 2))?;
                (x.narrow(4, 0, 1)?.squeeze(4)?, x.narrow(4, 1, 1)?.squeeze(4)?)
            }
        }; // (B, T, H, d/2)
        let turned_left = (left.broadcast_mul(&cos)? - right.broadcast_mul(&sin)?)?;
        let turned_right = (right.broadcast_mul(&cos)? + left.broadcast_mul(&sin)?)?;
        let axis = match self.layout {
            RopeLayout::Halves => 3,
            RopeLayout::Interleaved => 4,
        };
        Tensor::stack(&[turned_left, turned_right], axis)?.reshape((batch, n_tokens, width))
    }

    /// Turns the heads of one token (heads·d) at `position`, where they lie; a position beyond the table is left as it is.
    pub(crate) fn turn(&self, heads: &mut [f32], position: usize, is_back: bool) {
        let Table { head_dim, cos, sin } = &*self.table;
        let half = head_dim / 2;
        let range = position * half..(position + 1) * half;
        let (Some(cos), Some(sin)) = (cos.get(range.clone()), sin.get(range)) else { return };
        let sign = if is_back { -1.0 } else { 1.0 };
        for head in heads.chunks_exact_mut(*head_dim) {
            match self.layout {
                RopeLayout::Halves => {
                    let (left, right) = head.split_at_mut(half);
                    for ((left, right), (cos, sin)) in left.iter_mut().zip(right).zip(cos.iter().zip(sin)) {
                        (*left, *right) = (*left * cos - *right * sin * sign, *right * cos + *left * sin * sign);
                    }
                }
                RopeLayout::Interleaved => {
                    for (pair, (cos, sin)) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos.iter().zip(sin)) {
                        let [left, right] = *pair;
                        *pair = [left * cos - right * sin * sign, right * cos + left * sin * sign];
                    }
                }
            }
        }
    }
}

struct Turn {
    rope: Rope,
    first: usize,
    is_back: bool,
}

impl CustomOp1 for Turn {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, n_tokens, width) = layout.shape().dims3()?;
        let mut y = numbers(x, layout)?.to_vec();
        y.par_chunks_mut(width).enumerate().for_each(|(token, heads)| {
            self.rope.turn(heads, self.first + token % n_tokens, self.is_back);
        });
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let back = Self { rope: self.rope.clone(), first: self.first, is_back: !self.is_back };
        Ok(Some(grad.contiguous()?.apply_op1_no_bwd(&back)?))
    }
}

/// The order of channels that makes one layout of the other: rows of `weight` (heads·d, C) as published for
/// [`RopeLayout::Interleaved`], in the order that [`RopeLayout::Halves`] wants.
///
/// # Errors
/// When the rows are not whole heads of `head_dim`, or of the tensors.
pub fn interleaved_to_halves(weight: &Tensor, head_dim: usize) -> Result<Tensor> {
    let (n_rows, width) = weight.dims2()?;
    if head_dim == 0 || !head_dim.is_multiple_of(2) || !n_rows.is_multiple_of(head_dim) {
        bail!("{n_rows} rows are not heads of {head_dim} channels");
    }
    weight.reshape((n_rows / head_dim, head_dim / 2, 2, width))?.transpose(1, 2)?.contiguous()?.reshape((n_rows, width))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{compare, normal};
    use super::*;
    use crate::golden::assert_close;

    #[test]
    fn fused_is_composed() {
        for layout in [RopeLayout::Halves, RopeLayout::Interleaved] {
            let rope = Rope::new(6, 10_000.0, 9, layout).unwrap();
            for first in [0, 4] {
                compare(&[normal(1, &[2, 5, 18])], |tensors| rope.forward(&tensors[0], first));
            }
        }
    }

    #[test]
    fn layouts_are_a_matter_of_order() {
        let x = normal(1, &[1, 5, 12]);
        let reordered = |x: &Tensor| {
            interleaved_to_halves(&x.squeeze(0).unwrap().t().unwrap().contiguous().unwrap(), 6)
                .unwrap()
                .t()
                .unwrap()
                .unsqueeze(0)
                .unwrap()
        };
        let turned = |x: &Tensor, layout: RopeLayout| Rope::new(6, 100.0, 5, layout).unwrap().forward(x, 0).unwrap();
        let halves = turned(&reordered(&x), RopeLayout::Halves);
        assert_close("halves", &halves, &reordered(&turned(&x, RopeLayout::Interleaved)), 0.0);
        assert_ne!(
            reordered(&x).flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            x.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        );
    }

    #[test]
    fn products_depend_on_the_distance_alone() {
        let rope = Rope::new(8, 10_000.0, 100, RopeLayout::Halves).unwrap();
        let (query, key) = (normal(1, &[1, 1, 8]), normal(2, &[1, 1, 8]));
        let product = |at: usize| {
            let (query, key) = (rope.forward(&query, at + 7).unwrap(), rope.forward(&key, at).unwrap());
            (query * key).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap()
        };
        assert!((product(0) - product(90)).abs() < 1e-4);
        assert!((product(0) - (&query * &key).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap()).abs() > 1e-2);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(Rope::new(5, 100.0, 5, RopeLayout::Halves).is_err());
        assert!(Rope::new(0, 100.0, 5, RopeLayout::Halves).is_err());
        assert!(Rope::new(4, f64::NAN, 5, RopeLayout::Halves).is_err());
        let rope = Rope::new(4, 100.0, 5, RopeLayout::Halves).unwrap();
        assert!(rope.forward(&normal(1, &[1, 6, 4]), 0).is_err());
        assert!(rope.forward(&normal(1, &[1, 5, 4]), 1).is_err());
        assert!(rope.forward(&normal(1, &[1, 5, 6]), 0).is_err());
        assert!(interleaved_to_halves(&normal(1, &[6, 4]), 4).is_err());
    }
}
