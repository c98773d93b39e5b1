use candle_core::{Device, Tensor};
use image::RgbImage;

use super::sample::{Guided, Start, denoise};
use super::*;
use crate::golden::{Golden, assert_close};
use crate::noise::{Order, SamplerKind};
use crate::picture::pixels::to_images;

const GUIDANCE: Guidance = Guidance::Nested { dino_scale: 1.5, clip_scale: 3.0, order: Order::DinoFirst };
const ALPHA: f64 = 0.4;
const N_STEPS: u32 = 6;

fn family(golden: &Golden) -> Family {
    Family::open(golden.folder()).unwrap()
}

fn picture(golden: &Golden, name: &str) -> RgbImage {
    image::open(golden.folder().join(name)).unwrap().into_rgb8()
}

fn settings() -> SamplerSettings {
    SamplerSettings { n_steps: N_STEPS, ..SamplerSettings::default() }
}

fn engine(golden: &Golden) -> CafeEngine {
    CafeEngine::load(&family(golden), &Device::Cpu).unwrap()
}

fn conditions(golden: &Golden, engine: &CafeEngine, n_rows: usize) -> CafeConditioning {
    let (x, w) = (picture(golden, "x.png"), picture(golden, "w.png"));
    engine.conditions(&vec![x; n_rows], &vec![w; n_rows], ALPHA).unwrap()
}

#[test]
fn images_are_encoded_as_transformers_does() {
    let golden = Golden::open("family");
    let encoders = ImageEncoders::load(&family(&golden), &Device::Cpu).unwrap();
    let (x, w) = (picture(&golden, "x.png"), picture(&golden, "w.png"));
    let cosine = |actual: &Tensor, name: &str| {
        let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (a, b) = (numbers(actual), numbers(golden.case(name)));
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let cosine = product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt();
        println!("{name}: 1 − cosine = {:.1e}", 1.0 - cosine);
        // The issue of resizing 8-bit pixels: another library's rounding is allowed this much.
        assert!(1.0 - cosine <= 0.002, "{name}: cosine {cosine}");
    };
    cosine(&encoders.clip(std::slice::from_ref(&x)).unwrap(), "clip_x");
    cosine(&encoders.clip(&[w]).unwrap(), "clip_w");
    cosine(&encoders.dino(&[x]).unwrap(), "dino_x");
}

/// The whole path of Eq. 4, from PyTorch's embeddings and noise on, so that all of it is held to the bound.
#[test]
fn equation_4_is_what_pytorch_makes_of_it() {
    let golden = Golden::open("family");
    let engine = engine(&golden);
    let conditions = CafeConditioning {
        clip: mix(golden.case("clip_w"), golden.case("clip_x"), ALPHA).unwrap(),
        dino: golden.case("dino_x").clone(),
    };
    let guided = Guided::cafe(&engine.unet, &conditions, &GUIDANCE, 0.0).unwrap();
    let sampler = engine.sampler.sampler(None, N_STEPS, 0.0).unwrap();
    let start = Start::noise(golden.case("latents").clone());
    let predict = |latents: &Tensor, timestep| guided.predict(latents, timestep);
    let latents = denoise(predict, &sampler, start, &[], &|_, _| {}).unwrap();
    golden.assert_close("cafe.latents", &latents);
    let unscaled = engine.vae.config().unscale_latents(&latents).unwrap();
    golden.assert_close("cafe.pixels", &engine.vae.decode(&unscaled).unwrap());
}

#[test]
fn text_to_image_is_what_pytorch_makes_of_it() {
    let golden = Golden::open("family");
    let base = TextToImage::load(&family(&golden), &Device::Cpu).unwrap();
    let (latents, pixels) = base.trace("a fox on the beach", 2.5, N_STEPS, golden.case("latents")).unwrap();
    golden.assert_close("text.latents", &latents);
    golden.assert_close("text.pixels", &pixels);
    assert_eq!(to_images(&pixels).unwrap().len(), 1);
}

