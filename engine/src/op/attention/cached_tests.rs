use candle_core::{Device, Tensor};

use super::super::super::testing::normal;
use super::*;
use crate::golden::assert_close;

fn archs() -> Vec<Arch> {
    let mut archs = vec![Arch::Scalar];
    #[cfg(target_arch = "x86_64")]
    {
        archs.extend(pulp::x86::V3::try_new().map(Arch::V3));
        archs.extend(pulp::x86::V4::try_new().map(Arch::V4));
    }
    archs
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Keys and values `from..to` of a sequence.
fn segment(key: &[f32], value: &[f32], n_heads: usize, head_dim: usize, range: std::ops::Range<usize>) -> KeyValues {
    let mut kept = KeyValues::new(n_heads, head_dim);
    let width = n_heads * head_dim;
    range.for_each(|at| kept.push(&key[at * width..(at + 1) * width], &value[at * width..(at + 1) * width]));
    kept
}

#[test]
fn it_is_attention_with_a_causal_mask() {
    for (n_heads, n_kv_heads, head_dim, n_keys) in
        [(1, 1, 4, 1), (6, 2, 8, 37), (9, 3, 64, 95), (4, 4, 20, 33), (24, 1, 16, 18)]
    {
        let n_shares = n_heads / n_kv_heads;
        let query = normal(1, &[1, n_keys, n_heads * head_dim]);
        let (key, value) =
            (normal(2, &[1, n_keys, n_kv_heads * head_dim]), normal(3, &[1, n_keys, n_kv_heads * head_dim]));
        let shared = |x: &Tensor| {
            let one = x.reshape((1, n_keys, n_kv_heads, 1, head_dim)).unwrap();
            let all = one.broadcast_as((1, n_keys, n_kv_heads, n_shares, head_dim)).unwrap();
            all.contiguous().unwrap().reshape((1, n_keys, n_heads * head_dim)).unwrap()
        };
        let mask = (0..n_keys)
            .flat_map(|query| (0..n_keys).map(move |key| if key <= query { 0.0 } else { f32::NEG_INFINITY }));
        let mask = Tensor::from_vec(mask.collect::<Vec<f32>>(), (n_keys, n_keys), &Device::Cpu).unwrap();
        let expected = super::super::attention(&query, &shared(&key), &shared(&value), n_heads, Some(&mask)).unwrap();
        let (query, key, value) = (numbers(&query), numbers(&key), numbers(&value));
        let stride = n_heads * head_dim;
        for arch in archs() {
            let whole = segment(&key, &value, n_kv_heads, head_dim, 0..n_keys);
            let all = attend_on(arch, &[Queries { queries: &query, stride, n_heads, segments: vec![&whole] }]);
            let all = Tensor::from_vec(all, expected.dims(), &Device::Cpu).unwrap();
            assert_close(&format!("{arch:?}"), &all, &expected, 1e-5);
            let all = numbers(&all);
            // The newest tokens alone, with the keys in segments, and another sequence beside: the same bits.
            let cut = n_keys * 2 / 3;
            let (old, new) = (
                segment(&key, &value, n_kv_heads, head_dim, 0..cut),
                segment(&key, &value, n_kv_heads, head_dim, cut..n_keys),
            );
            let newest = || Queries { queries: &query[cut * stride..], stride, n_heads, segments: vec![&old, &new] };
            let beside = || Queries { queries: &query, stride, n_heads, segments: vec![&whole] };
            let found = attend_on(arch, &[beside(), newest(), beside()]);
            assert_eq!(found[all.len()..][..(n_keys - cut) * stride], all[cut * stride..], "{arch:?}");
        }
    }
}
