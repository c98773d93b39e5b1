use super::super::testing::{compare, normal};
use super::*;
use crate::golden::assert_close;

const SHAPES: [(usize, usize, usize); 5] = [(1, 1, 1), (3, 5, 50), (8, 64, 48), (9, 300, 97), (21, 576, 960)];

fn frozen(n_out: usize, n_in: usize, dtype: DType) -> (Frozen, Tensor) {
    let weight = normal(2, &[n_out, n_in]).to_dtype(dtype).unwrap();
    let frozen = Frozen::new(std::slice::from_ref(&weight), &Device::Cpu).unwrap();
    (frozen, weight.to_dtype(DType::F32).unwrap())
}

fn archs() -> Vec<Arch> {
    let mut archs = vec![Arch::Scalar];
    #[cfg(target_arch = "x86_64")]
    {
        archs.extend(pulp::x86::V3::try_new().map(Arch::V3));
        archs.extend(pulp::x86::V4::try_new().map(Arch::V4));
    }
    archs
}

#[test]
fn fused_is_composed() {
    for (n_rows, n_in, n_out) in SHAPES {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let (frozen, _) = frozen(n_out, n_in, dtype);
            compare(&[normal(1, &[n_rows, 1, n_in])], |tensors| frozen.forward(&tensors[0]));
        }
    }
}

#[test]
fn every_instruction_set_gives_the_product() {
    for (n_rows, n_in, n_out) in SHAPES {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let (frozen, weight) = frozen(n_out, n_in, dtype);
            let x = normal(1, &[n_rows, n_in]);
            let expected = x.matmul(&weight.t().unwrap()).unwrap();
            let numbers = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for arch in archs() {
                let y = frozen.packed().unwrap().product_on(arch, &numbers);
                let y = Tensor::from_vec(y, (n_rows, n_out), &Device::Cpu).unwrap();
                assert_close(&format!("{arch:?}"), &y, &expected, 1e-5);
            }
        }
    }
}

#[test]
fn halves_of_every_size_are_widened_exactly() {
    let finite: Vec<half::f16> = (0..=u16::MAX).map(half::f16::from_bits).filter(|number| number.is_finite()).collect();
    let expected: Vec<f32> = finite.iter().map(|number| number.to_f32()).collect();
    let weight = Tensor::from_vec(finite, (expected.len(), 1), &Device::Cpu).unwrap();
    let frozen = Frozen::new(&[weight], &Device::Cpu).unwrap();
    for arch in archs() {
        assert_eq!(frozen.packed().unwrap().product_on(arch, &[1.0]), expected, "{arch:?}");
    }
}

#[test]
fn a_row_is_the_same_bits_whatever_is_beside_it() {
    let (frozen, _) = frozen(97, 600, DType::F16);
    let x = normal(1, &[21, 600]).flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for arch in archs() {
        let packed = frozen.packed().unwrap();
        let together = packed.product_on(arch, &x);
        for (row, (x, expected)) in x.chunks(600).zip(together.chunks(97)).enumerate() {
            assert_eq!(packed.product_on(arch, x), expected, "row {row} on {arch:?}");
        }
    }
}

#[test]
fn parts_lie_one_after_the_other_and_rows_are_looked_up() {
    let (first, second) = (normal(1, &[50, 7]), normal(2, &[3, 7]).to_dtype(DType::F16).unwrap());
    let frozen = Frozen::new(&[first.clone(), second.clone()], &Device::Cpu).unwrap();
    let rows = frozen.rows(&[52, 0, 49]).unwrap().to_vec2::<f32>().unwrap();
    let expected =
        |tensor: &Tensor, row: usize| tensor.get(row).unwrap().to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(rows, [expected(&second, 2), expected(&first, 0), expected(&first, 49)]);
    assert_eq!(frozen.rows(&[53]).unwrap_err().to_string().lines().next(), Some("id 53 is beyond a table of 53 rows"));
}

#[test]
fn what_other_devices_have_gives_the_same() {
    let (frozen, weight) = frozen(50, 7, DType::F16);
    let plain = Frozen { weight: Weight::Plain(weight) };
    let x = normal(1, &[2, 3, 7]);
    assert_close("product", &plain.forward(&x).unwrap(), &frozen.forward(&x).unwrap(), 1e-5);
    assert_close("rows", &plain.rows(&[49, 0]).unwrap(), &frozen.rows(&[49, 0]).unwrap(), 0.0);
    assert!(plain.rows(&[50]).is_err() && plain.packed().is_none());
}

#[test]
fn what_does_not_fit_is_refused() {
    assert!(Frozen::new(&[], &Device::Cpu).is_err());
    assert!(Frozen::new(&[normal(1, &[2, 3]), normal(1, &[2, 4])], &Device::Cpu).is_err());
    assert!(Frozen::new(&[(normal(1, &[2, 3]) / 0.0).unwrap()], &Device::Cpu).is_err());
    let (frozen, _) = frozen(4, 5, DType::F32);
    assert!(frozen.forward(&normal(1, &[2, 4])).is_err());
    assert_eq!(frozen.forward(&normal(1, &[0, 5])).unwrap().dims(), [0, 4]);
}
