//! Sizes of a convolution, and where its columns read the image.

use std::ops::Range;

use candle_core::{Result, Tensor, bail};

/// The sizes of one convolution, checked once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub(super) batch: usize,
    pub(super) c_in: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) c_out: usize,
    pub(super) k_height: usize,
    pub(super) k_width: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
    pub(super) out_height: usize,
    pub(super) out_width: usize,
}

impl Geometry {
    /// Of `x` (B, C_in, H, W) and `weight` (C_out, C_in, k_h, k_w).
    ///
    /// # Errors
    /// When they do not fit.
    pub(super) fn new(x: &Tensor, weight: &Tensor, stride: usize, padding: usize) -> Result<Self> {
        let (batch, c_in, height, width) = x.dims4()?;
        let (c_out, weight_c_in, k_height, k_width) = weight.dims4()?;
        if weight_c_in != c_in {
            bail!(
                "conv2d: the input {:?} has {c_in} channels, the weight {:?} takes {weight_c_in}",
                x.dims(),
                weight.dims()
            );
        }
        if stride == 0 || weight.elem_count() == 0 {
            bail!("conv2d: stride {stride} with the weight {:?}: none may be zero", weight.dims());
        }
        let out = |size: usize, kernel: usize| Some((size + 2 * padding).checked_sub(kernel)? / stride + 1);
        let (Some(out_height), Some(out_width)) = (out(height, k_height), out(width, k_width)) else {
            bail!("conv2d: the weight {:?} is larger than the input {:?} padded by {padding}", weight.dims(), x.dims());
        };
        Ok(Self { batch, c_in, height, width, c_out, k_height, k_width, stride, padding, out_height, out_width })
    }

    /// Pixels of one channel of the input.
    pub(super) fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Pixels of one channel of the output.
    pub(super) fn out_pixels(&self) -> usize {
        self.out_height * self.out_width
    }

    /// Places of the kernel.
    pub(super) fn taps(&self) -> usize {
        self.k_height * self.k_width
    }

    /// Of the convolution of the gradient of y with the flipped kernel, which gives the gradient of x; of stride 1 only.
    pub(super) fn adjoint(&self) -> Option<Self> {
        if self.stride != 1 || self.k_height != self.k_width {
            return None;
        }
        Some(Self {
            c_in: self.c_out,
            height: self.out_height,
            width: self.out_width,
            c_out: self.c_in,
            padding: (self.k_height - 1).checked_sub(self.padding)?,
            out_height: self.height,
            out_width: self.width,
            ..*self
        })
    }

    /// How much of the padded height and width is read: a stride may leave the rest.
    pub(super) fn read_size(&self) -> (usize, usize) {
        let read = |n_out: usize, kernel: usize| (n_out - 1) * self.stride + kernel;
        (read(self.out_height, self.k_height), read(self.out_width, self.k_width))
    }

    /// Whether the columns are the image itself.
    pub(super) fn is_pointwise(&self) -> bool {
        self.taps() == 1 && self.stride == 1 && self.padding == 0
    }

    /// The outputs `o` of one axis whose input `o·stride + tap − padding` lies in `0..size`.
    fn inside(&self, size: usize, n_out: usize, tap: usize) -> Range<usize> {
        let start = self.padding.saturating_sub(tap).div_ceil(self.stride);
        let end = (size + self.padding).saturating_sub(tap).div_ceil(self.stride).min(n_out);
        start.min(end)..end
    }

    /// Calls `run(column, pixel, n)` for every run of `n` columns, counted from `columns.start`, that the tap
    /// (`ky`, `kx`) reads from one row of a channel, `stride` pixels apart, from `pixel` on. Columns are output
    /// pixels; those that no run covers read padding.
    pub(super) fn runs(&self, ky: usize, kx: usize, columns: &Range<usize>, mut run: impl FnMut(usize, usize, usize)) {
        let rows = self.inside(self.height, self.out_height, ky);
        let across = self.inside(self.width, self.out_width, kx);
        let first = rows.start.max(columns.start / self.out_width);
        let last = rows.end.min(columns.end.div_ceil(self.out_width));
        for row in first..last {
            let start = (row * self.out_width + across.start).max(columns.start);
            let end = (row * self.out_width + across.end).min(columns.end);
            if start < end {
                let y = row * self.stride + ky - self.padding;
                let x = (start - row * self.out_width) * self.stride + kx - self.padding;
                run(start - columns.start, y * self.width + x, end - start);
            }
        }
    }
}
