use super::super::tests::Tiny;
use super::*;
use crate::golden::{assert_close, relative_error};
use crate::noise::{Noise, NoiseSchedule, PredictionType};

const TEXTS: FusionTexts<'static> =
    FusionTexts { prompt: "a holder on the beach", noun_prompt: "a fox on the beach", negative: "" };

fn settings() -> FusionSettings {
    FusionSettings { n_steps: 4, refine_eta: 0.9, ..FusionSettings::notebook() }
}

fn references(tiny: &Tiny) -> Vec<Reference> {
    [("x", 0.0), ("y", 2.0)]
        .map(|(name, scale)| {
            let case = |what: &str| tiny.golden.case(&format!("{name}.{what}")).clone();
            Reference { latents: case("latents"), vision: case("vision"), scale }
        })
        .to_vec()
}

fn fusion<'a>(tiny: &'a Tiny, references: &'a [Reference], settings: FusionSettings) -> Fusion<'a> {
    Fusion::new((&tiny.promptnet, &tiny.unet, &tiny.text), references, TEXTS, &tiny.noise, settings).unwrap()
}

fn sampled(fusion: &Fusion<'_>, tiny: &Tiny, latents: &Tensor, first: usize, rows: std::ops::Range<usize>) -> Tensor {
    let draw = |drawn: Drawn, _: &[usize]| {
        let Drawn::Refine { step, repetition: 0 } = drawn else { panic!("{drawn:?} was not to be drawn") };
        Ok(tiny.golden.case("fusion.z").get(step)?.narrow(0, rows.start, rows.len())?)
    };
    fusion.sample(latents, first, &draw, &|_, _| {}).unwrap()
}

#[test]
fn steps_and_samplings_are_those_of_the_formulas_in_pytorch() {
    let tiny = Tiny::load();
    let (golden, references) = (&tiny.golden, references(&tiny));
    let both = fusion(&tiny, &references, settings());
    let (x, z) = (golden.case("fusion.x"), golden.case("fusion.z"));
    golden.assert_close("fusion.refined", &both.refine(x, 1, &z.get(1).unwrap()).unwrap());
    golden.assert_close("fusion.stepped", &both.step(x, 1, None).unwrap());
    golden.assert_close("fusion.latents", &sampled(&both, &tiny, x, 0, 0..2));
    let alone = fusion(&tiny, &references[..1], settings());
    golden.assert_close("fusion.alone", &sampled(&alone, &tiny, x, 0, 0..2));
    // From a picture, at timestep 600.
    let first = both.first_step(600).unwrap();
    let source = Tensor::cat(&[&references[0].latents; 2], 0).unwrap();
    let noised = both.noised(&source, x, first).unwrap();
    golden.assert_close("fusion.edited", &sampled(&both, &tiny, &noised, first, 0..2));
}

#[test]
fn a_batch_is_its_rows() {
    let tiny = Tiny::load();
    let references = references(&tiny);
    let fusion = fusion(&tiny, &references, settings());
    let x = tiny.golden.case("fusion.x");
    let together = sampled(&fusion, &tiny, x, 0, 0..2);
    for row in 0..2 {
        let alone = sampled(&fusion, &tiny, &x.narrow(0, row, 1).unwrap(), 0, row..row + 1);
        assert_close("single row", &alone, &together.narrow(0, row, 1).unwrap(), 1e-5);
    }
}

