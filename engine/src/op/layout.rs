//! Between pixels (B, C, H, W) and tokens (B, H·W, C).

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::storage::{in_chunks, numbers};

/// Columns that one thread writes at a time; with as many rows of a cache line, they stay in the cache.
const BLOCK: usize = 16;

/// (B, C, H, W) → (B, H·W, C).
///
/// # Errors
/// Of the tensors.
pub fn channels_last(x: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    transposed(&x.reshape((batch, channels, height * width))?)
}

/// (B, H·W, C) → (B, C, H, W).
///
/// # Errors
/// When there are not `height`·`width` tokens, or of the tensors.
pub fn channels_first(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (batch, n_tokens, channels) = x.dims3()?;
    if n_tokens != height * width {
        bail!("{n_tokens} tokens are not {height}×{width} pixels");
    }
    transposed(x)?.reshape((batch, channels, height, width))
}

/// (B, M, N) → (B, N, M), contiguous.
fn transposed(x: &Tensor) -> Result<Tensor> {
    if super::is_fused(x) && x.elem_count() > 0 {
        x.contiguous()?.apply_op1(Transposed)
    } else {
        x.transpose(1, 2)?.contiguous()
    }
}

struct Transposed;

impl CustomOp1 for Transposed {
    fn name(&self) -> &'static str {
        "transposed"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, n_rows, n_cols) = layout.shape().dims3()?;
        let x = numbers(x, layout)?;
        let y = in_chunks(x.len(), n_rows * n_cols, |image, y| {
            let x = &x[image * n_rows * n_cols..][..n_rows * n_cols];
            y.par_chunks_mut(BLOCK * n_rows).enumerate().for_each(|(block, y)| {
                let (first, n) = (block * BLOCK, y.len() / n_rows);
                for (row, x) in x.chunks_exact(n_cols).enumerate() {
                    for (col, x) in x[first..first + n].iter().enumerate() {
                        y[col * n_rows + row] = *x;
                    }
                }
            });
        });
        Ok((CpuStorage::F32(y), Shape::from((batch, n_cols, n_rows))))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(grad.contiguous()?.apply_op1_no_bwd(self)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{compare, normal};
    use super::*;

    #[test]
    fn fused_is_composed() {
        let x = normal(1, &[2, 37, 5, 7]);
        compare(std::slice::from_ref(&x), |tensors| channels_last(&tensors[0]));
        let tokens = normal(2, &[2, 35, 37]);
        compare(std::slice::from_ref(&tokens), |tensors| channels_first(&tensors[0], 5, 7));
        let back = channels_first(&channels_last(&x).unwrap(), 5, 7).unwrap();
        crate::golden::assert_close("there and back", &back, &x, 0.0);
        assert!(channels_first(&tokens, 5, 6).is_err());
    }
}
