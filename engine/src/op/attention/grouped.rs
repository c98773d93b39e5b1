//! Attention of tokens to each other, of what one linear layer makes of them: queries, keys and values side by side, turned by
//! their positions, several heads of queries to one of keys. As one operation: taken apart and put together again by operations
//! of their own, forward and back, they cost as much as attention itself.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::kernel::{self, Sizes};
use crate::op::rope::Rope;
use crate::op::storage::{in_chunks, numbers};

/// What lies side by side in a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heads {
    /// Of queries.
    pub(crate) n_heads: usize,
    /// Of keys, and of values.
    pub(crate) n_kv_heads: usize,
    pub(crate) head_dim: usize,
}

impl Heads {
    fn of_queries(self) -> usize {
        self.n_heads * self.head_dim
    }

    fn of_keys(self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    fn width(self) -> usize {
        self.of_queries() + 2 * self.of_keys()
    }
}

/// softmax(Q·Kᵀ/√d + mask)·V per head, of `qkv` (B, T, H·d + 2·Hkv·d), whose queries and keys are turned by `rope` at positions
/// 0 to T first; `mask` is (T, T). Returns (B, T, H·d). For f32 on the CPU alone.
///
/// # Errors
/// When shapes do not fit, there are not so many positions, or of the tensors.
pub(crate) fn self_attention(qkv: &Tensor, heads: Heads, rope: &Rope, mask: &Tensor) -> Result<Tensor> {
    let (batch, n_tokens, width) = qkv.dims3()?;
    let is_shared_evenly = heads.n_kv_heads > 0 && heads.n_heads.is_multiple_of(heads.n_kv_heads);
    if width != heads.width() || !is_shared_evenly || n_tokens == 0 || n_tokens > rope.n_positions() {
        bail!("attention of {heads:?} was given {:?}", qkv.dims());
    }
    if mask.dims() != [n_tokens, n_tokens] {
        bail!("a mask of shape {:?} for {n_tokens} tokens", mask.dims());
    }
    let sizes =
        Sizes { batch, n_queries: n_tokens, n_keys: n_tokens, width: heads.of_queries(), n_heads: heads.n_heads };
    let mask = mask.flatten_all()?.to_vec1::<f32>()?;
    qkv.contiguous()?.apply_op1(SelfAttention { heads, sizes, rope: rope.clone(), mask })
}

#[derive(Clone)]
struct SelfAttention {
    heads: Heads,
    sizes: Sizes,
    rope: Rope,
    mask: Vec<f32>,
}

impl SelfAttention {
    /// Heads of queries to one of keys.
    fn n_shares(&self) -> usize {
        self.heads.n_heads / self.heads.n_kv_heads
    }

    /// The queries of a token, turned: (H·d).
    fn query(&self, token: &[f32], position: usize, found: &mut [f32]) {
        found.copy_from_slice(&token[..self.heads.of_queries()]);
        self.rope.turn(found, position, false);
    }

    /// Its keys, turned, each as often as it is shared: (H·d).
    fn key(&self, token: &[f32], position: usize, found: &mut [f32]) {
        let (start, length) = (self.heads.of_queries(), self.heads.of_keys());
        let mut keys = token[start..start + length].to_vec();
        self.rope.turn(&mut keys, position, false);
        self.share(&keys, found);
    }

    /// Its values, each as often as it is shared: (H·d).
    fn value(&self, token: &[f32], found: &mut [f32]) {
        self.share(&token[self.heads.of_queries() + self.heads.of_keys()..], found);
    }

    fn share(&self, heads: &[f32], found: &mut [f32]) {
        let head_dim = self.heads.head_dim;
        let shared = found.chunks_exact_mut(self.n_shares() * head_dim).zip(heads.chunks_exact(head_dim));
        shared
            .for_each(|(places, head)| places.chunks_exact_mut(head_dim).for_each(|place| place.copy_from_slice(head)));
    }

    /// The sums over what was shared: of (H·d), (Hkv·d).
    fn gathered(&self, heads: &[f32], found: &mut [f32]) {
        let head_dim = self.heads.head_dim;
        let shared = found.chunks_exact_mut(head_dim).zip(heads.chunks_exact(self.n_shares() * head_dim));
        for (found, heads) in shared {
            found.fill(0.0);
            for head in heads.chunks_exact(head_dim) {
                found.iter_mut().zip(head).for_each(|(found, number)| *found += number);
            }
        }
    }

    /// Rows of H·d numbers, one for each token of the batch.
    fn rows(&self, qkv: &[f32], row: impl Fn(&[f32], usize, &mut [f32]) + Sync) -> Vec<f32> {
        let (width, n_tokens) = (self.heads.width(), self.sizes.n_keys);
        in_chunks(self.sizes.batch * n_tokens * self.sizes.width, self.sizes.width, |index, found| {
            row(&qkv[index * width..(index + 1) * width], index % n_tokens, found);
        })
    }

