//! What is kept of a sequence: keys and values of every layer.

use std::sync::Arc;

use super::config::LlamaConfig;
use crate::op::attention::cached::KeyValues;

/// A sequence that a [`Llama`](super::Llama) has read so far: its tokens' keys and values, from which it goes on.
///
/// What is [frozen](Self::freeze) is shared by clones: read a prompt's beginning once, freeze it, and clone it for each
/// sequence that begins so.
#[derive(Clone, Debug)]
pub struct Sequence {
    frozen: Vec<Arc<Segment>>,
    /// Of each layer.
    newest: Segment,
    n_frozen: usize,
    shape: Shape,
}

/// Keys and values of each layer.
type Segment = Vec<KeyValues>;

/// What a model's keys look like: a sequence of one model means nothing to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    n_layers: usize,
    n_kv_heads: usize,
    head_dim: usize,
}

impl Shape {
    pub(super) fn of(config: &LlamaConfig) -> Self {
        Self { n_layers: config.num_hidden_layers, n_kv_heads: config.n_kv_heads(), head_dim: config.head_dim() }
    }

    fn segment(&self) -> Segment {
        vec![KeyValues::new(self.n_kv_heads, self.head_dim); self.n_layers]
    }
}

impl Sequence {
    /// A sequence of a model with this `config`, of no tokens.
    #[must_use]
    pub fn new(config: &LlamaConfig) -> Self {
        let shape = Shape::of(config);
        Self { frozen: Vec::new(), newest: shape.segment(), n_frozen: 0, shape }
    }

    /// How many tokens it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.n_frozen + self.newest.last().map_or(0, KeyValues::len)
    }

    /// Whether it has no tokens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// From here on, what it has is shared by its clones, and takes memory once.
    pub fn freeze(&mut self) {
        if self.len() > self.n_frozen {
            self.n_frozen = self.len();
            self.frozen.push(Arc::new(std::mem::replace(&mut self.newest, self.shape.segment())));
        }
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Appends a position to a layer.
    pub(super) fn push(&mut self, layer: usize, key: &[f32], value: &[f32]) {
        if let Some(newest) = self.newest.get_mut(layer) {
            newest.push(key, value);
        }
    }

    /// A layer's keys and values, in order.
    pub(super) fn segments(&self, layer: usize) -> Vec<&KeyValues> {
        let frozen = self.frozen.iter().filter_map(|segment| segment.get(layer));
        frozen.chain(self.newest.get(layer)).collect()
    }
}
