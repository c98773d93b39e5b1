use candle_core::{Device, Tensor};

use super::*;
use crate::golden::{Golden, assert_close, relative_error};
use crate::noise::Noise;
use crate::unet::{Trainable, UNetConfig};

fn unet(golden: &Golden) -> UNet {
    UNet::load(golden.folder(), &Device::Cpu).unwrap()
}

fn conditions(golden: &Golden) -> CafeConditioning {
    CafeConditioning { clip: golden.case("in.clip").clone(), dino: golden.case("in.dino").clone() }
}

fn latents(seed: u64, n_rows: usize) -> Tensor {
    Noise::new(seed).normal((n_rows, 4, 8, 8), &Device::Cpu).unwrap()
}

fn timesteps(timestep: u32, n_rows: usize) -> Tensor {
    Tensor::full(timestep, n_rows, &Device::Cpu).unwrap()
}

#[test]
fn prepared_is_the_reference_and_the_unprepared() {
    let golden = Golden::open("cafe_unet");
    let unet = unet(&golden);
    let conditioning = Conditioning::Cafe(conditions(&golden));
    let prepared = unet.prepare(&conditioning).unwrap();
    for _ in 0..2 {
        let out = prepared.forward(golden.case("in.latents"), golden.case("in.timesteps")).unwrap();
        golden.assert_close("out.forward", &out);
    }
    // Later steps, in which all is kept.
    for (seed, timestep) in [(1, 900), (2, 40)] {
        let (x, t) = (latents(seed, 3), timesteps(timestep, 3));
        let expected = unet.forward(&x, &t, &conditioning).unwrap();
        assert_close("step", &prepared.forward(&x, &t).unwrap(), &expected, 0.0);
    }
    let golden = Golden::open("unet_sd2");
    let unet = UNet::load(golden.folder(), &Device::Cpu).unwrap();
    let prepared = unet.prepare(&Conditioning::Text(golden.case("states").clone())).unwrap();
    for _ in 0..2 {
        golden.assert_close("out", &prepared.forward(golden.case("latents"), golden.case("timesteps")).unwrap());
    }
}

#[test]
fn branches_share_and_are_what_they_are_alone() {
    let golden = Golden::open("cafe_unet");
    let (unet, conditions) = (unet(&golden), conditions(&golden));
    let branches = [(false, false), (false, true), (true, true), (true, false)];
    let prepared = unet.prepare_branches(&conditions, &branches).unwrap();
    for (seed, timestep) in [(1, 700), (2, 30)] {
        let x = latents(seed, 3);
        let repeated = Tensor::cat(&[&x; 4], 0).unwrap();
        let all = prepared.forward(&repeated, &timesteps(timestep, 12)).unwrap();
        for (index, (clip, dino)) in branches.into_iter().enumerate() {
            let only = Conditioning::Cafe(conditions.only(clip, dino).unwrap());
            let expected = unet.forward(&x, &timesteps(timestep, 3), &only).unwrap();
            assert_close("branch", &all.narrow(0, 3 * index, 3).unwrap(), &expected, 1e-5);
        }
    }
    let Context::Cafe { clip, dino } = &prepared.context else { panic!("not CAFE's") };
    // Three conditions and nothing, for each of the seven attentions.
    for tokens in [clip, dino] {
        let rows = tokens.kept_rows();
        assert_eq!(rows, [4; 7]);
    }
}

#[test]
fn gradients_flow_through_what_is_prepared() {
    let golden = Golden::open("cafe_unet");
    let config = UNetConfig::read(&golden.folder().join("config.json")).unwrap();
    let (unet, variables) = UNet::for_training(config, &golden.weights(), Trainable::NewKv, &Device::Cpu).unwrap();
    let conditioning = Conditioning::Cafe(conditions(&golden));
    let (x, t) = (golden.case("in.latents"), golden.case("in.timesteps"));
    let gradients = |out: Tensor| out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let prepared = unet.prepare(&conditioning).unwrap();
    let (found, expected) =
        (gradients(prepared.forward(x, t).unwrap()), gradients(unet.forward(x, t, &conditioning).unwrap()));
    let variables = variables.all();
    assert!(!variables.is_empty());
    for (name, variable) in &variables {
        let error = relative_error(found.get(variable).unwrap(), expected.get(variable).unwrap());
        assert!(error <= 1e-6, "{name}: {error:e}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (cafe, text) = (Golden::open("cafe_unet"), Golden::open("unet_sd2"));
    let states = Conditioning::Text(text.case("states").clone());
    let refusal = |result: candle_core::Result<Prepared<'_>>| result.err().unwrap().to_string();
    let (cafe_unet, text_unet) = (unet(&cafe), unet(&text));
    assert!(refusal(cafe_unet.prepare(&states)).contains("was given text"));
    let conditions = conditions(&cafe);
    assert!(refusal(text_unet.prepare_branches(&conditions, &[(true, true)])).contains("was given CAFE's conditions"));
    let prepared = cafe_unet.prepare_branches(&conditions, &[(true, true)]).unwrap();
    assert!(prepared.forward(&latents(1, 2), &timesteps(1, 2)).is_err(), "two rows of latents, three of conditions");
    assert!(prepared.forward(&latents(1, 3), &timesteps(1, 2)).is_err());
}
