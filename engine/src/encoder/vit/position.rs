//! Learned positions of patches, and their interpolation to pictures of other sizes.

use candle_core::{Device, Result, Tensor};

/// What a cubic convolution kernel bends by: PyTorch's choice.
const A: f64 = -0.75;

/// One learned vector for the CLS token, and one for each patch of a square grid.
#[derive(Clone, Debug)]
pub(in crate::encoder) struct PositionEmbedding {
    /// (1, 1 + side², C)
    all: Tensor,
    side: usize,
}

impl PositionEmbedding {
    /// `all` is (1, 1 + `side`², C).
    pub(in crate::encoder) fn new(all: Tensor, side: usize) -> Self {
        Self { all, side }
    }

    /// Positions for `rows` × `columns` patches: (1, 1 + rows·columns, C). Another grid than the learned one is
    /// interpolated as `Dinov2Embeddings.interpolate_pos_encoding` of HF transformers does: bicubic, to a size (not by a
    /// factor), without antialiasing.
    pub(in crate::encoder) fn for_grid(&self, (rows, columns): (usize, usize)) -> Result<Tensor> {
        if (rows, columns) == (self.side, self.side) {
            return Ok(self.all.clone());
        }
        let (side, width, device) = (self.side, self.all.dim(2)?, self.all.device());
        let cls = self.all.narrow(1, 0, 1)?; // (1, 1, C)
        let patches = self.all.narrow(1, 1, side * side)?.reshape((side, side * width))?;
        let down = cubic(side, rows, device)?.matmul(&patches)?.reshape((rows, side, width))?;
        let across = cubic(side, columns, device)?.broadcast_left(rows)?.contiguous()?; // (rows, columns, side)
        let patches = across.matmul(&down)?.reshape((1, rows * columns, width))?;
        Tensor::cat(&[&cls, &patches], 1)
    }
}

/// The matrix (`to`, `from`) that resamples `from` values to `to`, as `torch.nn.functional.interpolate` does with
/// `mode="bicubic", align_corners=False`: values beyond the border are those at the border.
fn cubic(from: usize, to: usize, device: &Device) -> Result<Tensor> {
    let mut matrix = vec![0f64; to * from];
    let last = from.saturating_sub(1) as f64;
    for (i, row) in matrix.chunks_exact_mut(from.max(1)).enumerate() {
        let at = (i as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        let fraction = at - at.floor();
        for tap in [-1.0, 0.0, 1.0, 2.0] {
            let source = (at.floor() + tap).clamp(0.0, last) as usize;
            if let Some(weight) = row.get_mut(source) {
                *weight += kernel((tap - fraction).abs());
            }
        }
    }
    let matrix: Vec<f32> = matrix.into_iter().map(|weight| weight as f32).collect();
    Tensor::from_vec(matrix, (to, from), device)
}

/// The cubic convolution kernel at `distance`, 0 to 2.
fn kernel(distance: f64) -> f64 {
    if distance <= 1.0 {
        ((A + 2.0) * distance - (A + 3.0)) * distance * distance + 1.0
    } else {
        ((A * distance - 5.0 * A) * distance + 8.0 * A) * distance - 4.0 * A
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_resampling_sums_to_one() {
        for (from, to) in [(37, 16), (14, 16), (1, 5), (5, 1), (2, 3), (4, 4)] {
            let rows = cubic(from, to, &Device::Cpu).unwrap().to_vec2::<f32>().unwrap();
            for row in &rows {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{from} to {to}: {row:?}");
            }
            if from == to {
                assert_eq!(rows[0], [1.0, 0.0, 0.0, 0.0]);
            }
        }
    }

    #[test]
    fn the_learned_grid_is_taken_as_it_is() {
        let all = Tensor::arange(0f32, 30.0, &Device::Cpu).unwrap().reshape((1, 10, 3)).unwrap();
        let positions = PositionEmbedding::new(all.clone(), 3).for_grid((3, 3)).unwrap();
        assert_eq!(positions.to_vec3::<f32>().unwrap(), all.to_vec3::<f32>().unwrap());
    }
}
