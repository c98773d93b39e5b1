//! Numbers of tensors, changed where they lie.
//!
//! candle's in-place operations give one tensor to write to, and others to read: here they are nested, so that an update
//! can write to several in one pass.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Result, Tensor};
use rayon::prelude::*;

/// Numbers that one thread works through at a time: what fits its cache, and is worth a task.
pub(super) const CHUNK: usize = 16 * 1024;

/// Runs `work` on the numbers of `target`, which is in f32 and on the CPU.
pub(super) fn on(target: &Tensor, work: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<()> {
    target.inplace_op1(&Work(RefCell::new(Some(work))))
}

/// Runs `work` on the numbers of `target` and those of `source`, of one shape; both are in f32 and on the CPU.
pub(super) fn on_with(
    target: &Tensor,
    source: &Tensor,
    work: impl FnOnce(&mut [f32], &[f32]) -> Result<()>,
) -> Result<()> {
    if target.shape() != source.shape() {
        candle_core::bail!("an update of shape {:?} for a tensor of shape {:?}", source.shape(), target.shape());
    }
    target.inplace_op2(&source.contiguous()?, &Work(RefCell::new(Some(work))))
}

/// Runs `kernel` on pieces of both, in parallel. What it does to a number may depend on nothing but numbers of the same
/// place: then the result does not depend on the number of threads.
pub(super) fn each_pair(target: &mut [f32], source: &[f32], kernel: impl Fn(&mut [f32], &[f32]) + Sync) {
    let arch = pulp::Arch::new();
    target
        .par_chunks_mut(CHUNK)
        .zip(source.par_chunks(CHUNK))
        .for_each(|(target, source)| arch.dispatch(|| kernel(target, source)));
}

/// What is to be done, once.
struct Work<F>(RefCell<Option<F>>);

impl<F> Work<F> {
    fn take(&self) -> Result<F> {
        self.0.borrow_mut().take().ok_or_else(|| candle_core::Error::Msg("an update that ran already".to_owned()))
    }
}

fn numbers_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    let (CpuStorage::F32(numbers), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
        candle_core::bail!("an update in place needs a contiguous tensor of f32");
    };
    numbers.get_mut(start..end).ok_or_else(|| candle_core::Error::Msg("a layout beyond its storage".to_owned()))
}

fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (CpuStorage::F32(numbers), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
        candle_core::bail!("an update in place needs a contiguous source of f32");
    };
    numbers.get(start..end).ok_or_else(|| candle_core::Error::Msg("a layout beyond its storage".to_owned()))
}

impl<F: FnOnce(&mut [f32]) -> Result<()>> InplaceOp1 for Work<F> {
    fn name(&self) -> &'static str {
        "update"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        self.take()?(numbers_mut(storage, layout)?)
    }
}

impl<F: FnOnce(&mut [f32], &[f32]) -> Result<()>> InplaceOp2 for Work<F> {
    fn name(&self) -> &'static str {
        "update"
    }

    fn cpu_fwd(
        &self,
        target: &mut CpuStorage,
        target_layout: &Layout,
        source: &CpuStorage,
        source_layout: &Layout,
    ) -> Result<()> {
        self.take()?(numbers_mut(target, target_layout)?, numbers(source, source_layout)?)
    }
}
