//! Images cut into the tiles of Winograd's transform: 4×4 outputs, of 6×6 inputs that overlap.

#![expect(clippy::needless_range_loop, reason = "the index says where in several arrays")]

use std::ops::Range;

use super::geometry::Geometry;
use super::transforms::{LANES, Square, apply, copy, fill, input, output, output_adjoint, zeros};

/// Products of one tile.
pub(super) const POINTS: usize = 36;

/// How a batch of images is cut: tile `t` is counted through images, then rows, then across.
#[derive(Clone, Copy)]
pub(super) struct Tiling {
    geometry: Geometry,
    across: usize,
    per_image: usize,
}

impl Tiling {
    pub(super) fn new(geometry: &Geometry) -> Self {
        let (down, across) = (geometry.out_height.div_ceil(4), geometry.out_width.div_ceil(4));
        Self { geometry: *geometry, across, per_image: down * across }
    }

    /// Tiles of the whole batch.
    pub(super) fn n_tiles(&self) -> usize {
        self.geometry.batch * self.per_image
    }

    /// Image, and row and column of the first output, of a tile.
    #[inline(always)]
    fn place(&self, tile: usize) -> (usize, usize, usize) {
        let (image, tile) = (tile / self.per_image, tile % self.per_image);
        (image, tile / self.across * 4, tile % self.across * 4)
    }

    /// Bᵀ·d·B of the `tiles` of one channel of `x`: `into` is (POINTS, tiles).
    #[inline(always)]
    pub(super) fn inputs(&self, x: &[f32], channel: usize, tiles: &Range<usize>, into: &mut [f32]) {
        let Geometry { c_in, height, width, padding, .. } = self.geometry;
        self.squares(
            tiles,
            into,
            #[inline(always)]
            |tile, lane, square: &mut Square<6>| {
                let (image, row, column) = self.place(tile);
                let plane = &x[(image * c_in + channel) * height * width..][..height * width];
                let inside = row >= padding && column >= padding;
                if inside && row + 6 <= height + padding && column + 6 <= width + padding {
                    for i in 0..6 {
                        let from = &plane[(row + i - padding) * width + column - padding..][..6];
                        for j in 0..6 {
                            square[i][j][lane] = from[j];
                        }
                    }
                    return;
                }
                for i in 0..6 {
                    for j in 0..6 {
                        let (y, x) = ((row + i).wrapping_sub(padding), (column + j).wrapping_sub(padding));
                        square[i][j][lane] = if y < height && x < width { plane[y * width + x] } else { 0.0 };
                    }
                }
            },
            #[inline(always)]
            |square| apply(square, input),
        );
    }

    /// A·g·Aᵀ of the `tiles` of one channel of `grad`, the gradient of y: `into` is (POINTS, tiles).
    #[inline(always)]
    pub(super) fn output_gradients(&self, grad: &[f32], channel: usize, tiles: &Range<usize>, into: &mut [f32]) {
        let Geometry { c_out, out_height: height, out_width: width, .. } = self.geometry;
        self.squares(
            tiles,
            into,
            #[inline(always)]
            |tile, lane, square: &mut Square<4>| {
                let (image, row, column) = self.place(tile);
                let plane = &grad[(image * c_out + channel) * height * width..][..height * width];
                let (n_rows, n_columns) = ((height - row).min(4), (width - column).min(4));
                for i in 0..4 {
                    for j in 0..4 {
                        let inside = i < n_rows && j < n_columns;
                        square[i][j][lane] = if inside { plane[(row + i) * width + column + j] } else { 0.0 };
                    }
                }
            },
            #[inline(always)]
            |square| apply(square, output_adjoint),
        );
    }

    /// Fills `into` (POINTS, tiles) with what `transform` makes of the squares that `load` reads.
    #[inline(always)]
    fn squares<const N: usize>(
        &self,
        tiles: &Range<usize>,
        into: &mut [f32],
        load: impl Fn(usize, usize, &mut Square<N>),
        transform: impl Fn(&Square<N>) -> Square<6>,
    ) {
        let mut square = zeros::<N>();
        for first in tiles.clone().step_by(LANES) {
            let n = (tiles.end - first).min(LANES);
            for lane in 0..n {
                load(first + lane, lane, &mut square);
            }
            let transformed = transform(&square);
            for (point, lanes) in transformed.as_flattened().iter().enumerate() {
                copy(&mut into[point * tiles.len() + first - tiles.start..][..n], lanes);
            }
        }
    }

    /// Adds Aᵀ·m·A of the `tiles` of one channel to the planes of that channel, one for each image from `first_image`
    /// on. Product `point` of a tile is `products[point * stride + tile - tiles.start]`.
    #[inline(always)]
    pub(super) fn outputs(
        &self,
        products: &[f32],
        stride: usize,
        tiles: &Range<usize>,
        first_image: usize,
        planes: &mut [&mut [f32]],
    ) {
        let Geometry { out_height: height, out_width: width, .. } = self.geometry;
        let mut square = zeros::<6>();
        for first in tiles.clone().step_by(LANES) {
            let n = (tiles.end - first).min(LANES);
            for (point, lanes) in square.as_flattened_mut().iter_mut().enumerate() {
                fill(lanes, &products[point * stride + first - tiles.start..][..n]);
            }
            let pixels = apply(&square, output);
            for lane in 0..n {
                let (image, row, column) = self.place(first + lane);
                let plane = &mut *planes[image - first_image];
                let (n_rows, n_columns) = ((height - row).min(4), (width - column).min(4));
                for i in 0..n_rows {
                    let into = &mut plane[(row + i) * width + column..][..n_columns];
                    for (into, pixel) in into.iter_mut().zip(&pixels[i]) {
                        *into += pixel[lane];
                    }
                }
            }
        }
    }

    /// The images that the `tiles` belong to.
    pub(super) fn images(&self, tiles: &Range<usize>) -> Range<usize> {
        tiles.start / self.per_image..tiles.end.div_ceil(self.per_image)
    }
}
