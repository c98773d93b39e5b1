//! Where all randomness of the engine comes from: named places in a tree under one seed.

use candle_core::{Device, Result, Shape, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use rand_distr::{Distribution as _, StandardNormal};

/// ChaCha's stream numbers by use: below 256 a byte of a purpose, then these. No two uses share one, so that no name can
/// stand for another, and numbers that are drawn tell nothing of the keys below.
const END_OF_PURPOSE: u64 = 256;
const INDEX: u64 = 257;
const DRAWS: u64 = 258;

/// A place in a tree of random sequences. Everything under one seed is fixed: the same seed, purposes and indices give
/// the same numbers, in every process, on every device, in every order, and however many are drawn elsewhere.
///
/// A place has no state: drawing twice gives the same numbers twice. Give every use its own [`Noise::of`] or
/// [`Noise::at`]:
///
/// ```
/// # use cafe_engine::noise::Noise;
/// let image = Noise::new(7);
/// let start = image.of("latents"); // x_T of this image, whatever the others in its batch are
/// let third = image.of("step").at(2); // what its third step adds
/// assert_ne!(start.integers(4, 1000), third.integers(4, 1000));
/// ```
///
/// The numbers are part of the crate's promise: they change only with a note in the changelog, and a test pins them.
/// (The tails of the normal distribution use `ln` and `exp`, whose last bit may differ between platforms.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noise {
    key: [u8; 32],
}

impl Noise {
    /// The root of the tree of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { key: [0; 32] }.child(INDEX).child(seed)
    }

    /// The place for `purpose` under this one.
    #[must_use]
    pub fn of(&self, purpose: &str) -> Self {
        // One key per byte, as in the pseudo-random functions of Goldreich, Goldwasser and Micali: different purposes
        // have keys that are as good as independent.
        purpose.bytes().fold(self.clone(), |noise, byte| noise.child(u64::from(byte))).child(END_OF_PURPOSE)
    }

    /// The place number `index` under this one: a step, an epoch, a row of a batch.
    #[must_use]
    pub fn at(&self, index: u64) -> Self {
        self.child(INDEX).child(index)
    }

    fn child(&self, stream: u64) -> Self {
        let mut key = [0; 32];
        self.stream(stream).fill_bytes(&mut key);
        Self { key }
    }

    fn stream(&self, stream: u64) -> ChaCha8Rng {
        let mut source = ChaCha8Rng::from_seed(self.key);
        source.set_stream(stream);
        source
    }

    /// Standard normal numbers, f32. The first numbers do not depend on how many follow.
    ///
    /// # Errors
    /// Of the tensors.
    pub fn normal(&self, shape: impl Into<Shape>, device: &Device) -> Result<Tensor> {
        let shape = shape.into();
        Tensor::from_vec(self.normals(shape.elem_count()), shape, device)
    }

    fn normals(&self, n: usize) -> Vec<f32> {
        let source = &mut self.stream(DRAWS);
        // Drawn in f64, where the tails reach further, then rounded.
        (0..n)
            .map(|_| {
                let value: f64 = StandardNormal.sample(source);
                value as f32
            })
            .collect()
    }

    /// Standard normal numbers, f32, of shape (rows, `row`…): each row from its own place, and so the same whichever rows
    /// are beside it.
    ///
    /// # Errors
    /// Of the tensors.
    pub fn normal_rows(rows: &[Self], row: impl Into<Shape>, device: &Device) -> Result<Tensor> {
        let row = row.into();
        let numbers: Vec<f32> = rows.iter().flat_map(|noise| noise.normals(row.elem_count())).collect();
        let dims: Vec<usize> = std::iter::once(rows.len()).chain(row.dims().iter().copied()).collect();
        Tensor::from_vec(numbers, dims, device)
    }

    /// `n` integers, each of 0 to `below` - 1 equally often; all 0 when `below` is 0.
    #[must_use]
    pub fn integers(&self, n: usize, below: u32) -> Vec<u32> {
        let mut source = self.stream(DRAWS);
        (0..n).map(|_| integer(&mut source, below)).collect()
    }

    /// `n` times whether it happened, each with this probability of 0 to 1.
    #[must_use]
    pub fn bernoulli(&self, n: usize, probability: f64) -> Vec<bool> {
        let mut source = self.stream(DRAWS);
        (0..n).map(|_| uniform(&mut source) < probability).collect()
    }

    /// `n` numbers of [0, 1), equally likely.
    #[must_use]
    pub fn uniform(&self, n: usize) -> Vec<f64> {
        let mut source = self.stream(DRAWS);
        (0..n).map(|_| uniform(&mut source)).collect()
    }

    /// The numbers 0 to `n` - 1 in random order, every order equally likely.
    #[must_use]
    pub fn permutation(&self, n: u32) -> Vec<u32> {
        let mut source = self.stream(DRAWS);
        let mut order: Vec<u32> = (0..n).collect();
        for last in (1..n).rev() {
            order.swap(last as usize, integer(&mut source, last + 1) as usize);
        }
        order
    }
}

/// An integer below `below`, by Lemire's multiplication: draws that would make some values likelier are dropped.
fn integer(source: &mut ChaCha8Rng, below: u32) -> u32 {
    let too_low = below.wrapping_neg().checked_rem(below).unwrap_or(0);
    loop {
        let product = u64::from(source.next_u32()) * u64::from(below);
        if product as u32 >= too_low {
            return (product >> 32) as u32;
        }
    }
}

fn uniform(source: &mut ChaCha8Rng) -> f64 {
    (source.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
#[path = "seed_tests.rs"]
mod tests;
