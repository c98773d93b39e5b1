use candle_core::Tensor;
use image::RgbImage;

use super::super::encoder::SubjectEncoder;
use super::super::init::from_unet;
use super::*;
use crate::golden::Golden;
use crate::train::{Decay, LearningRate};

fn folders() -> ProFusionFolders {
    ProFusionFolders::in_folder(Golden::open("profusion").folder())
}

fn config() -> PromptNetConfig {
    PromptNetConfig::read(&folders().promptnet.join("config.json")).unwrap()
}

fn settings(n_steps: u64) -> TrainSettings {
    TrainSettings {
        n_steps,
        batch_size: 2,
        n_accumulate: 1,
        learning_rate: LearningRate { base: 5e-3, warm_up_steps: 0, decay: Decay::Constant, total_steps: n_steps },
        weight_decay: 1e-2,
        max_gradient_norm: 1.0,
        ema_decay: 0.5,
        seed: 7,
    }
}

fn pictures(folder: &Path) -> EncodedTable {
    let encoder = SubjectEncoder::load(&folders(), &config(), &Device::Cpu).unwrap();
    let read = |name: &str| image::open(folders().base.join(name)).unwrap().into_rgb8();
    let images: Vec<RgbImage> = vec![read("x.png"), read("y.png")];
    let mut table = EncodedTable::open(folder, 2, "test").unwrap();
    table.write(0, &encoder.encode(&images).unwrap()).unwrap();
    table
}

/// A training that begins from the base model's UNet.
fn trainer(settings: &TrainSettings) -> PromptNetTrainer {
    let unet = Weights::open(&folders().base.join("unet")).unwrap();
    let tensors = from_unet(&config(), &unet, &Noise::new(3)).unwrap();
    let weights = Weights::from_tensors(tensors, Path::new("initial"));
    PromptNetTrainer::new(&folders(), (config(), &weights), settings, &Device::Cpu).unwrap()
}

fn bits(trainer: &PromptNetTrainer) -> Vec<Vec<u32>> {
    let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let trained = trainer.trainer.trained().unwrap();
    trained.values().map(|tensor| numbers(tensor).into_iter().map(f32::to_bits).collect()).collect()
}

#[test]
fn a_training_that_was_stopped_anywhere_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = pictures(&folder.path().join("pictures"));
    let mut whole = trainer(&settings(3));
    let reports: Vec<StepReport> = (0..3).map(|_| whole.step(&pictures).unwrap()).collect();
    for stop in 0..3 {
        let saved = folder.path().join(format!("stop-{stop}"));
        let mut first = trainer(&settings(3));
        for _ in 0..stop {
            first.step(&pictures).unwrap();
        }
        first.trainer.save(&saved).unwrap();
        let mut second = trainer(&settings(3));
        assert!(second.trainer_mut().restore(&saved).unwrap());
        let rest: Vec<StepReport> = (stop..3).map(|_| second.step(&pictures).unwrap()).collect();
        assert_eq!(rest, reports[stop..]);
        assert_eq!(bits(&second), bits(&whole), "stopped after {stop}");
    }
}

#[test]
fn it_learns_the_pictures_it_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = pictures(&folder.path().join("pictures"));
    let mut trainer = trainer(&settings(100));
    // On the same draws before and after: the base model is random, and what S* can change of its loss is small.
    let loss = |trainer: &PromptNetTrainer| -> f64 {
        let frozen = &trainer.frozen;
        let (unet, text, scheduler) = (&frozen.unet, &frozen.text, &frozen.scheduler);
        let models = SubjectModels { promptnet: &trainer.promptnet, unet, text, scheduler };
        let of_draw = |index: u64| {
            let noise = Noise::new(99).at(index);
            let batch = frozen.batch(&pictures, &[0, 1], &noise.of("latents"), &Device::Cpu).unwrap();
            let draw = SubjectDraw::new(batch.target.dims(), frozen.n_timesteps, &noise, &Device::Cpu).unwrap();
            subject_loss(models, &frozen.prompt, &batch, &draw).unwrap().to_scalar::<f32>().unwrap()
        };
        (0..40).map(|index| f64::from(of_draw(index))).sum::<f64>() / 40.0
    };
    let before = loss(&trainer);
    for _ in 0..100 {
        trainer.step(&pictures).unwrap();
    }
    let after = loss(&trainer);
    println!("{before} became {after}");
    assert!(after < 0.995 * before, "{before} became {after}");
    let out = folder.path().join("promptnet");
    trainer.export(&out, &Metadata::new()).unwrap();
    let loaded = PromptNet::load(&out, &Device::Cpu).unwrap();
    assert_eq!(loaded.config(), trainer.promptnet.config());
}

#[test]
fn one_that_does_not_fit_the_base_model_is_refused() {
    let mut config = config();
    config.prompt_channel += 8;
    let weights = Weights::open(&folders().promptnet).unwrap();
    let refused = PromptNetTrainer::new(&folders(), (config, &weights), &settings(1), &Device::Cpu).err().unwrap();
    assert!(refused.to_string().contains("prompt_channel is"), "{refused}");
}
