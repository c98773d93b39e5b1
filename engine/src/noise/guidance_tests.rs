use std::collections::BTreeMap;

use candle_core::Device;

use super::super::Noise;
use super::*;
use crate::golden::{Golden, assert_close};

/// A prediction per branch.
fn predictions() -> BTreeMap<Branch, Tensor> {
    [Branch::NONE, Branch::CLIP, Branch::DINO, Branch::BOTH]
        .into_iter()
        .zip(0..)
        .map(|(branch, index)| (branch, Noise::new(index).normal((2, 4, 3), &Device::Cpu).unwrap()))
        .collect()
}

fn combined(guidance: Guidance) -> Tensor {
    let predictions = predictions();
    let needed: Vec<Tensor> = guidance.branches().iter().map(|branch| predictions[branch].clone()).collect();
    let stacked = guidance.combine_stacked(&Tensor::cat(&needed, 0).unwrap()).unwrap();
    let combined = guidance.combine(&needed).unwrap();
    assert_close("stacked", &stacked, &combined, 0.0);
    combined
}

/// start + Σ scale·(to - from), as the formulas are written.
fn sum_of_differences(differences: &[(f64, Branch, Branch)]) -> Tensor {
    let predictions = predictions();
    differences.iter().fold(predictions[&Branch::NONE].clone(), |sum, (scale, to, from)| {
        (sum + ((&predictions[to] - &predictions[from]).unwrap() * *scale).unwrap()).unwrap()
    })
}

#[test]
fn every_form_is_its_formula() {
    let (none, clip, dino, both) = (Branch::NONE, Branch::CLIP, Branch::DINO, Branch::BOTH);
    let (dino_scale, clip_scale) = (1.5, 7.5);
    assert_close("none", &combined(Guidance::None), &predictions()[&both], 0.0);
    let joint = sum_of_differences(&[(3.0, both, none)]);
    assert_close("joint", &combined(Guidance::Joint { scale: 3.0 }), &joint, 1e-6);
    let nested = |order| combined(Guidance::Nested { dino_scale, clip_scale, order });
    let dino_first = sum_of_differences(&[(dino_scale, dino, none), (clip_scale, both, dino)]);
    assert_close("dino first", &nested(Order::DinoFirst), &dino_first, 1e-6);
    let clip_first = sum_of_differences(&[(clip_scale, clip, none), (dino_scale, both, clip)]);
    assert_close("clip first", &nested(Order::ClipFirst), &clip_first, 1e-6);
    let independent = sum_of_differences(&[(dino_scale, dino, none), (clip_scale, clip, none)]);
    assert_close("independent", &combined(Guidance::Independent { dino_scale, clip_scale }), &independent, 1e-6);
}

/// The golden's predictions differ by row in which difference is the longer; in one row, one is nothing.
#[test]
fn the_normalised_form_is_the_reference() {
    let golden = Golden::open("samplers");
    let case = |name: &str| golden.case(&format!("guidance.{name}")).clone();
    let predictions = [case("none"), case("dino"), case("both")];
    for (dino_scale, clip_scale) in [(1.5, 7.5), (1.0, 3.0), (3.0, 0.0)] {
        let guidance = Guidance::Normalised { dino_scale, clip_scale };
        assert_eq!(guidance.branches(), [Branch::NONE, Branch::DINO, Branch::BOTH]);
        let name = format!("guidance.normalised.{dino_scale:.1}.{clip_scale:.1}");
        golden.assert_close(&name, &guidance.combine(&predictions).unwrap());
        // Where neither is longer, it is nested guidance.
        let even = Tensor::cat(&[&case("none"), &case("none").neg().unwrap()], 1).unwrap();
        let step = Tensor::cat(&[&case("dino"), &case("dino").neg().unwrap()], 1).unwrap();
        let halfway = (&even + &step).unwrap();
        let even = [even, halfway.clone(), (halfway + step).unwrap()];
        let nested = Guidance::Nested { dino_scale, clip_scale, order: Order::DinoFirst };
        let needed: Vec<Tensor> = nested
            .branches()
            .iter()
            .map(|branch| even[usize::from(branch.dino) + usize::from(branch.clip)].clone())
            .collect();
        assert_close("even", &guidance.combine(&even).unwrap(), &nested.combine(&needed).unwrap(), 1e-5);
    }
    let plain = Guidance::Normalised { dino_scale: 1.0, clip_scale: 0.0 };
    assert_eq!(plain.branches(), [Branch::DINO]);
    assert_close("plain", &plain.combine(&predictions[1..2]).unwrap(), &predictions[1], 0.0);
    for row in 0..3 {
        let alone = predictions.clone().map(|prediction| prediction.narrow(0, row, 1).unwrap());
        let guidance = Guidance::Normalised { dino_scale: 1.5, clip_scale: 7.5 };
        let together = guidance.combine(&predictions).unwrap().narrow(0, row, 1).unwrap();
        assert_close("row", &guidance.combine(&alone).unwrap(), &together, 0.0);
    }
}

