//! The numbers behind tensors.

use std::mem::MaybeUninit;

use candle_core::{CpuStorage, Layout, Result, bail};
use rayon::prelude::*;

/// The f32 numbers of a contiguous tensor.
pub(super) fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("{layout:?} is not contiguous") };
    match storage.as_slice::<f32>()?.get(start..end) {
        Some(numbers) => Ok(numbers),
        None => bail!("{layout:?} reaches beyond its storage"),
    }
}

/// `len` numbers, made on every core, `chunk` of them at a time. Each chunk begins as zeros; `work` is given its index and
/// its numbers.
pub(super) fn in_chunks(len: usize, chunk: usize, work: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    in_chunks_from(len, chunk, |_| &[0.0], work)
}

/// As [`in_chunks`], but a chunk begins as repetitions of the row that `start` gives for its index.
pub(super) fn in_chunks_from<'a>(
    len: usize,
    chunk: usize,
    start: impl Fn(usize) -> &'a [f32] + Sync,
    work: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    // `vec![0.0; len]` is written by one core while the others wait, and out of the caches again before it is used: a
    // tenth of the time of a small UNet.
    let mut numbers: Vec<f32> = Vec::with_capacity(len);
    numbers.spare_capacity_mut()[..len].par_chunks_mut(chunk.max(1)).enumerate().for_each(|(index, places)| {
        match start(index) {
            [] => places.fill(MaybeUninit::new(0.0)),
            [number] => places.fill(MaybeUninit::new(*number)),
            row => places.chunks_mut(row.len()).for_each(|places| {
                places.iter_mut().zip(row).for_each(|(place, number)| *place = MaybeUninit::new(*number));
            }),
        }
        #[expect(unsafe_code, reason = "memory that is not written twice; see SAFETY")]
        // SAFETY: each arm above has written every place of the chunk; in the last, no part is longer than the row.
        work(index, unsafe { places.assume_init_mut() });
    });
    #[expect(unsafe_code, reason = "memory that is not written twice; see SAFETY")]
    // SAFETY: the chunks are all of the first `len` places, which are within the capacity, and each is initialised.
    unsafe {
        numbers.set_len(len);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_begin_as_their_rows() {
        let rows: [&[f32]; 4] = [&[], &[1.0], &[2.0, 3.0], &[4.0, 5.0, 6.0, 7.0, 8.0, 9.0]];
        let made = in_chunks_from(
            18,
            5,
            |index| rows[index],
            |index, chunk| chunk.iter_mut().for_each(|number| *number += 10.0 * index as f32),
        );
        let expected = [0, 0, 0, 0, 0, 11, 11, 11, 11, 11, 22, 23, 22, 23, 22, 34, 35, 36];
        assert_eq!(made, expected.map(|number| number as f32));
        assert_eq!(in_chunks(3, 0, |index, chunk| chunk[0] = index as f32), [0.0, 1.0, 2.0]);
        assert!(in_chunks(0, 7, |_, _| ()).is_empty());
    }
}
