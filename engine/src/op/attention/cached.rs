//! Attention to keys and values that are kept, for sequences of different lengths. No gradients.
//!
//! What a token gets depends on its own sequence alone, to the bit: sums run over keys in their order, however the keys are
//! cut into segments and whichever tokens are computed beside it.

use pulp::bytemuck::cast_slice;
use pulp::{Arch, NullaryFnOnce, Scalar};
use rayon::prelude::*;

use super::super::packed::kernel::{Single, Wide, rows, tile};
use super::super::vector::exp;

/// Keys whose scores are made together: they lie side by side, channel by channel.
const KEYS: usize = 16;
/// Channels of values whose sums are made together.
const CHANNELS: usize = 16;

/// Keys and values of one layer, position after position.
#[derive(Clone, Debug)]
pub(crate) struct KeyValues {
    n_heads: usize,
    head_dim: usize,
    len: usize,
    /// (positions / 16, heads, d, 16).
    keys: Vec<f32>,
    /// (positions, heads, d), d filled up to a multiple of 16 with zeros.
    values: Vec<f32>,
}

impl KeyValues {
    pub(crate) fn new(n_heads: usize, head_dim: usize) -> Self {
        Self { n_heads, head_dim, len: 0, keys: Vec::new(), values: Vec::new() }
    }

    /// Appends a position: `key` and `value` are (heads·d).
    pub(crate) fn push(&mut self, key: &[f32], value: &[f32]) {
        let block = self.n_heads * self.head_dim * KEYS;
        if self.len.is_multiple_of(KEYS) {
            self.keys.resize(self.keys.len() + block, 0.0);
        }
        let first = self.len / KEYS * block;
        let columns = self.keys[first..].chunks_exact_mut(KEYS);
        columns.zip(key).for_each(|(column, number)| column[self.len % KEYS] = *number);
        for head in value.chunks_exact(self.head_dim) {
            self.values.extend_from_slice(head);
            self.values.resize(self.values.len().next_multiple_of(CHANNELS), 0.0);
        }
        self.len += 1;
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn value_dim(&self) -> usize {
        self.head_dim.next_multiple_of(CHANNELS)
    }
}

/// The newest tokens of one sequence, and all that they may see.
pub(crate) struct Queries<'a> {
    /// (tokens, `stride`), of which the first heads·d are read.
    pub(crate) queries: &'a [f32],
    pub(crate) stride: usize,
    /// Heads of queries.
    pub(crate) n_heads: usize,
    /// Keys and values in order; the last ones are those of the tokens.
    pub(crate) segments: Vec<&'a KeyValues>,
}

/// A few tokens, and the heads of queries that share one head of keys.
struct Task<'a> {
    of: &'a Queries<'a>,
    /// Where its tokens are in what is returned.
    row: usize,
    first: usize,
    n_tokens: usize,
    kv_head: usize,
}

