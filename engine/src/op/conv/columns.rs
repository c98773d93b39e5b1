//! Convolution as matrix products over columns: every output pixel's inputs in one column (im2col).

use std::ops::Range;

use rayon::prelude::*;

use super::geometry::Geometry;
use crate::op::gemm::{Matrix, MatrixMut, gemm};
use crate::op::scratch::Scratch;

/// Numbers in one block of columns: what the second cache level holds beside the weights' panels.
const BLOCK: usize = 256 * 1024;

/// Writes the columns of `rows` (channels × taps) of one image (C_in, H, W): `into` is (rows, columns).
fn gather(geometry: &Geometry, image: &[f32], rows: Range<usize>, columns: &Range<usize>, into: &mut [f32]) {
    let taps = geometry.taps();
    for (row, into) in rows.zip(into.chunks_exact_mut(columns.len())) {
        let (channel, tap) = (row / taps, row % taps);
        let channel = &image[channel * geometry.pixels()..][..geometry.pixels()];
        into.fill(0.0);
        geometry.runs(tap / geometry.k_width, tap % geometry.k_width, columns, |column, pixel, n| {
            let into = &mut into[column..column + n];
            if geometry.stride == 1 {
                into.copy_from_slice(&channel[pixel..pixel + n]);
            } else {
                for (into, value) in into.iter_mut().zip(channel[pixel..].iter().step_by(geometry.stride)) {
                    *into = *value;
                }
            }
        });
    }
}

/// Adds the columns of whole channels, `from` (channels × taps, columns), to where they were gathered from.
fn scatter(geometry: &Geometry, from: &[f32], columns: &Range<usize>, channels: &mut [f32]) {
    let taps = geometry.taps();
    for (row, from) in from.chunks_exact(columns.len()).enumerate() {
        let (channel, tap) = (row / taps, row % taps);
        let channel = &mut channels[channel * geometry.pixels()..][..geometry.pixels()];
        geometry.runs(tap / geometry.k_width, tap % geometry.k_width, columns, |column, pixel, n| {
            let from = &from[column..column + n];
            if geometry.stride == 1 {
                for (into, value) in channel[pixel..pixel + n].iter_mut().zip(from) {
                    *into += *value;
                }
            } else {
                for (into, value) in channel[pixel..].iter_mut().step_by(geometry.stride).zip(from) {
                    *into += *value;
                }
            }
        });
    }
}

/// Output pixels in one block of columns.
fn block_len(geometry: &Geometry, budget: usize) -> usize {
    let n_rows = geometry.c_in * geometry.taps();
    (budget / n_rows).next_multiple_of(64).min(geometry.out_pixels())
}

fn blocks(geometry: &Geometry, len: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let n = geometry.out_pixels();
    (0..n).step_by(len.max(1)).map(move |start| start..(start + len).min(n))
}

/// Whether images are shared out to the cores, rather than the work on each.
fn by_image(geometry: &Geometry) -> bool {
    geometry.batch >= rayon::current_num_threads()
}

/// Runs `work` on every part of `out`, one for each image.
fn for_images(geometry: &Geometry, out: &mut [f32], image_len: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    if by_image(geometry) {
        out.par_chunks_mut(image_len).enumerate().for_each(|(image, out)| work(image, out));
    } else {
        out.chunks_mut(image_len).enumerate().for_each(|(image, out)| work(image, out));
    }
}

/// y (B, C_out, H', W') of `x` (B, C_in, H, W) and `weight` (C_out, C_in·k·k); `y` holds the bias already.
pub(super) fn forward(geometry: &Geometry, x: &[f32], weight: &[f32], y: &mut [f32]) {
    let (n_rows, n_columns) = (geometry.c_in * geometry.taps(), geometry.out_pixels());
    let parallel = !by_image(geometry);
    let image_len = geometry.c_in * geometry.pixels();
    let weight = Matrix::rows(weight, geometry.c_out, n_rows);
    for_images(geometry, y, geometry.c_out * n_columns, |image, y| {
        let image = &x[image * image_len..][..image_len];
        if geometry.is_pointwise() {
            gemm(
                MatrixMut::rows(y, geometry.c_out, n_columns),
                weight,
                Matrix::rows(image, n_rows, n_columns),
                true,
                parallel,
            );
            return;
        }
        let len = block_len(geometry, if parallel { 16 * BLOCK } else { BLOCK });
        let mut buffer = Scratch::new(n_rows * len);
        for block in blocks(geometry, len) {
            let columns = &mut buffer[..n_rows * block.len()];
            if parallel {
                columns.par_chunks_mut(block.len() * geometry.taps()).enumerate().for_each(|(channel, columns)| {
                    let first = channel * geometry.taps();
                    gather(geometry, image, first..first + geometry.taps(), &block, columns);
                });
            } else {
                gather(geometry, image, 0..n_rows, &block, columns);
            }
            let y = MatrixMut {
                data: &mut y[block.start..],
                rows: geometry.c_out,
                cols: block.len(),
                row_stride: n_columns,
                col_stride: 1,
            };
            gemm(y, weight, Matrix::rows(columns, n_rows, block.len()), true, parallel);
        }
    });
}

