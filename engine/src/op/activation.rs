//! Activations.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, Layout, Result, Shape, Tensor, bail};

use super::storage::{in_chunks, numbers};
use super::vector::{erf, map, map2, sigmoid, vectorised};

/// GELU with the exact error function, as `torch.nn.functional.gelu` computes it; any shape.
///
/// # Errors
/// Of the tensors.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    if super::is_fused(x) { x.contiguous()?.apply_op1(Activation::Gelu) } else { x.gelu_erf() }
}

/// SiLU, x·σ(x); any shape.
///
/// # Errors
/// Of the tensors.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    if super::is_fused(x) { x.contiguous()?.apply_op1(Activation::Silu) } else { x.silu() }
}

/// OpenAI CLIP's approximation of GELU, x·σ(1.702·x); any shape.
///
/// # Errors
/// Of the tensors.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    if super::is_fused(x) {
        return x.contiguous()?.apply_op1(Activation::QuickGelu);
    }
    x * candle_nn::ops::sigmoid(&(x * f64::from(QUICK))?)?
}

/// GEGLU of `x` (…, 2C): its first half times the exact GELU of its second. Returns (…, C).
///
/// # Errors
/// When the last dimension is odd, or of the tensors.
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    if width == 0 || !width.is_multiple_of(2) {
        bail!("GEGLU of {:?}: the last dimension cannot be halved", x.dims());
    }
    if super::is_fused(x) {
        return x.contiguous()?.apply_op1(Geglu);
    }
    let (value, gate) = (x.narrow(D::Minus1, 0, width / 2)?, x.narrow(D::Minus1, width / 2, width / 2)?);
    value * gelu(&gate.contiguous()?)?
}

const QUICK: f32 = 1.702;

#[derive(Clone, Copy)]
enum Activation {
    Gelu,
    Silu,
    QuickGelu,
}

#[inline(always)]
fn gelu_of(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2).0)
}

/// Φ(x) + x·φ(x).
#[inline(always)]
fn gelu_slope(x: f32) -> f32 {
    const PEAK: f32 = 0.398_942_3; // 1/√(2π)
    let (erf, bell) = erf(x * std::f32::consts::FRAC_1_SQRT_2);
    0.5 * (1.0 + erf) + x * PEAK * bell
}

/// The slope of x·σ(a·x).
#[inline(always)]
fn swish_slope(x: f32, a: f32) -> f32 {
    let s = sigmoid(a * x);
    s + a * x * s * (1.0 - s)
}

impl CustomOp1 for Activation {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = numbers(x, layout)?;
        let y = match self {
            Self::Gelu => map(x, gelu_of),
            Self::Silu => map(
                x,
                #[inline(always)]
                |x| x * sigmoid(x),
            ),
            Self::QuickGelu => map(
                x,
                #[inline(always)]
                |x| x * sigmoid(QUICK * x),
            ),
        };
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(x.detach().contiguous()?.apply_op2_no_bwd(&grad.contiguous()?, self)?))
    }
}

/// The gradient of x, of x and the gradient of y.
impl CustomOp2 for Activation {
    fn name(&self) -> &'static str {
        "activation-gradient"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, grad: &CpuStorage, lg: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, grad) = (numbers(x, lx)?, numbers(grad, lg)?);
        let found = match self {
            Self::Gelu => map2(
                x,
                grad,
                #[inline(always)]
                |x, grad| grad * gelu_slope(x),
            ),
            Self::Silu => map2(
                x,
                grad,
                #[inline(always)]
                |x, grad| grad * swish_slope(x, 1.0),
            ),
            Self::QuickGelu => map2(
                x,
                grad,
                #[inline(always)]
                |x, grad| grad * swish_slope(x, QUICK),
            ),
        };
        Ok((CpuStorage::F32(found), lx.shape().clone()))
    }
}

struct Geglu;

impl CustomOp1 for Geglu {
    fn name(&self) -> &'static str {
        "geglu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = numbers(x, layout)?;
        let mut dims = layout.dims().to_vec();
        let Some(last) = dims.last_mut() else { bail!("GEGLU of a scalar") };
        let half = *last / 2;
        *last = half;
        let y = in_chunks(x.len() / 2, half, |index, y| {
            let (value, gate) = x[index * 2 * half..][..2 * half].split_at(half);
            vectorised(
                #[inline(always)]
                || y.iter_mut().zip(value.iter().zip(gate)).for_each(|(y, (value, gate))| *y = value * gelu_of(*gate)),
            );
        });
        Ok((CpuStorage::F32(y), Shape::from(dims)))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(x.detach().contiguous()?.apply_op2_no_bwd(&grad.contiguous()?, self)?))
    }
}

/// The gradient of x, of x and the gradient of y.
impl CustomOp2 for Geglu {
    fn name(&self) -> &'static str {
        "geglu-gradient"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, grad: &CpuStorage, lg: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, grad) = (numbers(x, lx)?, numbers(grad, lg)?);
        let half = lx.dims().last().copied().unwrap_or(2) / 2;
        let found = in_chunks(x.len(), 2 * half, |index, found| {
            let grad = &grad[index * half..];
            let (value, gate) = x[index * 2 * half..][..2 * half].split_at(half);
            let (of_value, of_gate) = found.split_at_mut(half);
            vectorised(
                #[inline(always)]
                || {
                    of_value
                        .iter_mut()
                        .zip(gate.iter().zip(grad))
                        .for_each(|(of, (gate, grad))| *of = grad * gelu_of(*gate));
                    let of_gate = of_gate.iter_mut().zip(gate.iter().zip(value.iter().zip(grad)));
                    of_gate.for_each(|(of, (gate, (value, grad)))| *of = grad * value * gelu_slope(*gate));
                },
            );
        });
        Ok((CpuStorage::F32(found), lx.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agrees_with_pytorch, compare, normal};
    use super::*;

    #[test]
    fn fused_is_composed() {
        let x = (normal(1, &[5, 7, 34]) * 3.0).unwrap();
        for activation in [gelu, silu, quick_gelu, geglu] {
            compare(std::slice::from_ref(&x), |tensors| activation(&tensors[0]));
        }
    }

    #[test]
    fn extremes_are_finite() {
        let x = Tensor::new(&[-1e30_f32, -100.0, -0.0, 100.0, 1e30, 1e-30], &candle_core::Device::Cpu).unwrap();
        for activation in [gelu, silu, quick_gelu] {
            let y = activation(&x).unwrap().to_vec1::<f32>().unwrap();
            assert_eq!((y[0], y[1], y[3], y[4]), (0.0, 0.0, 100.0, 1e30), "{y:?}");
        }
    }

    #[test]
    fn what_cannot_be_halved_is_refused() {
        assert!(geglu(&normal(1, &[2, 3])).is_err());
    }

    #[test]
    fn results_and_gradients_are_pytorchs() {
        type Unary = fn(&Tensor) -> Result<Tensor>;
        let activations: [(&str, Unary); 4] =
            [("gelu", gelu), ("silu", silu), ("quick_gelu", quick_gelu), ("geglu", geglu)];
        for (name, activation) in activations {
            agrees_with_pytorch(name, &["x"], |tensors| activation(&tensors[0]));
        }
    }
}
