//! Between rows and panels.

use rayon::prelude::*;

use super::kernel::{Format, PANEL};

/// Appends one output's numbers, of a panel.
pub(super) fn extend<F: Format>(panel: &[F::Bits], column: usize, n_in: usize, found: &mut Vec<f32>) {
    found.extend(panel.chunks_exact(PANEL).take(n_in).map(|outputs| F::value(outputs[column])));
}

/// Rows (`n_out`, `n_in`) in panels; the last is filled up with zeros.
pub(super) fn packed<T: Copy + Default + Send + Sync>(rows: &[T], n_in: usize) -> Vec<T> {
    let n_out = rows.len() / n_in;
    let mut panels = vec![T::default(); n_out.div_ceil(PANEL) * PANEL * n_in];
    panels.par_chunks_mut(PANEL * n_in).zip(rows.par_chunks(PANEL * n_in)).for_each(|(panel, rows)| {
        for (column, row) in rows.chunks_exact(n_in).enumerate() {
            panel.chunks_exact_mut(PANEL).zip(row).for_each(|(outputs, number)| outputs[column] = *number);
        }
    });
    panels
}

/// (panels, rows, 48) to (rows, `n_out`).
pub(super) fn by_row(mut by_panel: Vec<f32>, n_rows: usize, n_out: usize) -> Vec<f32> {
    if n_rows <= 1 {
        by_panel.truncate(n_rows * n_out);
        return by_panel;
    }
    let mut rows = vec![0.0; n_rows * n_out];
    rows.par_chunks_mut(n_out).with_min_len(8).enumerate().for_each(|(row, out)| {
        for (panel, out) in out.chunks_mut(PANEL).enumerate() {
            let first = (panel * n_rows + row) * PANEL;
            out.copy_from_slice(&by_panel[first..first + out.len()]);
        }
    });
    rows
}

/// (rows, `width`) to (`width`, rows).
pub(super) fn turned(x: &[f32], width: usize) -> Vec<f32> {
    let n_rows = x.len() / width;
    let mut found = vec![0.0; x.len()];
    if n_rows > 0 {
        found.par_chunks_mut(16 * n_rows).enumerate().for_each(|(block, found)| {
            let (first, n_cols) = (block * 16, found.len() / n_rows);
            for (row, x) in x.chunks_exact(width).enumerate() {
                for (col, x) in x[first..first + n_cols].iter().enumerate() {
                    found[col * n_rows + row] = *x;
                }
            }
        });
    }
    found
}
