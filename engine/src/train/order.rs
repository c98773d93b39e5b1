//! Which pairs are in which batch: every pair once in an epoch, in an order of the epoch's own.

use crate::noise::Noise;

/// The rows of batch `index` (from 0) of `batch_size`, of `n_rows` in all. Batches run on from one epoch into the next,
/// so that none is smaller. A function of its arguments alone: a training that goes on needs no state for it.
pub(crate) fn batch_rows(index: u64, batch_size: usize, n_rows: usize, noise: &Noise) -> Vec<usize> {
    let mut rows = Vec::with_capacity(batch_size);
    let n_pairs = n_rows as u64;
    let mut position = index * batch_size as u64;
    let mut epoch: Option<(u64, Vec<u32>)> = None;
    while rows.len() < batch_size && n_rows > 0 {
        let number = position / n_pairs;
        let order = match epoch.take() {
            Some((of, order)) if of == number => order,
            _ => noise.of("epoch").at(number).permutation(u32::try_from(n_rows).unwrap_or(u32::MAX)),
        };
        let place = usize::try_from(position % n_pairs).unwrap_or_default();
        rows.extend(order.get(place).map(|row| *row as usize));
        epoch = Some((number, order));
        position += 1;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_epoch_has_every_row_once_in_an_order_of_its_own() {
        let noise = Noise::new(5);
        let rows: Vec<usize> = (0..7).flat_map(|index| batch_rows(index, 3, 7, &noise)).collect();
        assert_eq!(rows.len(), 21);
        let epochs: Vec<&[usize]> = rows.chunks(7).collect();
        for epoch in &epochs {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4, 5, 6]);
        }
        assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2]);
    }

    #[test]
    fn a_batch_may_be_larger_than_all_there_is() {
        let rows = batch_rows(0, 5, 2, &Noise::new(5));
        assert_eq!(rows.len(), 5);
        assert!(rows.iter().all(|row| *row < 2));
        assert!(batch_rows(0, 5, 0, &Noise::new(5)).is_empty());
    }
}