#[test]
fn step_a_keeps_the_variance() {
    let schedule = NoiseSchedule::new(&NoiseConfig::stable_diffusion(PredictionType::Epsilon)).unwrap();
    let u = Noise::new(1).of("u").normal(200_000, &candle_core::Device::Cpu).unwrap();
    let z = Noise::new(1).of("z").normal(200_000, &candle_core::Device::Cpu).unwrap();
    for timestep in 1..1000_u32 {
        for (eta, stride) in [(1.0, 20), (0.7, 20), (0.3, 250), (0.0, 100), (1.0, 1)] {
            let a = schedule.alpha_cumprod(timestep).unwrap();
            let p = schedule.alpha_cumprod(timestep.saturating_sub(stride)).unwrap();
            // The formulas as ProFusion has them.
            let variance = eta * eta * (1.0 - p) / (1.0 - a) * (1.0 - a / p);
            let of_epsilon = variance * (1.0 - a).sqrt() / (1.0 - p);
            let of_noise = (variance * (1.0 - a) * (2.0 - 2.0 * p - variance)).sqrt() / (1.0 - p);
            let found = Refinement::new(a, p, eta);
            assert!((found.of_epsilon - of_epsilon).abs() < 1e-12 && (found.of_noise - of_noise).abs() < 1e-12);
            // For x = √a·x0 + √(1−a)·u with the true ε = u: u' = ρ²·u + √((1−ρ²)(1+ρ²))·z, and ρ⁴ + (1−ρ²)(1+ρ²) = 1.
            let rho_2 = 1.0 - variance / (1.0 - p);
            let (of_u, of_z) = (1.0 - found.of_epsilon / (1.0 - a).sqrt(), found.of_noise / (1.0 - a).sqrt());
            assert!((of_u - rho_2).abs() < 1e-12);
            assert!((of_z - ((1.0 - rho_2) * (1.0 + rho_2)).sqrt()).abs() < 1e-9, "{of_z} at {timestep}");
            assert!((of_u * of_u + of_z * of_z - 1.0).abs() < 1e-12);
            if timestep % 333 == 0 {
                let after = ((&u * of_u).unwrap() + (&z * of_z).unwrap()).unwrap();
                let variance = after.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap();
                assert!((variance - 1.0).abs() < 0.02, "{variance} at {timestep}");
            }
        }
    }
    // The limit where nothing of the noise is left after the step.
    let last = Refinement::new(0.9, 1.0, 1.0);
    assert!((last.of_epsilon - 0.1_f64.sqrt()).abs() < 1e-12 && (last.of_noise - 0.1_f64.sqrt()).abs() < 1e-12);
}

#[test]
fn defaults_and_preset_are_the_papers() {
    let FusionSettings { n_steps, subject_scale, noun_scale, ddim_eta, n_refine, refine_eta, gamma, refine_scale } =
        FusionSettings::default();
    assert_eq!((n_steps, n_refine), (50, 0));
    assert_eq!([subject_scale, noun_scale, ddim_eta, refine_eta, gamma, refine_scale], [5.0, 0.0, 0.0, 1.0, 0.8, 3.0]);
    let FusionSettings { subject_scale, noun_scale, n_refine, gamma, refine_scale, refine_eta, .. } =
        FusionSettings::notebook();
    assert_eq!(
        (n_refine, [subject_scale, noun_scale, gamma, refine_scale, refine_eta]),
        (1, [7.0, 5.0, 0.6, 7.0, 1.0])
    );
}

#[test]
fn what_cannot_be_sampled_is_refused() {
    let tiny = Tiny::load();
    let references = references(&tiny);
    let new = |references: &[Reference], texts: FusionTexts<'_>, settings: FusionSettings| {
        Fusion::new((&tiny.promptnet, &tiny.unet, &tiny.text), references, texts, &tiny.noise, settings)
            .err()
            .unwrap()
            .to_string()
    };
    assert_eq!(new(&[], TEXTS, settings()), "no picture of the subject");
    let error = new(&references, FusionTexts { prompt: "a fox", ..TEXTS }, settings());
    assert!(error.contains("must have the word `holder` in it once"), "{error}");
    let error = new(&references, FusionTexts { prompt: "holder holder", ..TEXTS }, settings());
    assert!(error.contains("must have the word `holder` in it once"), "{error}");
    assert!(new(&references, TEXTS, FusionSettings { refine_eta: 1.5, ..settings() }).contains("refine_eta is 1.5"));
    assert!(new(&references, TEXTS, FusionSettings { gamma: f64::NAN, ..settings() }).contains("gamma is NaN"));
    let fusion = fusion(&tiny, &references, settings());
    assert!(fusion.first_step(0).is_err());
    assert!(fusion.step(tiny.golden.case("in.target"), 0, None).is_ok());
    assert!(fusion.step(&tiny.golden.case("fusion.x").narrow(2, 0, 4).unwrap(), 0, None).is_err());
    assert!(fusion.step(tiny.golden.case("fusion.x"), 9, None).is_err());
}