#[test]
fn an_image_is_the_same_in_every_batch() {
    let golden = Golden::open("family");
    let engine = engine(&golden);
    for (eta, sampler) in [(0.0, None), (0.8, None), (0.0, Some(SamplerKind::DpmSolver))] {
        let settings = SamplerSettings { eta, sampler, ..settings() };
        let latents = |seeds: &[u64]| {
            let conditions = conditions(&golden, &engine, seeds.len());
            let guided = Guided::cafe(&engine.unet, &conditions, &GUIDANCE, 0.7).unwrap();
            let rows: Vec<Noise> = seeds.iter().map(|seed| Noise::new(*seed)).collect();
            engine.painter().latents(&guided, &settings, &rows, None, &|_, _| {}).unwrap()
        };
        let batch = latents(&[7, 8, 9]);
        for (row, seed) in [7, 8, 9].into_iter().enumerate() {
            assert_close("row", &latents(&[seed]), &batch.narrow(0, row, 1).unwrap(), 1e-4);
        }
        let other = latents(&[10]);
        let difference = (other - batch.narrow(0, 0, 1).unwrap()).unwrap().abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f32>().unwrap() > 0.1, "another seed makes another image");
    }
}

#[test]
fn images_have_the_size_that_is_asked_for() {
    let golden = Golden::open("family");
    let engine = engine(&golden);
    let conditions = conditions(&golden, &engine, 1);
    let generate = |size_px: Option<(usize, usize)>, seeds: &[u64]| {
        let settings = SamplerSettings { size_px, n_steps: 2, ..settings() };
        engine.generate(&conditions, seeds, &Guidance::None, &settings, &|_, _| {})
    };
    let size = |size_px| generate(size_px, &[1]).unwrap().first().unwrap().dimensions();
    assert_eq!(size(None), (32, 32));
    assert_eq!(size(Some((16, 48))), (48, 16));
    let refusal = |result: Result<Vec<RgbImage>>| result.unwrap_err().to_string();
    assert!(refusal(generate(Some((30, 32)), &[1])).contains("an image of 30×32 px: this model makes multiples of 16"));
    assert!(refusal(generate(None, &[1, 2])).contains("2 seeds for 1 images"));
}

#[test]
fn alpha_is_a_share() {
    let (w, x) = (Golden::open("family").case("clip_w").clone(), Golden::open("family").case("clip_x").clone());
    assert_close("all w", &mix(&w, &x, 1.0).unwrap(), &w, 0.0);
    assert_close("all x", &mix(&w, &x, 0.0).unwrap(), &x, 0.0);
    for alpha in [-0.1, 1.1, f64::NAN] {
        assert!(mix(&w, &x, alpha).is_err());
    }
}

#[test]
fn models_that_are_not_of_one_family_are_refused() {
    let golden = Golden::open("family");
    let folder = tempfile::tempdir().unwrap();
    for role in ["clip_condition", "dino_condition", "text_to_image"] {
        std::os::unix::fs::symlink(golden.folder().join(role), folder.path().join(role)).unwrap();
    }
    let load = || CafeEngine::load(&Family::open(folder.path()).unwrap(), &Device::Cpu).err().unwrap().to_string();
    assert!(load().contains("cafe_unet/config.json: "), "{}", load());
    std::fs::create_dir(folder.path().join("cafe_unet")).unwrap();
    let config = std::fs::read_to_string(golden.folder().join("cafe_unet/config.json")).unwrap();
    std::fs::copy(
        golden.folder().join("cafe_unet/diffusion_pytorch_model.safetensors"),
        folder.path().join("cafe_unet/diffusion_pytorch_model.safetensors"),
    )
    .unwrap();
    let path = folder.path().join("cafe_unet/config.json");
    std::fs::write(&path, config.replace("\"dino_dim\": 20", "\"dino_dim\": 24")).unwrap();
    let error = load();
    assert!(
        error.contains("attn2.to_k_dino.weight` has shape [8, 20]") && error.contains("asks for [8, 24]"),
        "{error}"
    );
    assert!(Family::open(&folder.path().join("none")).is_err());
}
