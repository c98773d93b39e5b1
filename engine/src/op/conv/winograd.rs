//! 3×3 convolution with stride 1 in Winograd's form F(4×4, 3×3): a quarter of the multiplications.
//!
//! Inputs and kernels become 36 points each; every point is a matrix product over channels, C_out × C_in × tiles. The
//! gradient of the weight is the adjoint of the same form, so costs the same.

#![expect(clippy::needless_range_loop, reason = "the index says where in several arrays")]

use std::ops::Range;

use pulp::Arch;
use rayon::prelude::*;

use super::geometry::Geometry;
use super::tiles::{POINTS, Tiling};
use super::transforms::{LANES, OnVectors, apply, copy, fill, kernel, kernel_adjoint, zeros};
use crate::op::gemm::{Matrix, MatrixMut, gemm};
use crate::op::scratch::Scratch;

/// Numbers in one block of transformed inputs: what a call may hold.
const INPUTS: usize = 10 << 20;
/// Numbers in one block of transformed kernels: what the caches hold between their making and their use.
const KERNELS: usize = 2 << 20;
/// Numbers between the ends of two channels, so that channels do not fall onto the same places of a cache.
const GAP: usize = 16;

/// Where the taps of a kernel lie: those of one pair of channels are nine in a row.
#[derive(Clone, Copy)]
pub(super) struct Kernel<'a> {
    pub(super) taps: &'a [f32],
    pub(super) out_stride: usize,
    pub(super) in_stride: usize,
    /// Whether the taps are read from the last to the first.
    pub(super) flipped: bool,
}

impl Kernel<'_> {
    /// G·g·Gᵀ of all input channels of one output channel: `into` is (POINTS, C_in).
    #[inline(always)]
    fn transform(&self, out_channel: usize, c_in: usize, into: &mut [f32]) {
        let mut square = zeros::<3>();
        for first in (0..c_in).step_by(LANES) {
            let n = (c_in - first).min(LANES);
            for lane in 0..n {
                let start = out_channel * self.out_stride + (first + lane) * self.in_stride;
                let taps = &self.taps[start..][..9];
                for tap in 0..9 {
                    square[tap / 3][tap % 3][lane] = taps[tap];
                }
            }
            if self.flipped {
                square.as_flattened_mut().reverse();
            }
            let transformed = apply(&square, kernel);
            for (point, lanes) in transformed.as_flattened().iter().enumerate() {
                copy(&mut into[point * c_in + first..][..n], lanes);
            }
        }
    }
}

/// Whether this form fits.
pub(super) fn fits(geometry: &Geometry) -> bool {
    let Geometry { k_height, k_width, stride, padding, .. } = *geometry;
    (k_height, k_width, stride) == (3, 3, 1) && padding <= 2
}

/// Whether this form is the faster: few tiles do not pay for the transform of a large kernel, few channels not for that
/// of the tiles.
pub(super) fn pays(geometry: &Geometry) -> bool {
    let Geometry { c_in, c_out, .. } = *geometry;
    let least_tiles = if POINTS * c_in * c_out <= KERNELS { 8 } else { 24 };
    fits(geometry) && Tiling::new(geometry).n_tiles() >= least_tiles && c_in.min(c_out) >= 16
}

/// Ranges of `len` that together are `0..n`.
fn blocks(n: usize, len: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(len).map(move |start| start..(start + len).min(n))
}

/// A matrix for one of the points of `data` (channels, POINTS, n), channels `GAP` apart.
fn at_point(data: &[f32], point: usize, n_channels: usize, n: usize) -> Matrix<'_> {
    Matrix { data: &data[point * n..], rows: n_channels, cols: n, row_stride: POINTS * n + GAP, col_stride: 1 }
}

/// The closure as it is: an argument may carry attributes, a binding not yet.
fn inlined<T: ?Sized, F: Fn(usize, &mut T)>(work: F) -> F {
    work
}

/// Fills `into` (channels, POINTS, n) channel by channel.
fn for_channels(into: &mut [f32], n: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let arch = Arch::new();
    let channels = into.par_chunks_mut(POINTS * n + GAP).enumerate();
    channels.for_each(|(at, into)| arch.dispatch(OnVectors { work: &work, at, into }));
}