#[test]
fn gamma_is_of_the_output_at_the_slot_alone() {
    let tiny = Tiny::load();
    let prompt = tiny.text.prompt(TEXTS.prompt, true).unwrap();
    let subject = tiny.golden.case("out.subject");
    let (plain, scaled) =
        (tiny.text.inject(&prompt, subject, 1.0).unwrap(), tiny.text.inject(&prompt, subject, 0.6).unwrap());
    let slot = 2;
    let at = |states: &Tensor| states.narrow(1, slot, 1).unwrap();
    assert!(relative_error(&at(&scaled), &(at(&plain) * 0.6).unwrap()) < 1e-6);
    let rest = |states: &Tensor| states.narrow(1, slot + 1, 13).unwrap();
    assert_eq!(relative_error(&rest(&scaled), &rest(&plain)), 0.0);
    tiny.golden.assert_close("out.states.padded", &scaled);
}

#[test]
fn a_model_of_velocities_is_read_as_one_of_noise() {
    let tiny = Tiny::load();
    let references = references(&tiny);
    let (x, z) = (tiny.golden.case("fusion.x"), tiny.golden.case("fusion.z").get(1).unwrap());
    let refined = |kind: PredictionType| {
        let noise = NoiseConfig { prediction_type: kind, ..tiny.noise.clone() };
        let models = (&tiny.promptnet, &tiny.unet, &tiny.text);
        let fusion = Fusion::new(models, &references, TEXTS, &noise, settings()).unwrap();
        (fusion.refine(x, 1, &z).unwrap(), fusion.scheduler().alphas(1).unwrap())
    };
    let ((by_noise, (alpha, before)), (by_velocity, _)) =
        (refined(PredictionType::Epsilon), refined(PredictionType::VPrediction));
    let factors = Refinement::new(alpha, before, settings().refine_eta);
    // What the model said, from what became of it as noise.
    let moved = ((x + (&z * factors.of_noise).unwrap()).unwrap() - by_noise).unwrap();
    let output = (moved / factors.of_epsilon).unwrap();
    let epsilon = ((output * alpha.sqrt()).unwrap() + (x * (1.0 - alpha).sqrt()).unwrap()).unwrap();
    let expected = ((x - (epsilon * factors.of_epsilon).unwrap()).unwrap() + (&z * factors.of_noise).unwrap()).unwrap();
    assert_close("refined", &by_velocity, &expected, 1e-4);
}

#[test]
fn steps_draw_noise_where_ddim_adds_it_and_nowhere_else() {
    let tiny = Tiny::load();
    let references = references(&tiny);
    let drawn = |ddim_eta: f64, n_refine: u32| {
        let settings = FusionSettings { ddim_eta, n_refine, ..settings() };
        let all = std::cell::RefCell::new(Vec::new());
        let draw = |drawn: Drawn, shape: &[usize]| {
            all.borrow_mut().push(drawn);
            Ok(Noise::new(all.borrow().len() as u64).normal(shape, &candle_core::Device::Cpu)?)
        };
        let x = tiny.golden.case("fusion.x");
        let latents = fusion(&tiny, &references, settings).sample(x, 2, &draw, &|_, _| {}).unwrap();
        assert_eq!(latents.dims(), x.dims());
        all.into_inner()
    };
    assert_eq!(drawn(0.0, 0), []);
    assert_eq!(drawn(1.0, 0), [Drawn::Step { step: 2 }, Drawn::Step { step: 3 }]);
    let refine = |step, repetition| Drawn::Refine { step, repetition };
    assert_eq!(drawn(0.0, 2), [refine(2, 0), refine(2, 1), refine(3, 0), refine(3, 1)]);
}
