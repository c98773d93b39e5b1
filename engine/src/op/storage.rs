//! The numbers behind tensors.

use candle_core::{CpuStorage, Layout, Result, bail};

/// The f32 numbers of a contiguous tensor.
pub(super) fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("{layout:?} is not contiguous") };
    match storage.as_slice::<f32>()?.get(start..end) {
        Some(numbers) => Ok(numbers),
        None => bail!("{layout:?} reaches beyond its storage"),
    }
}
