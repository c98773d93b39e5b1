use candle_core::DType;

use super::*;
use crate::golden::Golden;
use crate::noise::Noise;
use crate::noise::PredictionType;
use crate::train::{Decay, EncodedRows, LearningRate, TrainSettings};
use crate::unet::Trainable;

fn parts() -> DiffusionParts {
    let golden = Golden::open("cafe_unet");
    DiffusionParts {
        unet: UNetConfig::read(&golden.folder().join("config.json")).unwrap(),
        weights: golden.weights(),
        noise: NoiseConfig::stable_diffusion(PredictionType::Epsilon),
        vae: VaeConfig::sd2(),
    }
}

fn settings() -> DiffusionSettings {
    let train = TrainSettings {
        n_steps: 6,
        batch_size: 2,
        n_accumulate: 2,
        learning_rate: LearningRate { base: 1e-3, warm_up_steps: 2, decay: Decay::Cosine, total_steps: 6 },
        weight_decay: 1e-2,
        max_gradient_norm: 1.0,
        ema_decay: 0.9,
        seed: 3,
    };
    DiffusionSettings { train, drop_probability: 0.1, trainable: Trainable::Attn2, min_snr_gamma: Some(5.0) }
}

fn pairs(folder: &Path) -> EncodedTable {
    let noise = Noise::new(9);
    let normal = |purpose: &str, shape: &[usize]| noise.of(purpose).normal(shape, &Device::Cpu).unwrap();
    let rows = EncodedRows::new([
        ("clip", normal("clip", &[5, 12])),
        ("dino", normal("dino", &[5, 5, 20])),
        ("latent_mean", normal("mean", &[5, 4, 8, 8])),
        ("latent_log_variance", normal("variance", &[5, 4, 8, 8])),
    ]);
    let mut pairs = EncodedTable::open(folder, 5, "test").unwrap();
    pairs.write(0, &rows).unwrap();
    pairs
}

fn trainer() -> DiffusionTrainer {
    DiffusionTrainer::new(parts(), settings(), &Device::Cpu).unwrap()
}

fn bits(trainer: &DiffusionTrainer) -> Vec<(String, Vec<u32>)> {
    let numbers = |tensor: &Tensor| {
        let values = tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
        values.into_iter().map(f32::to_bits).collect()
    };
    let mut all: Vec<(String, Vec<u32>)> =
        trainer.weights().unwrap().iter().map(|(name, tensor)| (name.clone(), numbers(tensor))).collect();
    all.extend(trainer.trainer.variables().iter().map(|(name, var)| (format!("now {name}"), numbers(var.as_tensor()))));
    all
}

#[test]
fn a_training_that_was_stopped_anywhere_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = pairs(&folder.path().join("pairs"));
    let mut whole = trainer();
    let reports: Vec<StepReport> = (0..6).map(|_| whole.step(&pairs).unwrap()).collect();
    assert!(whole.trainer().is_done());
    assert_eq!(reports.iter().map(|report| report.step).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    for stop in 0..6 {
        let saved = folder.path().join(format!("stop-{stop}"));
        let mut first = trainer();
        for _ in 0..stop {
            first.step(&pairs).unwrap();
        }
        first.trainer().save(&saved).unwrap();
        let mut second = trainer();
        assert!(second.trainer_mut().restore(&saved).unwrap());
        let rest: Vec<StepReport> = (stop..6).map(|_| second.step(&pairs).unwrap()).collect();
        assert_eq!(rest, reports[stop..]);
        assert_eq!(bits(&second), bits(&whole), "stopped after {stop}");
    }
}

#[test]
fn a_training_with_other_settings_does_not_go_on() {
    let folder = tempfile::tempdir().unwrap();
    trainer().trainer().save(folder.path()).unwrap();
    let mut other = DiffusionTrainer::new(
        parts(),
        DiffusionSettings { train: TrainSettings { seed: 4, ..settings().train }, ..settings() },
        &Device::Cpu,
    )
    .unwrap();
    assert!(other.trainer_mut().restore(folder.path()).is_err());
    assert!(!trainer().trainer_mut().restore(&folder.path().join("nothing")).unwrap());
}

#[test]
fn what_is_exported_can_be_loaded_and_has_what_was_frozen() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = pairs(&folder.path().join("pairs"));
    let mut trainer = trainer();
    // The first step of a warm-up changes nothing.
    for _ in 0..2 {
        trainer.step(&pairs).unwrap();
    }
    let out = folder.path().join("cafe_unet");
    trainer.export(&out, &Metadata::from([("writer".to_owned(), "a test".to_owned())])).unwrap();
    UNet::load(&out, &Device::Cpu).unwrap();
    let metadata = crate::weights::read_metadata(&out.join("diffusion_pytorch_model.safetensors")).unwrap();
    assert_eq!(metadata["trainable"], "attn2");
    assert_eq!((metadata["n_steps"].as_str(), metadata["clip_embedding"].as_str()), ("2", "raw"));
    let (before, after) = (Golden::open("cafe_unet").weights(), Weights::open(&out).unwrap());
    let same = |name: &str| {
        let values = |weights: &Weights| weights.tensor(name).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        values(&before) == values(&after)
    };
    assert_eq!(before.names(), after.names());
    assert!(same("conv_in.weight") && !same("mid_block.attentions.0.transformer_blocks.0.attn2.to_v_dino.weight"));
}

#[test]
fn a_loss_that_is_no_number_is_an_error_with_the_step() {
    let folder = tempfile::tempdir().unwrap();
    let mut pairs = pairs(folder.path());
    let ill = Tensor::full(f32::NAN, (5, 12), &Device::Cpu).unwrap();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let rows = EncodedRows::new([
        ("clip", ill),
        ("dino", zeros(&[5, 5, 20])),
        ("latent_mean", zeros(&[5, 4, 8, 8])),
        ("latent_log_variance", zeros(&[5, 4, 8, 8])),
    ]);
    pairs.write(0, &rows).unwrap();
    let settings = DiffusionSettings { drop_probability: 0.0, ..settings() };
    let mut trainer = DiffusionTrainer::new(parts(), settings, &Device::Cpu).unwrap();
    let error = trainer.step(&pairs).unwrap_err().to_string();
    assert!(error.contains("the loss of step 1 is NaN"), "{error}");
}
