use super::super::tests::Tiny;
use super::*;
use crate::golden::{Golden, assert_close, relative_error};

fn engine(golden: &Golden) -> ProFusionEngine {
    ProFusionEngine::load(&ProFusionFolders::in_folder(golden.folder()), &Device::Cpu).unwrap()
}

fn picture(golden: &Golden, name: &str) -> RgbImage {
    image::open(golden.folder().join(name)).unwrap().into_rgb8()
}

fn settings() -> ProFusionSettings {
    let fusion = FusionSettings { n_steps: 3, ..FusionSettings::notebook() };
    ProFusionSettings { fusion, ..ProFusionSettings::default() }
}

fn short() -> TuneSettings {
    TuneSettings { n_augmentations: 3, n_iterations: 3, batch_size: 2, learning_rate: 1e-3, ..TuneSettings::default() }
}

const PROMPT: &str = "a Holder on the beach";

#[test]
fn pictures_are_encoded_and_latents_decoded_as_in_pytorch() {
    let golden = Golden::open("profusion");
    let engine = engine(&golden);
    for name in ["x", "y"] {
        let reference = engine.encoder.reference(&picture(&golden, &format!("{name}.png")), 1.0).unwrap();
        for (what, found) in [("latents", &reference.latents), ("vision", &reference.vision)] {
            let error = relative_error(found, golden.case(&format!("{name}.{what}")));
            println!("{name}.{what}: {error:.1e}");
            // 8-bit pixels are resized by another library, whose rounding differs by one in places.
            assert!(error <= 0.02, "{name}.{what}: {error:e}");
        }
    }
    let latents = engine.encoder.vae.config().unscale_latents(golden.case("fusion.latents")).unwrap();
    golden.assert_close("fusion.pixels", &engine.encoder.vae.decode(&latents).unwrap());
}

