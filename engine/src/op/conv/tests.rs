use candle_core::{Device, Tensor, Var};

use super::conv2d;
use crate::golden::{Golden, assert_close, relative_error};
use crate::op::composed;

/// Numbers in −1..1 from a hash of their places.
fn numbers(dims: &[usize], seed: u32) -> Tensor {
    let n: usize = dims.iter().product();
    let values: Vec<f32> = (0..n as u32)
        .map(|place| {
            let mut state = place.wrapping_mul(0x9E37_79B9) ^ seed.wrapping_mul(0x85EB_CA6B);
            for _ in 0..2 {
                state = (state ^ (state >> 16)).wrapping_mul(0x7FEB_352D);
                state = (state ^ (state >> 15)).wrapping_mul(0x846C_A68B);
            }
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
}

/// Output and the gradients of x, weight and bias under a loss that weighs outputs unevenly.
fn run(x: &Var, weight: &Var, bias: Option<&Var>, stride: usize, padding: usize, transposed: bool) -> Vec<Tensor> {
    let input = if transposed { x.transpose(2, 3).unwrap() } else { x.as_tensor().clone() };
    let y = conv2d(&input, weight, bias.map(Var::as_tensor), stride, padding).unwrap();
    let grads = (&y * numbers(y.dims(), 9)).unwrap().sum_all().unwrap().backward().unwrap();
    let grad = |var: &Var| grads.get(var).unwrap().clone();
    let mut found = vec![y, grad(x), grad(weight)];
    found.extend(bias.map(grad));
    found
}

struct Case {
    batch: usize,
    channels: (usize, usize),
    size: (usize, usize),
    kernel: usize,
    stride: usize,
    padding: usize,
}

#[test]
fn fused_is_composed() {
    let mut cases = vec![];
    for (kernel, strides) in
        [(1, [1, 2, 2]), (3, [1, 2, 3]), (4, [1, 2, 4]), (8, [1, 2, 8]), (14, [1, 2, 14]), (16, [1, 2, 16])]
    {
        for stride in strides {
            for padding in [0, 1] {
                for (batch, size) in [(1, (17, 19)), (3, (16, 16)), (1, (28, 33))] {
                    let size = (size.0.max(kernel), size.1.max(kernel));
                    cases.push(Case { batch, channels: (5, 7), size, kernel, stride, padding });
                }
            }
        }
    }
    // Sizes around the tiles and blocks of the fast forms.
    for (height, width) in [(1, 1), (2, 3), (4, 4), (5, 8), (16, 16), (31, 64), (64, 64)] {
        for (batch, channels) in [(1, (16, 24)), (3, (33, 17)), (2, (3, 64)), (1, (64, 3))] {
            cases.push(Case { batch, channels, size: (height, width), kernel: 3, stride: 1, padding: 1 });
        }
    }
    let mut worst = 0.0f64;
    for (number, case) in cases.iter().enumerate() {
        let Case { batch, channels: (c_in, c_out), size: (height, width), kernel, stride, padding } = *case;
        let transposed = number % 2 == 0;
        let dims = if transposed { [batch, c_in, width, height] } else { [batch, c_in, height, width] };
        let x = Var::from_tensor(&numbers(&dims, 1)).unwrap();
        let fan_in = ((c_in * kernel * kernel) as f64).sqrt();
        let weight = Var::from_tensor(&(numbers(&[c_out, c_in, kernel, kernel], 2) / fan_in).unwrap()).unwrap();
        let bias = match number % 3 {
            0 => Some(numbers(&[c_out], 3)),
            1 => Some(numbers(&[batch, c_out], 3)),
            _ => None,
        };
        let bias = bias.map(|bias| Var::from_tensor(&bias).unwrap());
        let fused = run(&x, &weight, bias.as_ref(), stride, padding, transposed);
        let expected = composed(|| run(&x, &weight, bias.as_ref(), stride, padding, transposed));
        for (name, (actual, expected)) in
            ["y", "grad x", "grad weight", "grad bias"].iter().zip(fused.iter().zip(&expected))
        {
            let error = relative_error(actual, expected);
            worst = worst.max(error);
            assert!(
                error < 1e-5,
                "{name} of {batch}x{c_in}->{c_out} {height}x{width} k{kernel} s{stride} p{padding}: {error:e}"
            );
        }
    }
    println!("largest of {} cases: {worst:.2e}", cases.len());
}

#[test]
fn batched_is_single_rows() {
    let (x, weight) = (numbers(&[5, 6, 13, 10], 1), numbers(&[9, 6, 3, 3], 2));
    for stride in [1, 2] {
        let batched = conv2d(&x, &weight, None, stride, 1).unwrap();
        for row in 0..5 {
            let single = conv2d(&x.narrow(0, row, 1).unwrap(), &weight, None, stride, 1).unwrap();
            assert_close("row", &batched.narrow(0, row, 1).unwrap(), &single, 1e-6);
        }
    }
}

#[test]
fn frozen_arguments_get_no_gradient() {
    let (x, weight) = (numbers(&[1, 2, 5, 5], 1), Var::from_tensor(&numbers(&[3, 2, 3, 3], 2)).unwrap());
    let grads = conv2d(&x, &weight, None, 1, 1).unwrap().sum_all().unwrap().backward().unwrap();
    assert!(grads.get(&x).is_none() && grads.get(&weight).is_some());
}

#[test]
fn what_does_not_fit_is_said() {
    let x = numbers(&[1, 4, 5, 5], 1);
    let error = |weight: &[usize], stride| conv2d(&x, &numbers(weight, 2), None, stride, 0).unwrap_err().to_string();
    assert!(error(&[2, 3, 3, 3], 1).contains("has 4 channels"));
    assert!(error(&[2, 4, 7, 7], 1).contains("is larger than the input"));
    assert!(error(&[2, 4, 3, 3], 0).contains("none may be zero"));
    let bias = numbers(&[3], 3);
    assert!(conv2d(&x, &numbers(&[2, 4, 3, 3], 2), Some(&bias), 1, 0).is_err());
}

#[test]
fn agrees_with_pytorch() {
    let golden = Golden::open("conv");
    let names = ["k3_s1_p1", "k3_s1_p0", "k3_s2_p1", "k3_s2_p0_odd", "k1_s1_p0", "k4_s2_p1", "k14_s14_p0"];
    for form in ["fused", "composed"] {
        for name in names {
            let case = |key: &str| golden.case(&format!("{name}.{key}"));
            let options = case("stride_padding").to_vec1::<i64>().unwrap();
            let var = |key: &str| Var::from_tensor(case(key)).unwrap();
            let (x, weight) = (var("x"), var("weight"));
            let bias = (options[2] == 1).then(|| var("bias"));
            let work = || {
                let (stride, padding) = (options[0] as usize, options[1] as usize);
                let y = conv2d(&x, &weight, bias.as_ref().map(Var::as_tensor), stride, padding).unwrap();
                let grads = (&y * case("upstream")).unwrap().sum_all().unwrap().backward().unwrap();
                (y, grads)
            };
            let (y, grads) = if form == "fused" { work() } else { composed(work) };
            golden.assert_close(&format!("{name}.y"), &y);
            for (key, var) in [("x", Some(&x)), ("weight", Some(&weight)), ("bias", bias.as_ref())] {
                let Some(var) = var else { continue };
                let error = relative_error(grads.get(var).unwrap(), case(&format!("grad_{key}")));
                println!("{form} {name}.grad_{key}: {error:.2e}");
                assert!(error <= 1e-4, "{form} {name}.grad_{key}: {error:e}");
            }
        }
    }
}