/// softmax(Q·Kᵀ/√d)·V of all sequences, one after the other: (tokens of all, heads·d).
pub(crate) fn attend(sequences: &[Queries<'_>]) -> Vec<f32> {
    attend_on(Arch::new(), sequences)
}

fn attend_on(arch: Arch, sequences: &[Queries<'_>]) -> Vec<f32> {
    let mut tasks = Vec::new();
    let (mut row, mut width) = (0, 0);
    for of in sequences {
        let Some(last) = of.segments.last() else { continue };
        let n_all = of.queries.len() / of.stride;
        let n_together = (rows(arch) * last.n_heads / of.n_heads).max(1);
        for first in (0..n_all).step_by(n_together) {
            let n_tokens = n_together.min(n_all - first);
            tasks.extend((0..last.n_heads).map(|kv_head| Task { of, row: row + first, first, n_tokens, kv_head }));
        }
        row += n_all;
        width = of.n_heads * last.head_dim;
    }
    let found: Vec<Vec<f32>> = tasks.par_iter().map(|task| task.run(arch)).collect();
    let mut out = vec![0.0; row * width];
    for (task, found) in tasks.iter().zip(found) {
        let n_channels = found.len() / task.n_tokens;
        for (token, found) in found.chunks_exact(n_channels).enumerate() {
            let first = (task.row + token) * width + task.kv_head * n_channels;
            out[first..first + n_channels].copy_from_slice(found);
        }
    }
    out
}

impl Task<'_> {
    /// (tokens, heads that share, d).
    fn run(&self, arch: Arch) -> Vec<f32> {
        match arch {
            #[cfg(target_arch = "x86_64")]
            Arch::V4(simd) => simd.vectorize(Run::<_, 16, 1> { simd, task: self }),
            #[cfg(target_arch = "x86_64")]
            Arch::V3(simd) => simd.vectorize(Run::<_, 8, 2> { simd, task: self }),
            _ => self.in_vectors::<_, 1, 16>(Scalar),
        }
    }

    #[inline(always)]
    fn in_vectors<S: Wide<L>, const L: usize, const N: usize>(&self, simd: S) -> Vec<f32> {
        let Some(last) = self.of.segments.last() else { return Vec::new() };
        let (head_dim, n_shares) = (last.head_dim, self.of.n_heads / last.n_heads);
        let mut out = vec![0.0; self.n_tokens * n_shares * head_dim];
        for (index, out) in out.chunks_mut(S::ROWS * head_dim).enumerate() {
            let first = index * S::ROWS;
            match out.len() / head_dim {
                1 => self.rows::<S, L, N, 1>(simd, first, out),
                2 => self.rows::<S, L, N, 2>(simd, first, out),
                3 => self.rows::<S, L, N, 3>(simd, first, out),
                4 => self.rows::<S, L, N, 4>(simd, first, out),
                5 => self.rows::<S, L, N, 5>(simd, first, out),
                6 => self.rows::<S, L, N, 6>(simd, first, out),
                7 => self.rows::<S, L, N, 7>(simd, first, out),
                _ => self.rows::<S, L, N, 8>(simd, first, out),
            }
        }
        out
    }

    /// `M` pairs of a token and a head, from the pair `first` on.
    #[inline(always)]
    fn rows<S: Wide<L>, const L: usize, const N: usize, const M: usize>(&self, simd: S, first: usize, out: &mut [f32]) {
        let segments = &self.of.segments;
        let Some(last) = segments.last() else { return };
        let (head_dim, n_shares) = (last.head_dim, self.of.n_heads / last.n_heads);
        let n_all: usize = segments.iter().map(|segment| segment.len).sum();
        let n_queries = self.of.queries.len() / self.of.stride;
        let token = |pair: usize| self.first + (first + pair) / n_shares;
        // The keys that a pair sees; the last pair of the task sees most.
        let n_seen = |pair: usize| n_all + 1 + token(pair) - n_queries;
        let n_keys = n_seen(M - 1);

        let mut query = vec![0.0; head_dim * M]; // (d, M)
        for pair in 0..M {
            let head = self.kv_head * n_shares + (first + pair) % n_shares;
            let begin = token(pair) * self.of.stride + head * head_dim;
            let numbers = &self.of.queries[begin..begin + head_dim];
            query.chunks_exact_mut(M).zip(numbers).for_each(|(column, number)| column[pair] = *number);
        }
        let mut weights = vec![0.0; M * n_keys]; // (M, keys)
        let zeros = [[simd.splat_f32s(0.0); N]; M];
        let mut begin = 0;
        for segment in segments {
            let blocks = segment.keys.chunks_exact(segment.n_heads * head_dim * KEYS);
            for (index, block) in blocks.enumerate() {
                let at = begin + index * KEYS;
                let n = KEYS.min(segment.len - index * KEYS).min(n_keys.saturating_sub(at));
                if n == 0 {
                    break;
                }
                let keys = &block[self.kv_head * head_dim * KEYS..(self.kv_head + 1) * head_dim * KEYS];
                let scores = tile::<S, Single, L, N, M>(simd, &query, keys, (KEYS, 0), zeros);
                for (weights, scores) in weights.chunks_exact_mut(n_keys).zip(&scores) {
                    let scores: &[f32] = cast_slice(scores);
                    weights[at..at + n].copy_from_slice(&scores[..n]);
                }
            }
            begin += segment.len;
        }
        let scale = 1.0 / (head_dim as f32).sqrt();
        for (pair, weights) in weights.chunks_exact_mut(n_keys).enumerate() {
            let (seen, hidden) = weights.split_at_mut(n_seen(pair));
            softmax(seen, scale);
            hidden.fill(0.0);
        }
        let mut by_key = vec![0.0; weights.len()]; // (keys, M)
        for (pair, weights) in weights.chunks_exact(n_keys).enumerate() {
            by_key.chunks_exact_mut(M).zip(weights).for_each(|(column, weight)| column[pair] = *weight);
        }
        let (value_dim, stride) = (last.value_dim(), last.n_heads * last.value_dim());
        for channel in (0..head_dim).step_by(CHANNELS) {
            let (mut sums, mut rest) = (zeros, by_key.as_slice());
            for segment in segments {
                let (now, later) = rest.split_at((segment.len * M).min(rest.len()));
                let place = (stride, self.kv_head * value_dim + channel);
                sums = tile::<S, Single, L, N, M>(simd, now, &segment.values, place, sums);
                rest = later;
            }
            let n = CHANNELS.min(head_dim - channel);
            for (out, sums) in out.chunks_exact_mut(head_dim).zip(&sums) {
                let sums: &[f32] = cast_slice(sums);
                out[channel..channel + n].copy_from_slice(&sums[..n]);
            }
        }
    }
}

/// Not a closure, for the reason that `packed::kernel` gives.
struct Run<'a, S, const L: usize, const N: usize> {
    simd: S,
    task: &'a Task<'a>,
}

impl<S: Wide<L>, const L: usize, const N: usize> NullaryFnOnce for Run<'_, S, L, N> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn call(self) -> Vec<f32> {
        self.task.in_vectors::<S, L, N>(self.simd)
    }
}

#[inline(always)]
fn softmax(row: &mut [f32], scale: f32) {
    let (blocks, rest) = row.as_chunks::<16>();
    let mut largest = [f32::NEG_INFINITY; 16];
    for block in blocks {
        for (largest, x) in largest.iter_mut().zip(block) {
            *largest = if *x > *largest { *x } else { *largest };
        }
    }
    let largest = largest.iter().chain(rest).fold(f32::NEG_INFINITY, |largest, x| largest.max(*x));
    row.iter_mut().for_each(|x| *x = exp((*x - largest) * scale));
    let norm = 1.0 / super::super::vector::sum(row, |x| x);
    row.iter_mut().for_each(|x| *x *= norm);
}

#[cfg(test)]
#[path = "cached_tests.rs"]
mod tests;