#[test]
fn from_a_picture_and_a_prompt_to_pictures() {
    let golden = Golden::open("profusion");
    let engine = engine(&golden);
    let folder = tempfile::tempdir().unwrap();
    let cache = TuneCache::open(folder.path()).unwrap();
    let losses = Mutex::new(Vec::new());
    let image = picture(&golden, "x.png");
    let on_step = |step: u64, loss: f64| losses.lock().unwrap().push((step, loss));
    let tuned = engine.tune(&image, None, "fox", &short(), Some(&cache), &on_step).unwrap();
    assert_eq!(losses.lock().unwrap().iter().map(|(step, _)| *step).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(!tuned.was_found);
    let further = [engine.encoder.reference(&picture(&golden, "y.png"), 2.0).unwrap()];
    let paint = |subject: &Subject, seeds: &[u64], settings: &ProFusionSettings| {
        engine.generate(subject, &further, PROMPT, seeds, settings, &|_, _| {}).unwrap()
    };
    let painted = paint(&tuned, &[1, 2], &settings());
    assert_eq!(painted.iter().map(RgbImage::dimensions).collect::<Vec<_>>(), [(16, 16); 2]);
    assert_ne!(painted[0], painted[1]);

    // Found again, without a step, and bit by bit the same.
    let found = engine.tune(&image, None, "fox", &short(), Some(&cache), &|_, _| panic!("tuned again")).unwrap();
    assert!(found.was_found && found.fingerprint == tuned.fingerprint);
    assert_eq!(paint(&found, &[1, 2], &settings()), painted);
    // Tuned again from nothing: the same too.
    let again = engine.tune(&image, None, "fox", &short(), None, &|_, _| {}).unwrap();
    assert_eq!(paint(&again, &[1, 2], &settings()), painted);
    // Another picture, a mask, or no tuning are another subject.
    let mask = GrayImage::from_fn(image.width(), image.height(), |x, _| image::Luma([if x < 12 { 255 } else { 0 }]));
    let masked = engine.tune(&image, Some(&mask), "fox", &short(), Some(&cache), &|_, _| {}).unwrap();
    assert!(!masked.was_found && masked.fingerprint != tuned.fingerprint);
    let untuned = engine.untuned(&image, "fox").unwrap();
    assert_ne!(paint(&untuned, &[1, 2], &settings()), painted);
    // From a picture, fewer steps are taken.
    let start = Some((picture(&golden, "y.png"), 400));
    let steps = Mutex::new(0);
    let count = |_: usize, of: usize| *steps.lock().unwrap() = of;
    engine.generate(&tuned, &[], PROMPT, &[1], &ProFusionSettings { start, ..settings() }, &count).unwrap();
    assert_eq!(*steps.lock().unwrap(), 2);
}

#[test]
fn what_was_kept_is_exactly_what_was_tuned() {
    let golden = Golden::open("profusion");
    let engine = engine(&golden);
    let base = TuneBase {
        promptnet: (&engine.promptnet.0, &engine.promptnet.1),
        unet: (&engine.unet.0, &engine.unet.1),
        text: &engine.text,
        noise: &engine.noise,
    };
    let set = engine.mini_set(&picture(&golden, "x.png"), None, &short()).unwrap();
    assert_eq!(set.latents.dims(), [4, 4, 8, 8]);
    let tuned = tune(base, &set, &short(), &|_, _| {}).unwrap();
    let overlay = overlaid(&engine.unet.1, &tuned, "unet").unwrap();
    let mut n_tuned = 0;
    for name in engine.unet.1.names() {
        let (found, base) = (overlay.tensor(&name).unwrap(), engine.unet.1.tensor(&name).unwrap());
        let change = relative_error(&found, &base);
        assert_eq!(change > 0.0, super::super::is_tuned(&name), "{name}: {change}");
        n_tuned += usize::from(change > 0.0);
    }
    assert_eq!(n_tuned, 42);
    for name in engine.promptnet.1.names() {
        let change = relative_error(&tuned[&format!("promptnet.{name}")], &engine.promptnet.1.tensor(&name).unwrap());
        assert!(change > 0.0, "{name}");
    }
    let strange = BTreeMap::from([("unet.nothing".to_owned(), set.latents)]);
    assert!(
        overlaid(&engine.unet.1, &strange, "unet").err().unwrap().to_string().contains("`unet.nothing` has no place")
    );
}

#[test]
fn a_row_does_not_depend_on_its_batch() {
    let golden = Golden::open("profusion");
    let engine = engine(&golden);
    let subject = engine.untuned(&picture(&golden, "x.png"), "fox").unwrap();
    let paint = |seeds: &[u64]| engine.generate(&subject, &[], PROMPT, seeds, &settings(), &|_, _| {}).unwrap();
    let (together, alone) = (paint(&[5, 6]), paint(&[6]));
    let difference = together[1].as_raw().iter().zip(alone[0].as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(difference.unwrap() <= 1, "{difference:?}");
}

#[test]
fn what_does_not_fit_is_refused_with_a_reason() {
    let tiny = Tiny::load();
    let engine = engine(&tiny.golden);
    let image = picture(&tiny.golden, "x.png");
    let subject = engine.untuned(&image, "fox").unwrap();
    let paint = |prompt: &str, seeds: &[u64]| {
        engine.generate(&subject, &[], prompt, seeds, &settings(), &|_, _| {}).unwrap_err().to_string()
    };
    assert!(paint("a fox", &[1]).contains("must have the word `holder` in it once"));
    assert!(paint(PROMPT, &[]).contains("no seed"));
    let mask = GrayImage::new(3, 3);
    let tune = |mask: Option<&GrayImage>, settings: TuneSettings| {
        engine.tune(&image, mask, "fox", &settings, None, &|_, _| {}).err().unwrap().to_string()
    };
    assert!(tune(Some(&mask), short()).contains("a mask of 3×3 px"));
    assert!(tune(None, TuneSettings { batch_size: 0, ..short() }).contains("batch_size must be"));
    assert!(tune(None, TuneSettings { learning_rate: -1.0, ..short() }).contains("learning_rate is -1"));
    let folders = ProFusionFolders {
        image_encoder: Golden::open("clip").folder().to_owned(),
        ..ProFusionFolders::in_folder(tiny.golden.folder())
    };
    let error = ProFusionEngine::load(&folders, &Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("vision_dim is 12, and the image encoder makes"), "{error}");
    assert_eq!(with_noun("Ä HOLDER, here", "dog"), "Ä dog, here");
    assert_close("nothing", &subject.reference.latents, &engine.encoder.reference(&image, 1.0).unwrap().latents, 1e-6);
}
