use candle_core::Device;
use image::Rgb;

use super::super::{CafeEngine, Family, TextToImage};
use super::*;
use crate::golden::{Golden, assert_close};
use crate::noise::{Guidance, SamplerKind};
use crate::unet::CafeConditioning;

const SETTINGS: SamplerSettings =
    SamplerSettings { sampler: None, n_steps: 4, eta: 0.0, guidance_rescale: 0.0, size_px: None };
const GUIDANCE: Guidance = Guidance::Normalised { dino_scale: 1.5, clip_scale: 3.0 };

fn family(golden: &Golden) -> Family {
    Family::open(golden.folder()).unwrap()
}

fn conditions(golden: &Golden, n_rows: usize) -> CafeConditioning {
    let rows = |name: &str| {
        let row = golden.case(name);
        Tensor::cat(&vec![row; n_rows], 0).unwrap()
    };
    CafeConditioning { clip: rows("clip_w"), dino: rows("dino_x") }
}

fn picture(golden: &Golden, name: &str) -> RgbImage {
    image::open(golden.folder().join(name)).unwrap().into_rgb8()
}

/// White in the right half, black in the left.
fn half() -> RgbImage {
    RgbImage::from_fn(32, 32, |x, _| Rgb([if x < 16 { 0 } else { 255 }; 3]))
}

fn reconstruction(engine: &CafeEngine, image: &RgbImage) -> RgbImage {
    let latents = engine.encode_latents(std::slice::from_ref(image), (32, 32)).unwrap();
    pixels::to_images(&engine.vae.decode(latents.mode()).unwrap()).unwrap().remove(0)
}

/// From PyTorch's embeddings, noise and source on, so that all of it is held to the bound.
#[test]
fn editing_is_what_pytorch_makes_of_it() {
    let golden = Golden::open("family");
    let engine = CafeEngine::load(&family(&golden), &Device::Cpu).unwrap();
    let image = [picture(&golden, "w.png")];
    let (encoded, _) =
        engine.painter().encode(&Source { images: &image, strength: 0.7, masks: None }, 1, [8, 8]).unwrap();
    // Pixels are rounded by another library's filter.
    assert_close("source", &encoded, golden.case("edit.source"), 0.02);
    let clip = super::super::mix(golden.case("clip_w"), golden.case("clip_x"), 0.4).unwrap();
    let conditions = CafeConditioning { clip, dino: golden.case("dino_x").clone() };
    let guided = Guided::cafe(&engine.unet, &conditions, &GUIDANCE, 0.0).unwrap();
    // The family's config is DDIM's, whose spacing holds for the other sampler too.
    let sampler = engine.sampler.sampler(Some(SamplerKind::DpmSolver), 8, 0.0).unwrap();
    let (noise, mask) = (golden.case("latents").clone(), golden.case("edit.mask").clone());
    let start = Start::source(&sampler, golden.case("edit.source"), noise, 0.7, Some(mask)).unwrap();
    let predict = |latents: &Tensor, timestep| guided.predict(latents, timestep);
    let latents = denoise(predict, &sampler, start, &[], &|_, _| {}).unwrap();
    golden.assert_close("edit.latents", &latents);
    let unscaled = engine.vae.config().unscale_latents(&latents).unwrap();
    golden.assert_close("edit.pixels", &engine.vae.decode(&unscaled).unwrap());
}

#[test]
fn the_ends_of_strength_are_the_picture_and_a_new_one() {
    let golden = Golden::open("family");
    let engine = CafeEngine::load(&family(&golden), &Device::Cpu).unwrap();
    let (image, conditions) = (picture(&golden, "x.png"), conditions(&golden, 1));
    for sampler in [None, Some(SamplerKind::DpmSolver)] {
        let settings = SamplerSettings { sampler, ..SETTINGS };
        let edit = |strength: f64, masks: Option<&[RgbImage]>| {
            let source = Source { images: std::slice::from_ref(&image), strength, masks };
            engine.edit(&source, &conditions, &[3], &GUIDANCE, &settings, &|_, _| {}).unwrap().remove(0)
        };
        let plain = engine.generate(&conditions, &[3], &GUIDANCE, &settings, &|_, _| {}).unwrap().remove(0);
        let kept = reconstruction(&engine, &image);
        let distance = |a: &RgbImage, b: &RgbImage| -> f64 {
            let sum: u64 = a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
            sum as f64 / a.as_raw().len() as f64
        };
        assert!(distance(&edit(0.0, None), &kept) < 0.01, "nothing is made anew");
        assert!(edit(1.0, None) == plain, "all is made anew");
        let (some, much) = (edit(0.25, None), edit(0.75, None));
        println!("from the picture: {:.1} and {:.1} of 255", distance(&some, &kept), distance(&much, &kept));
        assert!(some != kept && much != some && much != plain);
        // All black keeps all; a half keeps its half of the latents.
        let black = [RgbImage::new(8, 8)];
        assert!(distance(&edit(0.75, Some(&black)), &kept) < 0.01);
        let white = [RgbImage::from_pixel(8, 8, Rgb([255; 3]))];
        assert!(distance(&edit(0.75, Some(&white)), &much) < 0.01);
    }
}

