use super::*;
use crate::golden::{Golden, assert_close};
use crate::noise::{Order, SamplerConfig};

fn sampler(golden: &Golden, kind: SamplerKind, n_steps: u32, eta: f64) -> Sampler {
    let config = SamplerConfig::read(&golden.folder().join("ddim").join("scheduler_config.json")).unwrap();
    config.sampler(Some(kind), n_steps, eta).unwrap()
}

/// The formula that stands for a model in the goldens.
fn model(latents: &Tensor, timestep: u32) -> Result<Tensor> {
    Ok(latents.affine(0.6, 0.0003 * f64::from(timestep) - 0.1)?)
}

fn edited(golden: &Golden, sampler: &Sampler, strength: f64, mask: Option<&Tensor>) -> (usize, Tensor) {
    let (source, noise) = (golden.case("source"), golden.case("start").clone());
    let start = Start::source(sampler, source, noise, strength, mask.cloned()).unwrap();
    (start.first, denoise(model, sampler, start, &[], &|_, _| {}).unwrap())
}

#[test]
fn editing_ends_where_the_reference_ends() {
    let golden = Golden::open("samplers");
    for (kind, name) in [(SamplerKind::Ddim, "ddim"), (SamplerKind::DpmSolver, "dpm")] {
        for n_steps in [10, 50] {
            let sampler = sampler(&golden, kind, n_steps, 0.0);
            for strength in ["0.3", "0.58", "0.75"] {
                for (suffix, mask) in [("", None), (".masked", Some(golden.case("mask")))] {
                    let name = format!("edit.{name}.{strength}.{n_steps}{suffix}");
                    let (first, latents) = edited(&golden, &sampler, strength.parse().unwrap(), mask);
                    let expected = golden.case(&format!("{name}.first")).to_vec1::<i64>().unwrap();
                    assert_eq!([first as i64], *expected, "{name}");
                    golden.assert_close(&format!("{name}.last"), &latents);
                }
            }
        }
    }
}

/// DDIM with noise: the reference's, in place of what `denoise` draws.
#[test]
fn editing_with_noise_ends_where_the_reference_ends() {
    let golden = Golden::open("samplers");
    for n_steps in [10, 50] {
        let sampler = sampler(&golden, SamplerKind::Ddim, n_steps, 0.7);
        for strength in ["0.3", "0.58", "0.75"] {
            for (suffix, mask) in [("", None), (".masked", Some(golden.case("mask")))] {
                let (source, noise) = (golden.case("source"), golden.case("start").clone());
                let start = Start::source(&sampler, source, noise, strength.parse().unwrap(), mask.cloned()).unwrap();
                let (mut latents, mut memory) = (start.latents, Memory::default());
                for index in start.first..n_steps as usize {
                    let predicted = model(&latents, sampler.timesteps()[index]).unwrap();
                    let noise = golden.case("steps_noise").get(index).unwrap();
                    latents = sampler.step(&predicted, index, &latents, Some(&noise), &mut memory).unwrap();
                    if let Some(kept) = &start.kept {
                        latents = kept.blend(&latents, &sampler, index + 1).unwrap();
                    }
                }
                golden.assert_close(&format!("edit.ddim_noise.{strength}.{n_steps}{suffix}.last"), &latents);
            }
        }
    }
}

#[test]
fn the_ends_of_strength_are_the_picture_and_plain_sampling() {
    let golden = Golden::open("samplers");
    for kind in [SamplerKind::Ddim, SamplerKind::DpmSolver] {
        let sampler = sampler(&golden, kind, 12, 0.0);
        assert_close("none", &edited(&golden, &sampler, 0.0, None).1, golden.case("source"), 0.0);
        let start = Start::noise(golden.case("start").clone());
        let plain = denoise(model, &sampler, start, &[], &|_, _| {}).unwrap();
        assert_close("all", &edited(&golden, &sampler, 1.0, None).1, &plain, 0.0);
        // What is kept is kept to the last bit, and the rest is made as without a mask where masks are all white.
        let ones = golden.case("mask").ones_like().unwrap();
        let (_, anew) = edited(&golden, &sampler, 0.75, Some(&ones));
        assert_close("white", &anew, &edited(&golden, &sampler, 0.75, None).1, 1e-6);
        let (_, same) = edited(&golden, &sampler, 0.75, Some(&ones.zeros_like().unwrap()));
        assert_close("black", &same, golden.case("source"), 0.0);
    }
}

#[test]
fn steps_are_counted_from_where_they_start() {
    let golden = Golden::open("samplers");
    let sampler = sampler(&golden, SamplerKind::DpmSolver, 10, 0.0);
    let told = std::cell::RefCell::new(vec![]);
    let start = Start::source(&sampler, golden.case("source"), golden.case("start").clone(), 0.3, None).unwrap();
    denoise(model, &sampler, start, &[], &|done, of| told.borrow_mut().push((done, of))).unwrap();
    assert_eq!(told.into_inner(), [(1, 3), (2, 3), (3, 3)]);
}

#[test]
fn rescaling_wants_both_conditions_together() {
    let golden = Golden::open("cafe_unet");
    let unet = UNet::load(golden.folder(), &Device::Cpu).unwrap();
    let conditions = CafeConditioning { clip: golden.case("in.clip").clone(), dino: golden.case("in.dino").clone() };
    let independent = Guidance::Independent { dino_scale: 2.0, clip_scale: 3.0 };
    let error = Guided::cafe(&unet, &conditions, &independent, 0.5).err().unwrap().to_string();
    assert!(error.starts_with("guidance_rescale is 0.5: this guidance never evaluates both"), "{error}");
    let latents = Noise::new(1).normal((3, 4, 8, 8), &Device::Cpu).unwrap();
    let nested = Guidance::Nested { dino_scale: 2.0, clip_scale: 9.0, order: Order::DinoFirst };
    let predict = |guidance, rescale| {
        Guided::cafe(&unet, &conditions, guidance, rescale).unwrap().predict(&latents, 300).unwrap()
    };
    let (plain, guided) = (predict(&Guidance::None, 0.0), predict(&nested, 0.0));
    let expected = rescale_guidance(&guided, &plain, 0.6).unwrap();
    assert_close("rescaled", &predict(&nested, 0.6), &expected, 1e-5);
}
