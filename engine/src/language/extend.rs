//! Reading further tokens of several sequences at once, with what is kept of those before them. No gradients.
//!
//! Tokens of all sequences lie one after the other, without padding. A token's result depends on its own sequence alone, to
//! the bit.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::block::Block;
use super::llama::Llama;
use super::sequence::{Sequence, Shape};
use crate::op::Frozen;
use crate::op::attention::cached::{Queries, attend};
use crate::op::norm::rms_norm_rows;
use crate::op::swiglu::swiglu_rows;

/// Of which tokens the final state is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    All,
    /// The last of each sequence.
    Last,
}

impl Llama {
    /// Reads further tokens: `embeddings` (T, C) of each of the `sequences`, which are as many and may differ in length. Returns
    /// their states after the final norm, (T, C) each, as [`forward`](Self::forward) does. No gradients.
    ///
    /// # Errors
    /// When the model is not on the CPU, shapes do not fit, or a sequence becomes longer than the model's positions; then none
    /// is changed.
    pub fn extend(&self, sequences: &mut [Sequence], embeddings: &[Tensor]) -> Result<Vec<Tensor>> {
        let mut sequences: Vec<&mut Sequence> = sequences.iter_mut().collect();
        let hidden = self.extend_all(&mut sequences, embeddings, Wanted::All)?;
        let mut rest = hidden.as_slice();
        let mut found = Vec::with_capacity(embeddings.len());
        for embeddings in embeddings {
            let (now, later) = rest.split_at(embeddings.elem_count());
            found.push(Tensor::from_slice(now, embeddings.dims(), &Device::Cpu)?);
            rest = later;
        }
        Ok(found)
    }

    /// The states of all tokens, or of the last of each sequence, one after the other: (tokens, C).
    pub(super) fn extend_all(
        &self,
        sequences: &mut [&mut Sequence],
        embeddings: &[Tensor],
        wanted: Wanted,
    ) -> Result<Vec<f32>> {
        let width = self.config.hidden_size;
        if sequences.len() != embeddings.len() {
            bail!("{} sequences and embeddings of {}", sequences.len(), embeddings.len());
        }
        let mut x = Vec::new();
        let mut n_tokens = Vec::with_capacity(embeddings.len());
        for (sequence, embeddings) in sequences.iter().zip(embeddings) {
            let (n, found) = embeddings.dims2()?;
            if found != width || n == 0 {
                bail!("embeddings of shape {:?}: this model takes tokens of width {width}", embeddings.dims());
            }
            let (longest, length) = (self.config.max_position_embeddings, sequence.len() + n);
            if length > longest {
                bail!("a sequence of {length} tokens: this model takes {longest} at most");
            }
            if sequence.shape() != Shape::of(&self.config) {
                bail!("the sequence was read by another model");
            }
            x.extend(embeddings.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?);
            n_tokens.push(n);
        }
        self.run(sequences, x, &n_tokens, wanted)
    }

    fn run(
        &self,
        sequences: &mut [&mut Sequence],
        mut x: Vec<f32>,
        n_tokens: &[usize],
        wanted: Wanted,
    ) -> Result<Vec<f32>> {
        for (layer, block) in self.blocks.iter().enumerate() {
            self.block(layer, block, sequences, &mut x, n_tokens)?;
        }
        if wanted == Wanted::Last {
            let width = self.config.hidden_size;
            let ends = n_tokens.iter().scan(0, |end, n| {
                *end += n * width;
                Some(*end)
            });
            x = ends.flat_map(|end| x[end - width..end].to_vec()).collect();
        }
        Ok(rms_norm_rows(&x, &self.norm.to_vec1::<f32>()?, self.config.rms_norm_eps as f32))
    }

    fn block(
        &self,
        layer: usize,
        block: &Block,
        sequences: &mut [&mut Sequence],
        x: &mut [f32],
        n_tokens: &[usize],
    ) -> Result<()> {
        let eps = self.config.rms_norm_eps as f32;
        let Block { n_heads, n_kv_heads, head_dim, .. } = *block;
        let (of_queries, of_keys) = (n_heads * head_dim, n_kv_heads * head_dim);
        let stride = of_queries + 2 * of_keys;
        let normed = rms_norm_rows(x, &block.input_layernorm.to_vec1::<f32>()?, eps);
        let mut qkv = product(&block.qkv_proj, &normed)?; // (tokens, queries + keys + values)
        let mut rest = qkv.as_mut_slice();
        for (sequence, n) in sequences.iter_mut().zip(n_tokens) {
            let (now, later) = rest.split_at_mut(n * stride);
            let first = sequence.segments(layer).iter().map(|segment| segment.len()).sum::<usize>();
            for (index, token) in now.chunks_exact_mut(stride).enumerate() {
                let (turned, value) = token.split_at_mut(of_queries + of_keys);
                self.rope.turn(turned, first + index, false);
                sequence.push(layer, &turned[of_queries..], value);
            }
            rest = later;
        }
        let mut rest = qkv.as_slice();
        let mut queries = Vec::with_capacity(sequences.len());
        for (sequence, n) in sequences.iter().zip(n_tokens) {
            let (now, later) = rest.split_at(n * stride);
            queries.push(Queries { queries: now, stride, n_heads, segments: sequence.segments(layer) });
            rest = later;
        }
        add(x, &product(&block.o_proj, &attend(&queries))?);
        let normed = rms_norm_rows(x, &block.post_attention_layernorm.to_vec1::<f32>()?, eps);
        let inner = swiglu_rows(&product(&block.gate_up_proj, &normed)?, self.config.intermediate_size);
        add(x, &product(&block.down_proj, &inner)?);
        Ok(())
    }

    /// The scores of all tokens to come next: `hidden` is (rows, C), and what is returned (rows, vocabulary).
    pub(super) fn logits_of(&self, hidden: &[f32]) -> Result<Vec<f32>> {
        product(self.head(), hidden)
    }
}

fn product(weight: &Frozen, x: &[f32]) -> Result<Vec<f32>> {
    match weight.packed() {
        Some(packed) => Ok(packed.product(x)),
        None => bail!("sequences are kept on the CPU: load the model there"),
    }
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}