#[test]
fn what_is_black_in_the_mask_stays() {
    let golden = Golden::open("family");
    let engine = CafeEngine::load(&family(&golden), &Device::Cpu).unwrap();
    let (images, masks, conditions) = ([picture(&golden, "x.png")], [half()], conditions(&golden, 1));
    let guided = Guided::cafe(&engine.unet, &conditions, &GUIDANCE, 0.0).unwrap();
    let source = Source { images: &images, strength: 0.75, masks: Some(&masks) };
    let (before, mask) = engine.painter().encode(&source, 1, [8, 8]).unwrap();
    let mask = mask.unwrap();
    assert_eq!(mask.dims(), [1, 1, 8, 8]);
    assert_eq!(mask.flatten_all().unwrap().to_vec1::<f32>().unwrap()[..8], [0., 0., 0., 0., 1., 1., 1., 1.]);
    let after = engine.painter().latents(&guided, &SETTINGS, &[Noise::new(1)], Some(&source), &|_, _| {}).unwrap();
    let difference = (after - before).unwrap().abs().unwrap();
    let greatest = |left: usize| difference.narrow(3, left, 4).unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(greatest(0) == 0.0 && greatest(4) > 0.1);
}

#[test]
fn a_row_is_the_same_alone_and_in_a_batch() {
    let golden = Golden::open("family");
    let engine = CafeEngine::load(&family(&golden), &Device::Cpu).unwrap();
    let images = [picture(&golden, "x.png"), picture(&golden, "w.png")];
    let masks = [half(), RgbImage::from_pixel(5, 5, Rgb([120; 3]))];
    let settings = SamplerSettings { eta: 0.5, ..SETTINGS };
    let latents = |rows: std::ops::Range<usize>| {
        let conditions = conditions(&golden, rows.len());
        let guided = Guided::cafe(&engine.unet, &conditions, &GUIDANCE, 0.0).unwrap();
        let source = Source { images: &images[rows.clone()], strength: 0.6, masks: Some(&masks[rows.clone()]) };
        let noise: Vec<Noise> = rows.map(|row| Noise::new(row as u64)).collect();
        engine.painter().latents(&guided, &settings, &noise, Some(&source), &|_, _| {}).unwrap()
    };
    let both = latents(0..2);
    for row in 0..2 {
        assert_close("row", &latents(row..row + 1), &both.narrow(0, row, 1).unwrap(), 1e-4);
    }
}

#[test]
fn the_base_model_edits_too() {
    let golden = Golden::open("family");
    let base = TextToImage::load(&family(&golden), &Device::Cpu).unwrap();
    let (images, prompts) = ([picture(&golden, "w.png")], ["a fox".to_owned()]);
    let settings = SamplerSettings { sampler: Some(SamplerKind::DpmSolver), guidance_rescale: 0.5, ..SETTINGS };
    let edit = |strength| {
        let source = Source { images: &images, strength, masks: None };
        base.edit(&source, &prompts, &[1], 3.0, &settings, &|_, _| {}).unwrap()
    };
    assert!(edit(1.0) == base.generate(&prompts, &[1], 3.0, &settings, &|_, _| {}).unwrap());
    assert!(edit(0.5) != edit(0.0));
}

#[test]
fn what_does_not_fit_is_said() {
    let golden = Golden::open("family");
    let engine = CafeEngine::load(&family(&golden), &Device::Cpu).unwrap();
    let (image, conditions) = (picture(&golden, "x.png"), conditions(&golden, 2));
    let (one, two) = ([image.clone()], [image.clone(), image]);
    let refusal = |images: &[RgbImage], strength: f64, masks: Option<&[RgbImage]>, settings: &SamplerSettings| {
        let source = Source { images, strength, masks };
        engine.edit(&source, &conditions, &[1, 2], &GUIDANCE, settings, &|_, _| {}).unwrap_err().to_string()
    };
    assert_eq!(refusal(&one, 0.5, None, &SETTINGS), "1 pictures to start from, for 2 images");
    assert_eq!(refusal(&two, 0.5, Some(&one), &SETTINGS), "1 masks for 2 images");
    assert_eq!(refusal(&two, -0.5, None, &SETTINGS), "strength is -0.5: it must be 0 to 1");
    let solver = SamplerSettings { sampler: Some(SamplerKind::DpmSolver), eta: 1.0, ..SETTINGS };
    assert!(refusal(&two, 0.5, None, &solver).starts_with("eta is 1: DPM-Solver++ adds no noise"));
    let rescale = SamplerSettings { guidance_rescale: 2.0, ..SETTINGS };
    assert!(refusal(&two, 0.5, None, &rescale).starts_with("guidance_rescale is 2: it must be 0 to 1"));
}
