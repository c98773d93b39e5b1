//! Matrix products over slices: the one door to the `gemm` crate.

use gemm::Parallelism;

/// A matrix laid over a slice: element (i, j) is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) row_stride: usize,
    pub(crate) col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows of `cols` numbers, one after the other.
    pub(crate) fn rows(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// The same numbers, rows for columns.
    pub(crate) fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }
}

/// A [`Matrix`] to write to.
pub(crate) struct MatrixMut<'a> {
    pub(crate) data: &'a mut [f32],
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) row_stride: usize,
    pub(crate) col_stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// Rows of `cols` numbers, one after the other.
    pub(crate) fn rows(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self { data, rows, cols, row_stride: cols, col_stride: 1 }
    }
}

/// dst = lhs·rhs, or dst += lhs·rhs when it `accumulate`s; on every core when `parallel`.
///
/// # Panics
/// When the shapes do not fit, a matrix reaches beyond its slice, or two elements of `dst` share a place.
pub(crate) fn gemm(dst: MatrixMut<'_>, lhs: Matrix<'_>, rhs: Matrix<'_>, accumulate: bool, parallel: bool) {
    assert!(dst.rows == lhs.rows && dst.cols == rhs.cols && lhs.cols == rhs.rows, "shapes of a matrix product");
    if dst.rows == 0 || dst.cols == 0 || (lhs.cols == 0 && accumulate) {
        return;
    }
    let reach = |rows: usize, cols: usize, row_stride: usize, col_stride: usize| {
        let last_row = rows.checked_sub(1)?.checked_mul(row_stride)?;
        last_row.checked_add(cols.checked_sub(1)?.checked_mul(col_stride)?)
    };
    let fits = |reach: Option<usize>, len: usize| reach.is_some_and(|reach| reach < len && len <= isize::MAX as usize);
    assert!(fits(reach(dst.rows, dst.cols, dst.row_stride, dst.col_stride), dst.data.len()), "dst beyond its slice");
    let apart = |inner: usize, inner_stride: usize, outer: usize, outer_stride: usize| {
        (inner == 1 || inner_stride > 0) && (outer == 1 || outer_stride > (inner - 1) * inner_stride)
    };
    assert!(
        apart(dst.cols, dst.col_stride, dst.rows, dst.row_stride)
            || apart(dst.rows, dst.row_stride, dst.cols, dst.col_stride),
        "elements of dst overlap"
    );
    if lhs.cols == 0 {
        for row in 0..dst.rows {
            for col in 0..dst.cols {
                dst.data[row * dst.row_stride + col * dst.col_stride] = 0.0;
            }
        }
        return;
    }
    assert!(fits(reach(lhs.rows, lhs.cols, lhs.row_stride, lhs.col_stride), lhs.data.len()), "lhs beyond its slice");
    assert!(fits(reach(rhs.rows, rhs.cols, rhs.row_stride, rhs.col_stride), rhs.data.len()), "rhs beyond its slice");
    let parallelism = if parallel { Parallelism::Rayon(0) } else { Parallelism::None };
    #[expect(unsafe_code, reason = "the gemm crate takes pointers; see SAFETY")]
    // SAFETY: every element (i, j) of the three matrices lies in its slice, since the farthest does (`reach`, without
    // overflow, and strides are not negative); `dst` is borrowed mutably, so overlaps neither `lhs` nor `rhs`, and its
    // elements lie apart from each other (`apart`), so threads that write different ones do not race. All are
    // initialised f32, and lengths fit isize.
    unsafe {
        gemm::gemm(
            dst.rows,
            dst.cols,
            lhs.cols,
            dst.data.as_mut_ptr(),
            dst.col_stride as isize,
            dst.row_stride as isize,
            accumulate,
            lhs.data.as_ptr(),
            lhs.col_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.col_stride as isize,
            rhs.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}