    /// (B, 2·T, H·d): for each row of the batch what `first` makes of its tokens, then what `second` makes of them.
    fn two_rows(
        &self,
        qkv: &[f32],
        first: impl Fn(&[f32], usize, &mut [f32]) + Sync,
        second: impl Fn(&[f32], usize, &mut [f32]) + Sync,
    ) -> Vec<f32> {
        let (width, n_tokens) = (self.heads.width(), self.sizes.n_keys);
        in_chunks(self.sizes.batch * 2 * n_tokens * self.sizes.width, self.sizes.width, |index, found| {
            let (row, place) = (index / (2 * n_tokens), index % (2 * n_tokens));
            let token = row * n_tokens + place % n_tokens;
            let numbers = &qkv[token * width..(token + 1) * width];
            match place < n_tokens {
                true => first(numbers, token, found),
                false => second(numbers, token, found),
            }
        })
    }
}

impl CustomOp1 for SelfAttention {
    fn name(&self) -> &'static str {
        "self-attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let qkv = numbers(qkv, layout)?;
        let query = self.rows(qkv, |token, position, found| self.query(token, position, found));
        let key = self.rows(qkv, |token, position, found| self.key(token, position, found));
        let value = self.rows(qkv, |token, _, found| self.value(token, found));
        let attended = kernel::forward(&self.sizes, &query, &key, &value, Some(&self.mask));
        let Sizes { batch, n_queries, width, .. } = self.sizes;
        Ok((CpuStorage::F32(attended), Shape::from((batch, n_queries, width))))
    }

    fn bwd(&self, qkv: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(qkv.detach().contiguous()?.apply_op2_no_bwd(&grad.contiguous()?, self)?))
    }
}

/// The gradient of qkv, of it and the gradient of what was attended to.
impl CustomOp2 for SelfAttention {
    fn name(&self) -> &'static str {
        "self-attention-gradient"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, lq: &Layout, grad: &CpuStorage, lg: &Layout) -> Result<(CpuStorage, Shape)> {
        let (qkv, grad) = (numbers(qkv, lq)?, numbers(grad, lg)?);
        let (heads, n_tokens, width) = (self.heads, self.sizes.n_keys, self.sizes.width);
        let by_query = self.two_rows(
            qkv,
            |token, index, found| self.query(token, index % n_tokens, found),
            |_, index, found| found.copy_from_slice(&grad[index * width..(index + 1) * width]),
        );
        let by_key = self.two_rows(
            qkv,
            |token, index, found| self.key(token, index % n_tokens, found),
            |token, _, found| self.value(token, found),
        );
        let gradients = kernel::backward(&self.sizes, &by_query, &by_key, Some(&self.mask)); // (B, 3·T, H·d)
        let found = in_chunks(qkv.len(), heads.width(), |index, found| {
            let (row, position) = (index / n_tokens, index % n_tokens);
            let part = |part: usize| {
                let start = (row * 3 * n_tokens + part * n_tokens + position) * width;
                &gradients[start..start + width]
            };
            let (query, rest) = found.split_at_mut(heads.of_queries());
            let (key, value) = rest.split_at_mut(heads.of_keys());
            query.copy_from_slice(part(0));
            self.rope.turn(query, position, true);
            self.gathered(part(1), key);
            self.rope.turn(key, position, true);
            self.gathered(part(2), value);
        });
        Ok((CpuStorage::F32(found), lq.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::rope::RopeLayout;
    use crate::op::testing::normal;

    #[test]
    fn what_does_not_fit_is_refused() {
        let rope = Rope::new(4, 1e4, 6, RopeLayout::Halves).unwrap();
        let refused = |shape: &[usize], n_heads: usize, n_kv_heads: usize, mask: &[usize]| {
            let heads = Heads { n_heads, n_kv_heads, head_dim: 4 };
            self_attention(&normal(1, shape), heads, &rope, &normal(2, mask)).is_err()
        };
        assert!(!refused(&[2, 3, 32], 4, 2, &[3, 3]));
        assert!(refused(&[2, 3, 28], 4, 2, &[3, 3]));
        assert!(refused(&[2, 3, 28], 3, 2, &[3, 3]));
        assert!(refused(&[2, 3, 16], 4, 0, &[3, 3]));
        assert!(refused(&[2, 7, 32], 4, 2, &[7, 7]), "more tokens than positions");
        assert!(refused(&[2, 3, 32], 4, 2, &[3, 2]));
    }
}