/// y (B, C_out, H', W') of `x` (B, C_in, H, W); `y` holds the bias already.
pub(super) fn convolve(geometry: &Geometry, x: &[f32], kernel: Kernel<'_>, y: &mut [f32]) {
    let Geometry { c_in, c_out, .. } = *geometry;
    let tiling = Tiling::new(geometry);
    let n_pixels = geometry.out_pixels();
    let tile_len = (INPUTS / (POINTS * c_in)).next_multiple_of(LANES).min(tiling.n_tiles());
    let out_len = (KERNELS / (POINTS * c_in)).next_multiple_of(LANES).min(c_out);
    let mut inputs = Scratch::new(c_in * (POINTS * tile_len + GAP));
    let mut kernels = Scratch::new(out_len * (POINTS * c_in + GAP));
    let mut products = Scratch::new(POINTS * out_len * tile_len);
    for tiles in blocks(tiling.n_tiles(), tile_len) {
        let n_tiles = tiles.len();
        let inputs = &mut inputs[..c_in * (POINTS * n_tiles + GAP)];
        for_channels(
            inputs,
            n_tiles,
            #[inline(always)]
            |channel, into| tiling.inputs(x, channel, &tiles, into),
        );
        let images = tiling.images(&tiles);
        for channels in blocks(c_out, out_len) {
            let n_out = channels.len();
            let kernels = &mut kernels[..n_out * (POINTS * c_in + GAP)];
            for_channels(
                kernels,
                c_in,
                #[inline(always)]
                |channel, into| kernel.transform(channels.start + channel, c_in, into),
            );
            let products = &mut products[..POINTS * n_out * n_tiles];
            products.par_chunks_mut(n_out * n_tiles).enumerate().for_each(|(point, products)| {
                let kernels = at_point(kernels, point, n_out, c_in);
                let inputs = at_point(inputs, point, c_in, n_tiles);
                gemm(MatrixMut::rows(products, n_out, n_tiles), kernels, inputs, false, false);
            });
            let mut planes: Vec<Vec<&mut [f32]>> = channels.clone().map(|_| Vec::with_capacity(images.len())).collect();
            for image in y.chunks_exact_mut(c_out * n_pixels).skip(images.start).take(images.len()) {
                let of_block = image.chunks_exact_mut(n_pixels).skip(channels.start);
                for (planes, plane) in planes.iter_mut().zip(of_block) {
                    planes.push(plane);
                }
            }
            let work = inlined(
                #[inline(always)]
                |channel: usize, planes: &mut Vec<&mut [f32]>| {
                    tiling.outputs(&products[channel * n_tiles..], n_out * n_tiles, &tiles, images.start, planes);
                },
            );
            let arch = Arch::new();
            planes.par_iter_mut().enumerate().for_each(|(at, into)| arch.dispatch(OnVectors { work: &work, at, into }));
        }
    }
}

/// The gradient of the weight (C_out, C_in, 3, 3), given that of y, `grad` (B, C_out, H', W').
pub(super) fn weight_gradient(geometry: &Geometry, grad: &[f32], x: &[f32], grad_weight: &mut [f32]) {
    let Geometry { c_in, c_out, .. } = *geometry;
    let tiling = Tiling::new(geometry);
    let tile_len = (INPUTS / (POINTS * c_in.max(c_out))).next_multiple_of(LANES).min(tiling.n_tiles());
    let mut inputs = Scratch::new(c_in * (POINTS * tile_len + GAP));
    let mut grads = Scratch::new(c_out * (POINTS * tile_len + GAP));
    let mut products = Scratch::new(POINTS * c_out * c_in);
    for tiles in blocks(tiling.n_tiles(), tile_len) {
        let n_tiles = tiles.len();
        let inputs = &mut inputs[..c_in * (POINTS * n_tiles + GAP)];
        for_channels(
            inputs,
            n_tiles,
            #[inline(always)]
            |channel, into| tiling.inputs(x, channel, &tiles, into),
        );
        let grads = &mut grads[..c_out * (POINTS * n_tiles + GAP)];
        for_channels(
            grads,
            n_tiles,
            #[inline(always)]
            |channel, into| tiling.output_gradients(grad, channel, &tiles, into),
        );
        products.par_chunks_mut(c_out * c_in).enumerate().for_each(|(point, products)| {
            let grads = at_point(grads, point, c_out, n_tiles);
            let inputs = at_point(inputs, point, c_in, n_tiles);
            gemm(MatrixMut::rows(products, c_out, c_in), grads, inputs.t(), tiles.start > 0, false);
        });
    }
    let work = inlined(
        #[inline(always)]
        |channel: usize, into: &mut [f32]| taps(&products[channel * c_in..], c_out * c_in, c_in, into),
    );
    let arch = Arch::new();
    let channels = grad_weight.par_chunks_mut(c_in * 9).enumerate();
    channels.for_each(|(at, into)| arch.dispatch(OnVectors { work: &work, at, into }));
}

/// Gᵀ·u·G of all input channels of one output channel: `into` is (C_in, 9).
#[inline(always)]
fn taps(products: &[f32], stride: usize, c_in: usize, into: &mut [f32]) {
    let mut square = zeros::<6>();
    for first in (0..c_in).step_by(LANES) {
        let n = (c_in - first).min(LANES);
        for (point, lanes) in square.as_flattened_mut().iter_mut().enumerate() {
            fill(lanes, &products[point * stride + first..][..n]);
        }
        let transformed = apply(&square, kernel_adjoint);
        for (lane, into) in into[first * 9..].chunks_exact_mut(9).take(n).enumerate() {
            for (into, lanes) in into.iter_mut().zip(transformed.as_flattened()) {
                *into = lanes[lane];
            }
        }
    }
}
