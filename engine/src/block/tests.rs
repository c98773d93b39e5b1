use candle_core::{DType, Device, Tensor};

use super::*;
use crate::golden::{Golden, assert_close};

fn resnets(golden: &Golden) -> [(&'static str, ResnetBlock2D, bool); 2] {
    let builder = golden.weights().builder(DType::F32, &Device::Cpu);
    let with_time = ResnetShape { n_in: 8, n_out: 12, n_groups: 4, eps: 1e-5, n_time: Some(10) };
    let plain = ResnetShape { n_in: 8, n_out: 8, n_groups: 2, eps: 1e-6, n_time: None };
    let block = |shape, name| ResnetBlock2D::new(shape, &builder.pp(name)).unwrap();
    [("resnet_time", block(with_time, "resnet_time"), true), ("resnet_plain", block(plain, "resnet_plain"), false)]
}

#[test]
fn resnets_agree_with_diffusers() {
    let golden = Golden::open("block");
    for (name, block, has_time) in resnets(&golden) {
        let time = has_time.then(|| golden.case("time"));
        for input in ["x", "odd"] {
            golden.assert_close(&format!("{name}.{input}"), &block.forward(golden.case(input), time).unwrap());
        }
    }
}

#[test]
fn a_batch_is_its_rows() {
    let golden = Golden::open("block");
    for (name, block, has_time) in resnets(&golden) {
        let row = |name: &str, row| golden.case(name).narrow(0, row, 1).unwrap();
        let rows: Vec<Tensor> = (0..3)
            .map(|index| block.forward(&row("x", index), has_time.then(|| row("time", index)).as_ref()).unwrap())
            .collect();
        golden.assert_close(&format!("{name}.x"), &Tensor::cat(&rows, 0).unwrap());
    }
}

#[test]
fn sampling_agrees_with_diffusers() {
    let golden = Golden::open("block");
    let builder = golden.weights().builder(DType::F32, &Device::Cpu);
    let up = Upsample2D::new(8, &builder.pp("up")).unwrap();
    for input in ["x", "odd"] {
        golden.assert_close(&format!("up.{input}"), &up.forward(golden.case(input)).unwrap());
        for (name, padding) in [
            ("down_all_sides", DownsamplePadding::AllSides),
            ("down_right_and_bottom", DownsamplePadding::RightAndBottom),
        ] {
            let down = Downsample2D::new(8, padding, &builder.pp(name)).unwrap();
            golden.assert_close(&format!("{name}.{input}"), &down.forward(golden.case(input)).unwrap());
        }
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let golden = Golden::open("block");
    let builder = golden.weights().builder(DType::F32, &Device::Cpu);
    let shape = ResnetShape { n_in: 8, n_out: 12, n_groups: 4, eps: 1e-5, n_time: Some(10) };
    let refused = |shape, name| ResnetBlock2D::new(shape, &builder.pp(name)).unwrap_err().to_string();
    for n_groups in [0, 3, 8] {
        let message = refused(ResnetShape { n_groups, ..shape }, "resnet_time");
        assert!(
            message.contains(&format!("resnet_time: 8 and 12 channels cannot be in {n_groups} groups")),
            "{message}"
        );
    }
    let without = refused(ResnetShape { n_out: 8, ..shape }, "resnet_plain");
    assert!(without.contains("has no tensor `resnet_plain.time_emb_proj.weight`"), "{without}");
    let narrow = refused(ResnetShape { n_out: 8, ..shape }, "resnet_time");
    assert!(narrow.contains("tensor `resnet_time.conv1.weight` has shape [12, 8, 3, 3]"), "{narrow}");
    let [(_, with_time, _), (_, plain, _)] = resnets(&golden);
    let (x, time) = (golden.case("x"), golden.case("time"));
    assert!(with_time.forward(x, None).unwrap_err().to_string().contains("needs the time embedding"));
    assert!(plain.forward(x, Some(time)).unwrap_err().to_string().contains("no use for a time embedding"));
    assert!(with_time.forward(time, Some(time)).is_err());
}

/// Every weight takes part in the result, and so in the gradient.
#[test]
fn gradients_reach_every_weight() {
    let golden = Golden::open("block");
    let variables = crate::weights::Variables::selected_by(|_| true);
    let builder = golden.weights().trainable(&variables, DType::F64, &Device::Cpu);
    let shape = ResnetShape { n_in: 8, n_out: 12, n_groups: 4, eps: 1e-5, n_time: Some(10) };
    let block = ResnetBlock2D::new(shape, &builder.pp("resnet_time")).unwrap();
    let down = Downsample2D::new(8, DownsamplePadding::RightAndBottom, &builder.pp("down_right_and_bottom")).unwrap();
    let up = Upsample2D::new(8, &builder.pp("up")).unwrap();
    let double = |name: &str| golden.case(name).to_dtype(DType::F64).unwrap();
    let (x, time) = (double("x"), double("time"));
    let loss = || {
        let y = block.forward(&up.forward(&down.forward(&x).unwrap()).unwrap(), Some(&time)).unwrap();
        y.sqr().unwrap().mean_all().unwrap()
    };
    let gradients = loss().backward().unwrap();
    for (name, variable) in variables.all() {
        let gradient = gradients.get(&variable).unwrap_or_else(|| panic!("{name} has no gradient"));
        // Along the gradient itself, where the difference is largest.
        let (start, step) = (variable.as_tensor().copy().unwrap(), 1e-5);
        let norm = gradient.sqr().unwrap().sum_all().unwrap().sqrt().unwrap().to_scalar::<f64>().unwrap();
        let direction = (gradient / norm).unwrap();
        let at = |scale: f64| {
            variable.set(&(&start + (&direction * scale).unwrap()).unwrap()).unwrap();
            loss().to_scalar::<f64>().unwrap()
        };
        let slope = (at(step) - at(-step)) / (2.0 * step);
        variable.set(&start).unwrap();
        let expected = Tensor::new(norm, &Device::Cpu).unwrap();
        assert_close(
            &name,
            &(Tensor::new(slope, &Device::Cpu).unwrap() / norm).unwrap(),
            &(&expected / norm).unwrap(),
            1e-5,
        );
    }
}
