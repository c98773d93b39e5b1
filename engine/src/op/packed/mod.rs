//! Products with a weight that is never trained, kept as its file has it: in half precision where that is what was
//! published, which halves what must be read from memory.
//!
//! Outputs lie in panels of 48, (panel, inputs, 48): a panel is read once from end to end for all rows. Sums are f32. A
//! row's result does not depend on the rows beside it, to the bit.

pub(crate) mod kernel;
mod layout;

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor, bail};
use pulp::Arch;

use self::kernel::{Brain, Format, Half, PANEL, Single, blocks, panel};
use self::layout::{by_row, extend, packed, turned};
use super::gemm::{Matrix, MatrixMut, gemm};
use super::storage::{in_chunks, numbers};

/// Inputs whose gradient one thread makes at a time.
const INPUTS: usize = 96;
/// Panels that are made f32 at a time for a gradient.
const PANELS: usize = 16;

/// A frozen weight (`n_out`, `n_in`).
#[derive(Clone)]
pub struct Frozen {
    weight: Weight,
}

#[derive(Clone)]
enum Weight {
    Packed(Arc<Packed>),
    /// On a device that is not the CPU: f32.
    Plain(Tensor),
}

/// A weight in panels, on the CPU. All numbers are finite.
pub(crate) struct Packed {
    n_out: usize,
    n_in: usize,
    numbers: Numbers,
}

enum Numbers {
    Half(Vec<u16>),
    Brain(Vec<u16>),
    Single(Vec<f32>),
}

impl Frozen {
    /// Of tensors on the CPU, (`n`, `n_in`) each, whose outputs come one after the other. Where all are f16 or all are bf16 they
    /// stay so; otherwise they become f32. On another `device` than the CPU they become f32.
    ///
    /// # Errors
    /// When shapes do not fit, a number is not finite, or of the tensors.
    pub fn new(parts: &[Tensor], device: &Device) -> Result<Self> {
        let weight = if device.is_cpu() {
            Weight::Packed(Arc::new(Packed::new(parts)?))
        } else {
            let parts =
                parts.iter().map(|part| part.to_device(device)?.to_dtype(DType::F32)).collect::<Result<Vec<_>>>()?;
            Weight::Plain(Tensor::cat(&parts, 0)?)
        };
        Ok(Self { weight })
    }

    /// x·Wᵀ: `x` is (…, `n_in`) of f32; returns (…, `n_out`). Has a gradient of `x`.
    ///
    /// # Errors
    /// When the shape does not fit, or of the tensors.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.weight {
            Weight::Packed(packed) if super::is_fused(x) => x.contiguous()?.apply_op1(Product(Arc::clone(packed))),
            Weight::Packed(packed) => super::linear(x, &packed.unpacked()?, None),
            Weight::Plain(weight) => super::linear(x, weight, None),
        }
    }

    /// Rows of the weight: what `ids` stand for where it is a table. Returns (ids, `n_in`), f32, on the weight's device.
    ///
    /// # Errors
    /// When there are no ids, one is beyond the table, or of the tensors.
    pub fn rows(&self, ids: &[u32]) -> Result<Tensor> {
        let n_out = match &self.weight {
            Weight::Packed(packed) => packed.n_out,
            Weight::Plain(weight) => weight.dim(0)?,
        };
        if let Some(id) = ids.iter().find(|id| **id as usize >= n_out) {
            bail!("id {id} is beyond a table of {n_out} rows");
        }
        match &self.weight {
            Weight::Packed(packed) => {
                let mut found = Vec::with_capacity(ids.len() * packed.n_in);
                ids.iter().for_each(|id| packed.extend_by_row(*id as usize, &mut found));
                Tensor::from_vec(found, (ids.len(), packed.n_in), &Device::Cpu)
            }
            Weight::Plain(weight) => {
                weight.index_select(&Tensor::from_vec(ids.to_vec(), ids.len(), weight.device())?, 0)
            }
        }
    }

    /// The panels, when it is on the CPU.
    pub(crate) fn packed(&self) -> Option<&Packed> {
        match &self.weight {
            Weight::Packed(packed) => Some(packed),
            Weight::Plain(_) => None,
        }
    }
}