/// The gradient of `x` (B, C_in, H, W), given that of y, `grad` (B, C_out, H', W').
pub(super) fn input_gradient(geometry: &Geometry, grad: &[f32], weight: &[f32], grad_x: &mut [f32]) {
    let (n_rows, n_columns) = (geometry.c_in * geometry.taps(), geometry.out_pixels());
    let parallel = !by_image(geometry);
    let grad_len = geometry.c_out * n_columns;
    let weight = Matrix::rows(weight, geometry.c_out, n_rows).t();
    for_images(geometry, grad_x, geometry.c_in * geometry.pixels(), |image, grad_x| {
        let grad = &grad[image * grad_len..][..grad_len];
        if geometry.is_pointwise() {
            gemm(
                MatrixMut::rows(grad_x, n_rows, n_columns),
                weight,
                Matrix::rows(grad, geometry.c_out, n_columns),
                false,
                parallel,
            );
            return;
        }
        let len = block_len(geometry, if parallel { 16 * BLOCK } else { BLOCK });
        let mut buffer = Scratch::new(n_rows * len);
        for block in blocks(geometry, len) {
            let columns = &mut buffer[..n_rows * block.len()];
            let grad = Matrix {
                data: &grad[block.start..],
                rows: geometry.c_out,
                cols: block.len(),
                row_stride: n_columns,
                col_stride: 1,
            };
            gemm(MatrixMut::rows(columns, n_rows, block.len()), weight, grad, false, parallel);
            if parallel {
                let channels = columns.par_chunks(block.len() * geometry.taps());
                let pairs = grad_x.par_chunks_mut(geometry.pixels()).zip(channels);
                pairs.for_each(|(channel, columns)| scatter(geometry, columns, &block, channel));
            } else {
                scatter(geometry, columns, &block, grad_x);
            }
        }
    });
}

/// The gradient of the weight, transposed: (C_in·k·k, C_out), given that of y, `grad` (B, C_out, H', W').
///
/// Channels of the input are shared out to the cores, so that none waits for another's sum.
pub(super) fn weight_gradient(geometry: &Geometry, grad: &[f32], x: &[f32], grad_weight: &mut [f32]) {
    let (taps, n_columns) = (geometry.taps(), geometry.out_pixels());
    let (image_len, grad_len) = (geometry.c_in * geometry.pixels(), geometry.c_out * n_columns);
    let at_most = geometry.c_in.div_ceil(rayon::current_num_threads());
    let n_channels = (BLOCK / (taps * n_columns.min(512))).clamp(1, at_most);
    grad_weight.par_chunks_mut(n_channels * taps * geometry.c_out).enumerate().for_each(|(group, grad_weight)| {
        let n_rows = grad_weight.len() / geometry.c_out;
        let first = group * n_channels * taps;
        let len = (BLOCK / n_rows).next_multiple_of(64).min(n_columns);
        let mut buffer = Scratch::new(n_rows * len);
        for image in 0..geometry.batch {
            let grad = &grad[image * grad_len..][..grad_len];
            let image = &x[image * image_len..][..image_len];
            for block in blocks(geometry, len) {
                let columns = &mut buffer[..n_rows * block.len()];
                gather(geometry, image, first..first + n_rows, &block, columns);
                let grad = Matrix {
                    data: &grad[block.start..],
                    rows: geometry.c_out,
                    cols: block.len(),
                    row_stride: n_columns,
                    col_stride: 1,
                };
                let into = MatrixMut::rows(grad_weight, n_rows, geometry.c_out);
                gemm(into, Matrix::rows(columns, n_rows, block.len()), grad.t(), true, false);
            }
        }
    });
}
