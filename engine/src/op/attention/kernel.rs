//! Attention in blocks of queries: the scores of a block stay in the cache, and those of all are nowhere at once.

use rayon::prelude::*;

use super::super::gemm::{Matrix, MatrixMut, gemm};
use super::super::scratch::Scratch;
use super::super::storage::in_chunks;
use super::super::vector::{exp, sum, sum2, vectorised};

/// Queries in a block, at most: 128 rows of scores for 4,096 keys are two megabytes.
const BLOCK: usize = 128;

#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) n_queries: usize,
    pub(super) n_keys: usize,
    pub(super) width: usize,
    pub(super) n_heads: usize,
}

impl Sizes {
    fn head_dim(&self) -> usize {
        self.width / self.n_heads
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim() as f32).sqrt()
    }

    /// Queries in a block: few enough that every core gets some.
    fn block(&self) -> usize {
        let shares = (2 * rayon::current_num_threads()).div_ceil(self.batch.max(1));
        self.n_queries.div_ceil(shares).next_multiple_of(8).clamp(8, BLOCK)
    }

    /// `n_rows` rows of a head, of data whose rows hold all heads.
    fn head<'a>(&self, data: &'a [f32], head: usize, n_rows: usize) -> Matrix<'a> {
        let head_dim = self.head_dim();
        Matrix { data: &data[head * head_dim..], rows: n_rows, cols: head_dim, row_stride: self.width, col_stride: 1 }
    }

    fn head_mut<'a>(&self, data: &'a mut [f32], head: usize, n_rows: usize) -> MatrixMut<'a> {
        let head_dim = self.head_dim();
        let data = &mut data[head * head_dim..];
        MatrixMut { data, rows: n_rows, cols: head_dim, row_stride: self.width, col_stride: 1 }
    }

    /// The attention weights of a block of queries in one head: (rows, Tk) in `weights`.
    fn weights(&self, query: Matrix<'_>, key: Matrix<'_>, mask: Option<&[f32]>, weights: &mut [f32]) {
        let (n_rows, n_keys) = (query.rows, self.n_keys);
        gemm(MatrixMut::rows(weights, n_rows, n_keys), query, key.t(), false, false);
        let scale = self.scale();
        for (row, weights) in weights.chunks_exact_mut(n_keys).take(n_rows).enumerate() {
            let mask = mask.map(|mask| &mask[row * n_keys..(row + 1) * n_keys]);
            vectorised(
                #[inline(always)]
                || softmax(weights, scale, mask),
            );
        }
    }
}

#[inline(always)]
fn softmax(row: &mut [f32], scale: f32, mask: Option<&[f32]>) {
    match mask {
        Some(mask) => row.iter_mut().zip(mask).for_each(|(x, mask)| *x = *x * scale + mask),
        None => row.iter_mut().for_each(|x| *x *= scale),
    }
    let (blocks, rest) = row.as_chunks::<16>();
    let mut largest = [f32::NEG_INFINITY; 16];
    for block in blocks {
        for (largest, x) in largest.iter_mut().zip(block) {
            *largest = if *x > *largest { *x } else { *largest };
        }
    }
    let largest = largest.iter().chain(rest).fold(f32::NEG_INFINITY, |largest, x| largest.max(*x));
    row.iter_mut().for_each(|x| *x = exp(*x - largest));
    let norm = 1.0 / sum(row, |x| x);
    row.iter_mut().for_each(|x| *x *= norm);
}

/// Rows `first..` of the mask, if there is one.
fn mask_rows(mask: Option<&[f32]>, first: usize, n_keys: usize) -> Option<&[f32]> {
    mask.map(|mask| &mask[first * n_keys..])
}

/// (B, Tq, C).
pub(super) fn forward(sizes: &Sizes, query: &[f32], key: &[f32], value: &[f32], mask: Option<&[f32]>) -> Vec<f32> {
    let Sizes { n_queries, n_keys, width, n_heads, .. } = *sizes;
    let block = sizes.block();
    // One task for all rows: to wait for each row's would cost more than a small one takes.
    in_chunks(query.len(), n_queries * width, |row, out| {
        let (query, key, value) =
            (&query[row * n_queries * width..], &key[row * n_keys * width..], &value[row * n_keys * width..]);
        out.par_chunks_mut(block * width).enumerate().for_each_init(
            || Scratch::new(block * n_keys),
            |weights, (index, out)| {
                let (first, n_rows) = (index * block, out.len() / width);
                for head in 0..n_heads {
                    let query = sizes.head(&query[first * width..], head, n_rows);
                    sizes.weights(query, sizes.head(key, head, n_keys), mask_rows(mask, first, n_keys), weights);
                    let weights = Matrix::rows(weights, n_rows, n_keys);
                    gemm(sizes.head_mut(out, head, n_rows), weights, sizes.head(value, head, n_keys), false, false);
                }
            },
        );
    })
}