impl std::fmt::Debug for Frozen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.weight {
            Weight::Packed(packed) => write!(f, "Frozen({}, {})", packed.n_out, packed.n_in),
            Weight::Plain(weight) => write!(f, "Frozen({weight:?})"),
        }
    }
}

impl Packed {
    fn new(parts: &[Tensor]) -> Result<Self> {
        let Some(first) = parts.first() else { bail!("a weight of no parts") };
        let (_, n_in) = first.dims2()?;
        let mut n_out = 0;
        for part in parts {
            let (rows, cols) = part.dims2()?;
            if cols != n_in || rows == 0 || cols == 0 {
                bail!("weights of shapes {:?} and {:?} have no product in common", first.dims(), part.dims());
            }
            n_out += rows;
        }
        let same = |dtype: DType| parts.iter().all(|part| part.dtype() == dtype);
        let all = |tensor: &Tensor| tensor.flatten_all();
        let finite =
            |is_finite: bool| if is_finite { Ok(()) } else { bail!("the weight has numbers that are not finite") };
        let mut bits: Vec<u16> = Vec::new();
        let numbers = if same(DType::F16) {
            for part in parts {
                bits.extend(all(part)?.to_vec1::<half::f16>()?.into_iter().map(half::f16::to_bits));
            }
            finite(bits.iter().all(|bits| half::f16::from_bits(*bits).is_finite()))?;
            Numbers::Half(packed(&bits, n_in))
        } else if same(DType::BF16) {
            for part in parts {
                bits.extend(all(part)?.to_vec1::<half::bf16>()?.into_iter().map(half::bf16::to_bits));
            }
            finite(bits.iter().all(|bits| half::bf16::from_bits(*bits).is_finite()))?;
            Numbers::Brain(packed(&bits, n_in))
        } else {
            let mut numbers: Vec<f32> = Vec::new();
            for part in parts {
                numbers.extend(all(part)?.to_dtype(DType::F32)?.to_vec1::<f32>()?);
            }
            finite(numbers.iter().all(|number| number.is_finite()))?;
            Numbers::Single(packed(&numbers, n_in))
        };
        Ok(Self { n_out, n_in, numbers })
    }

    /// x (rows, `n_in`)·Wᵀ: (rows, `n_out`).
    ///
    /// # Panics
    /// When `x` is not whole rows.
    pub(crate) fn product(&self, x: &[f32]) -> Vec<f32> {
        self.product_on(Arch::new(), x)
    }

    fn product_on(&self, arch: Arch, x: &[f32]) -> Vec<f32> {
        assert!(x.len().is_multiple_of(self.n_in), "{} numbers are not rows of {}", x.len(), self.n_in);
        let n_rows = x.len() / self.n_in;
        let by_panel = match &self.numbers {
            Numbers::Half(bits) => self.by_panel::<Half>(arch, x, bits),
            Numbers::Brain(bits) => self.by_panel::<Brain>(arch, x, bits),
            Numbers::Single(numbers) => self.by_panel::<Single>(arch, x, numbers),
        };
        by_row(by_panel, n_rows, self.n_out)
    }

    /// (panels, rows, 48).
    fn by_panel<F: Format>(&self, arch: Arch, x: &[f32], weights: &[F::Bits]) -> Vec<f32> {
        let n_rows = x.len() / self.n_in;
        let x = blocks(arch, x, self.n_in);
        let n_numbers = self.n_in * PANEL;
        // Sums begin as zeros that were written: zeros of the system's are read first, and each page is then changed twice.
        in_chunks(self.n_out.div_ceil(PANEL) * n_rows * PANEL, n_rows * PANEL, |index, out| {
            panel::<F>(arch, &x, self.n_in, &weights[index * n_numbers..(index + 1) * n_numbers], out);
        })
    }

    /// grad (rows, `n_out`)·W: (rows, `n_in`).
    fn transposed_product(&self, grad: &[f32]) -> Vec<f32> {
        match &self.numbers {
            Numbers::Half(bits) => self.transposed_of::<Half>(grad, bits),
            Numbers::Brain(bits) => self.transposed_of::<Brain>(grad, bits),
            Numbers::Single(numbers) => self.transposed_of::<Single>(grad, numbers),
        }
    }

