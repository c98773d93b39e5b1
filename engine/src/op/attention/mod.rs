//! Scaled dot-product attention.

pub(crate) mod cached;
pub(crate) mod grouped;
mod kernel;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, D, Layout, Result, Shape, Tensor, bail};

use self::kernel::Sizes;
use super::storage::numbers;

/// softmax(Q·Kᵀ/√d + mask)·V per head, with d = C / `n_heads`.
///
/// `query` is (B, Tq, C), `key` and `value` are (B, Tk, C), the head's channels side by side as a linear layer makes them;
/// `mask` is (Tq, Tk), added to the scores, and gets no gradient. Returns (B, Tq, C).
///
/// # Errors
/// When shapes do not fit, or of the tensors.
pub fn attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    n_heads: usize,
    mask: Option<&Tensor>,
) -> Result<Tensor> {
    let sizes = check(query, key, value, n_heads, mask)?;
    if !super::is_fused(query) {
        return composed(query, key, value, n_heads, mask);
    }
    let mask = match mask {
        Some(mask) => Some(mask.flatten_all()?.to_vec1::<f32>()?),
        None => None,
    };
    query.contiguous()?.apply_op3(&key.contiguous()?, &value.contiguous()?, Attention { sizes, mask })
}

fn check(query: &Tensor, key: &Tensor, value: &Tensor, n_heads: usize, mask: Option<&Tensor>) -> Result<Sizes> {
    let (batch, n_queries, width) = query.dims3()?;
    let (_, n_keys, _) = key.dims3()?;
    let expected = [batch, n_keys, width];
    if key.dims() != expected || value.dims() != expected || n_heads == 0 || !width.is_multiple_of(n_heads) {
        let dims = (query.dims(), key.dims(), value.dims());
        bail!("attention of {n_heads} heads: query, key and value of shapes {dims:?} do not fit");
    }
    if n_keys == 0 {
        bail!("attention to nothing: there are no keys");
    }
    if let Some(mask) = mask
        && mask.dims() != [n_queries, n_keys]
    {
        bail!("a mask of shape {:?} for {n_queries} queries and {n_keys} keys", mask.dims());
    }
    Ok(Sizes { batch, n_queries, n_keys, width, n_heads })
}

fn composed(query: &Tensor, key: &Tensor, value: &Tensor, n_heads: usize, mask: Option<&Tensor>) -> Result<Tensor> {
    let (batch, n_queries, width) = query.dims3()?;
    let head_dim = width / n_heads;
    let by_head = |tensor: &Tensor| -> Result<Tensor> {
        let n_tokens = tensor.dim(1)?;
        tensor.reshape((batch, n_tokens, n_heads, head_dim))?.transpose(1, 2)?.contiguous()
    };
    let scale = 1.0 / (head_dim as f64).sqrt();
    let (query, key, value) = (by_head(&(query * scale)?)?, by_head(key)?, by_head(value)?);
    let scores = query.matmul(&key.t()?)?; // (B, H, Tq, Tk)
    let scores = match mask {
        Some(mask) => scores.broadcast_add(mask)?,
        None => scores,
    };
    // Not `softmax_last_dim`: it has no gradient.
    let weights = candle_nn::ops::softmax(&scores, D::Minus1)?;
    weights.matmul(&value)?.transpose(1, 2)?.reshape((batch, n_queries, width)) // (B, Tq, C)
}

/// The operation on contiguous tensors.
struct Attention {
    sizes: Sizes,
    mask: Option<Vec<f32>>,
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        query: &CpuStorage,
        lq: &Layout,
        key: &CpuStorage,
        lk: &Layout,
        value: &CpuStorage,
        lv: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Sizes { batch, n_queries, width, .. } = self.sizes;
        let (query, key, value) = (numbers(query, lq)?, numbers(key, lk)?, numbers(value, lv)?);
        let attended = kernel::forward(&self.sizes, query, key, value, self.mask.as_deref());
        Ok((CpuStorage::F32(attended), Shape::from((batch, n_queries, width))))
    }

    fn bwd(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Sizes { n_queries, n_keys, .. } = self.sizes;
        // Custom operations take three arguments at most, and this needs four.
        let by_query = Tensor::cat(&[&query.detach(), &grad.contiguous()?], 1)?; // (B, 2·Tq, C)
        let by_key = Tensor::cat(&[&key.detach(), &value.detach()], 1)?; // (B, 2·Tk, C)
        let gradients = by_query.apply_op2_no_bwd(&by_key, &Gradient { sizes: self.sizes, mask: &self.mask })?;
        let part = |start: usize, length: usize| gradients.narrow(1, start, length)?.contiguous().map(Some);
        Ok((part(0, n_queries)?, part(n_queries, n_keys)?, part(n_queries + n_keys, n_keys)?))
    }
}