/// Of (query, gradient of the result) (B, 2·Tq, C) and (key, value) (B, 2·Tk, C): the gradients of query, key and value, one
/// after the other, (B, Tq + 2·Tk, C). Weights are computed again: keeping them would cost what `forward` saves.
pub(super) fn backward(sizes: &Sizes, by_query: &[f32], by_key: &[f32], mask: Option<&[f32]>) -> Vec<f32> {
    let Sizes { batch, n_queries, n_keys, width, .. } = *sizes;
    let n_rows = n_queries + 2 * n_keys;
    in_chunks(batch * n_rows * width, n_rows * width, |row, gradients| {
        let by_query = &by_query[row * 2 * n_queries * width..];
        let by_key = &by_key[row * 2 * n_keys * width..];
        let (grad_query, rest) = gradients.split_at_mut(n_queries * width);
        let (grad_key, grad_value) = rest.split_at_mut(n_keys * width);
        let mut weights = Scratch::new(BLOCK.min(n_queries) * n_keys);
        let mut grad_weights = Scratch::new(BLOCK.min(n_queries) * n_keys);
        for head in 0..sizes.n_heads {
            for first in (0..n_queries).step_by(BLOCK) {
                let rows = Block { first, n_rows: BLOCK.min(n_queries - first), head };
                let weights = (&mut *weights, &mut *grad_weights);
                backward_block(
                    sizes,
                    rows,
                    (by_query, by_key),
                    mask,
                    weights,
                    (&mut *grad_query, &mut *grad_key, &mut *grad_value),
                );
            }
        }
    })
}

/// Queries of one head.
#[derive(Clone, Copy)]
struct Block {
    first: usize,
    n_rows: usize,
    head: usize,
}

/// dV += Pᵀ·dO; dP = dO·Vᵀ; dS = P∘(dP − rowsum(P∘dP))·scale; dQ = dS·K; dK += dSᵀ·Q. With one key dS is exactly zero.
fn backward_block(
    sizes: &Sizes,
    Block { first, n_rows, head }: Block,
    (by_query, by_key): (&[f32], &[f32]),
    mask: Option<&[f32]>,
    (weights, grad_weights): (&mut [f32], &mut [f32]),
    (grad_query, grad_key, grad_value): (&mut [f32], &mut [f32], &mut [f32]),
) {
    let Sizes { n_queries, n_keys, width, .. } = *sizes;
    let of_query = |part: usize| sizes.head(&by_query[(part * n_queries + first) * width..], head, n_rows);
    let of_key = |part: usize| sizes.head(&by_key[part * n_keys * width..], head, n_keys);
    let (query, grad) = (of_query(0), of_query(1));
    let (key, value) = (of_key(0), of_key(1));
    sizes.weights(query, key, mask_rows(mask, first, n_keys), weights);
    let (n_weights, scale) = (n_rows * n_keys, sizes.scale());
    let p = Matrix::rows(&weights[..n_weights], n_rows, n_keys);
    gemm(sizes.head_mut(grad_value, head, n_keys), p.t(), grad, true, false);
    gemm(MatrixMut::rows(grad_weights, n_rows, n_keys), grad, value.t(), false, false);
    let rows = grad_weights[..n_weights].chunks_exact_mut(n_keys).zip(weights.chunks_exact(n_keys));
    for (grad_row, weights) in rows {
        vectorised(
            #[inline(always)]
            || {
                let inner = sum2(grad_row, weights, |grad, weight| grad * weight);
                grad_row.iter_mut().zip(weights).for_each(|(grad, weight)| *grad = weight * (*grad - inner) * scale);
            },
        );
    }
    let grad_scores = Matrix::rows(&grad_weights[..n_weights], n_rows, n_keys);
    gemm(sizes.head_mut(&mut grad_query[first * width..], head, n_rows), grad_scores, key, false, false);
    gemm(sizes.head_mut(grad_key, head, n_keys), grad_scores.t(), query, true, false);
}