    fn transposed_of<F: Format>(&self, grad: &[f32], weights: &[F::Bits]) -> Vec<f32> {
        let Self { n_out, n_in, .. } = *self;
        let n_rows = grad.len() / n_out;
        let by_output = turned(grad, n_out); // (n_out, rows)
        if n_rows == 0 {
            return Vec::new();
        }
        let by_input = in_chunks(n_in * n_rows, INPUTS * n_rows, |index, found| {
            let (first_input, n_inputs) = (index * INPUTS, found.len() / n_rows);
            let mut wide = vec![0.0; n_inputs * PANELS * PANEL];
            for first in (0..n_out).step_by(PANELS * PANEL) {
                let n_outputs = (n_out - first).min(PANELS * PANEL);
                for (index, panel) in weights[first * n_in..].chunks_exact(n_in * PANEL).take(PANELS).enumerate() {
                    let rows = panel[first_input * PANEL..].chunks_exact(PANEL);
                    for (wide, bits) in wide.chunks_exact_mut(PANELS * PANEL).zip(rows) {
                        let wide = &mut wide[index * PANEL..(index + 1) * PANEL];
                        F::values(bits, wide);
                    }
                }
                let wide =
                    Matrix { data: &wide, rows: n_inputs, cols: n_outputs, row_stride: PANELS * PANEL, col_stride: 1 };
                let grad = Matrix::rows(&by_output[first * n_rows..], n_outputs, n_rows);
                gemm(MatrixMut::rows(found, n_inputs, n_rows), wide, grad, true, false);
            }
        }); // (n_in, rows)
        turned(&by_input, n_rows)
    }

    /// Appends one row of the weight.
    fn extend_by_row(&self, row: usize, found: &mut Vec<f32>) {
        let (first, column) = (row / PANEL * PANEL * self.n_in, row % PANEL);
        match &self.numbers {
            Numbers::Half(bits) => extend::<Half>(&bits[first..], column, self.n_in, found),
            Numbers::Brain(bits) => extend::<Brain>(&bits[first..], column, self.n_in, found),
            Numbers::Single(numbers) => extend::<Single>(&numbers[first..], column, self.n_in, found),
        }
    }

    /// (`n_out`, `n_in`) of f32.
    fn unpacked(&self) -> Result<Tensor> {
        let mut found = Vec::with_capacity(self.n_out * self.n_in);
        (0..self.n_out).for_each(|row| self.extend_by_row(row, &mut found));
        Tensor::from_vec(found, (self.n_out, self.n_in), &Device::Cpu)
    }
}

struct Product(Arc<Packed>);

impl Product {
    /// The last dimension, `from`, becomes `to`.
    fn shape(layout: &Layout, from: usize, to: usize) -> Result<Shape> {
        let mut dims = layout.dims().to_vec();
        match dims.last_mut() {
            Some(last) if *last == from => *last = to,
            _ => bail!("a linear layer of {from} inputs was given {:?}", layout.dims()),
        }
        Ok(Shape::from(dims))
    }
}

impl CustomOp1 for Product {
    fn name(&self) -> &'static str {
        "frozen-linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = Self::shape(layout, self.0.n_in, self.0.n_out)?;
        Ok((CpuStorage::F32(self.0.product(numbers(x, layout)?)), shape))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(grad.contiguous()?.apply_op1_no_bwd(&Gradient(&self.0))?))
    }
}

/// Of the gradient of y: that of x.
struct Gradient<'a>(&'a Packed);

impl CustomOp1 for Gradient<'_> {
    fn name(&self) -> &'static str {
        "frozen-linear-gradient"
    }

    fn cpu_fwd(&self, grad: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = Product::shape(layout, self.0.n_out, self.0.n_in)?;
        Ok((CpuStorage::F32(self.0.transposed_product(numbers(grad, layout)?)), shape))
    }
}

#[cfg(test)]
mod tests;
