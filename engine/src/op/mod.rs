//! Operations that candle has not, has slow, or has with a wrong gradient.
//!
//! Each has a fused form for the CPU and one composed of candle's differentiable operations, for every other device.
//! [`is_fused`] chooses. Both have gradients; a test compares them.

pub mod activation;
pub mod add;
pub mod attention;
pub mod conv;
pub mod cross_entropy;
pub(crate) mod gemm;
pub mod layout;
pub mod linear;
pub mod norm;
pub mod packed;
pub mod rope;
mod scratch;
mod storage;
pub mod swiglu;
#[cfg(test)]
mod testing;
pub mod upsample;
pub(crate) mod vector;

use std::cell::Cell;

use candle_core::{DType, Tensor};

pub use activation::{geglu, gelu, quick_gelu, silu};
pub use add::add;
pub use attention::attention;
pub use conv::conv2d;
pub use cross_entropy::cross_entropy;
pub use layout::{channels_first, channels_last};
pub use linear::linear;
pub use norm::{group_norm, group_norm_silu, layer_norm, rms_norm};
pub use packed::Frozen;
pub use rope::{Rope, RopeLayout};
pub use swiglu::swiglu;
pub use upsample::upsample_nearest_2x;

thread_local! {
    static COMPOSED: Cell<bool> = const { Cell::new(false) };
}

/// Whether `x` is taken by the fused form: it is on the CPU, and in f32.
pub(crate) fn is_fused(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32 && !COMPOSED.get()
}

/// Runs `work` as one of the threads that share out operations. From any other thread each operation is handed over to
/// them and waited for, which costs a small model more than the operations themselves.
///
/// Take no lock in `work` and compute while it is held: a thread that waits for a part of its work takes up other work meanwhile, and
/// where that wants the same lock, it waits for itself. Lock outside.
pub fn on_cores<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| work())
}

/// Runs `work` with the composed forms, on this thread: what other devices run.
pub fn composed<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            COMPOSED.set(self.0);
        }
    }
    let _restore = Restore(COMPOSED.replace(true));
    work()
}