/// Of (query, gradient of the result) and (key, value): (B, Tq + 2·Tk, C), the gradients of query, key, value.
struct Gradient<'a> {
    sizes: Sizes,
    mask: &'a Option<Vec<f32>>,
}

impl CustomOp2 for Gradient<'_> {
    fn name(&self) -> &'static str {
        "attention-gradient"
    }

    fn cpu_fwd(
        &self,
        by_query: &CpuStorage,
        lq: &Layout,
        by_key: &CpuStorage,
        lk: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Sizes { batch, n_queries, n_keys, width, .. } = self.sizes;
        let gradients =
            kernel::backward(&self.sizes, numbers(by_query, lq)?, numbers(by_key, lk)?, self.mask.as_deref());
        Ok((CpuStorage::F32(gradients), Shape::from((batch, n_queries + 2 * n_keys, width))))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::super::testing::{agrees_with_pytorch, compare, normal};
    use super::*;
    use crate::golden::Golden;

    #[test]
    fn fused_is_composed() {
        for (batch, n_queries, n_keys, width, n_heads) in
            [(1, 1, 1, 8, 1), (2, 70, 77, 24, 3), (3, 130, 1, 32, 2), (1, 257, 257, 64, 4), (2, 5, 300, 6, 6)]
        {
            let tensors = [
                normal(1, &[batch, n_queries, width]),
                normal(2, &[batch, n_keys, width]),
                normal(3, &[batch, n_keys, width]),
            ];
            compare(&tensors, |tensors| attention(&tensors[0], &tensors[1], &tensors[2], n_heads, None));
            let mask = (normal(4, &[n_queries, n_keys]) * 3.0).unwrap();
            compare(&tensors, |tensors| attention(&tensors[0], &tensors[1], &tensors[2], n_heads, Some(&mask)));
        }
    }

    #[test]
    fn masked_keys_have_no_weight() {
        let device = candle_core::Device::Cpu;
        let value = Tensor::new(&[[[1_f32, 2.0], [30.0, 40.0]]], &device).unwrap();
        let mask = Tensor::new(&[[0_f32, f32::NEG_INFINITY]], &device).unwrap();
        let query = normal(1, &[1, 1, 2]);
        let attended = attention(&query, &value, &value, 1, Some(&mask)).unwrap();
        assert_eq!(attended.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [1.0, 2.0]);
    }

    #[test]
    fn great_scores_do_not_overflow() {
        let (query, value) = ((normal(1, &[1, 9, 8]) * 300.0).unwrap(), normal(2, &[1, 9, 8]));
        let attended = attention(&query, &query, &value, 1, None).unwrap();
        assert!(attended.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().all(|value| value.is_finite()));
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let refused = |query: &[usize], key: &[usize], n_heads: usize| {
            attention(&normal(1, query), &normal(2, key), &normal(3, key), n_heads, None).is_err()
        };
        assert!(refused(&[1, 2, 6], &[1, 2, 6], 4));
        assert!(refused(&[1, 2, 6], &[2, 2, 6], 2));
        assert!(refused(&[1, 2, 6], &[1, 2, 4], 2));
        assert!(refused(&[1, 2, 6], &[1, 2, 6], 0));
    }

    #[test]
    fn results_and_gradients_are_pytorchs() {
        let qkv = ["query", "key", "value"];
        for (name, n_heads) in [("5x7.3", 3), ("67x19.2", 2), ("3x70.1", 1)] {
            agrees_with_pytorch(&format!("attention.{name}"), &qkv, |tensors| {
                attention(&tensors[0], &tensors[1], &tensors[2], n_heads, None)
            });
        }
        // Attention to one key is that key's value, whatever the query: PyTorch has rounding errors for those gradients.
        let golden = Golden::open("operations");
        let [query, key] =
            ["query", "key"].map(|name| Var::from_tensor(golden.case(&format!("attention.9x1.2.{name}"))).unwrap());
        agrees_with_pytorch("attention.9x1.2", &["value"], |tensors| attention(&query, &key, &tensors[0], 2, None));
        let gradients =
            attention(&query, &key, &key, 2, None).unwrap().sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let of_query = gradients.get(&query).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(of_query <= 1e-6, "{of_query}");
        for (name, n_heads) in [("causal.3", 3), ("bias.2", 2)] {
            let name = format!("attention.{name}");
            let mask = golden.case(&format!("{name}.mask")).clone();
            agrees_with_pytorch(&name, &qkv, |tensors| {
                attention(&tensors[0], &tensors[1], &tensors[2], n_heads, Some(&mask))
            });
        }
    }
}