#[test]
fn rescaling_is_the_reference() {
    let golden = Golden::open("samplers");
    let (none, both) = (golden.case("guidance.none"), golden.case("guidance.both"));
    let guided = guide_text(none, both, 7.5).unwrap();
    for share in [0.3, 1.0] {
        golden.assert_close(&format!("guidance.rescaled.{share:.1}"), &rescale(&guided, both, share).unwrap());
    }
    assert_close("none", &rescale(&guided, both, 0.0).unwrap(), &guided, 0.0);
    let nothing = guided.zeros_like().unwrap();
    assert_close("nothing", &rescale(&nothing, both, 1.0).unwrap(), &nothing, 0.0);
    assert_eq!(rescale(&guided, both, 1.5).unwrap_err().to_string(), "guidance_rescale is 1.5: it must be 0 to 1");
}

#[test]
fn only_what_has_weight_is_evaluated() {
    let nested = |dino_scale, clip_scale, order| Guidance::Nested { dino_scale, clip_scale, order }.branches();
    assert_eq!(Guidance::None.branches(), [Branch::BOTH]);
    assert_eq!(Guidance::Joint { scale: 3.0 }.branches(), [Branch::NONE, Branch::BOTH]);
    assert_eq!(Guidance::Joint { scale: 1.0 }.branches(), [Branch::BOTH]);
    assert_eq!(nested(2.0, 3.0, Order::DinoFirst), [Branch::NONE, Branch::DINO, Branch::BOTH]);
    assert_eq!(nested(2.0, 3.0, Order::ClipFirst), [Branch::NONE, Branch::CLIP, Branch::BOTH]);
    assert_eq!(nested(1.0, 3.0, Order::DinoFirst), [Branch::DINO, Branch::BOTH]);
    // Equal scales are joint guidance.
    assert_eq!(nested(3.0, 3.0, Order::DinoFirst), [Branch::NONE, Branch::BOTH]);
    assert_eq!(nested(1.0, 1.0, Order::ClipFirst), [Branch::BOTH]);
}

#[test]
fn text_guidance_is_its_formula() {
    let predictions = predictions();
    let (without, with) = (&predictions[&Branch::NONE], &predictions[&Branch::BOTH]);
    let joint = combined(Guidance::Joint { scale: 7.5 });
    assert_close("text", &guide_text(without, with, 7.5).unwrap(), &joint, 1e-6);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let x = Tensor::zeros((3, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
    let joint = Guidance::Joint { scale: 3.0 };
    let error = joint.combine(std::slice::from_ref(&x)).unwrap_err();
    assert_eq!(error.to_string(), "1 predictions: this guidance needs 2, one per branch");
    assert_eq!(joint.combine_stacked(&x).unwrap_err().to_string(), "3 rows of predictions: there are 2 branches");
    let infinite = Guidance::Joint { scale: f64::INFINITY };
    assert!(infinite.combine(&[x.clone(), x]).is_err());
}

#[test]
fn it_is_written_as_a_tagged_form() {
    let guidance = Guidance::Nested { dino_scale: 1.5, clip_scale: 7.5, order: Order::DinoFirst };
    let text = serde_json::to_string(&guidance).unwrap();
    assert_eq!(text, r#"{"form":"nested","dino_scale":1.5,"clip_scale":7.5,"order":"dino_first"}"#);
    assert_eq!(serde_json::from_str::<Guidance>(&text).unwrap(), guidance);
}
