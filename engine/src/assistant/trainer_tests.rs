use std::path::PathBuf;

use candle_core::Tensor;

use super::*;
use crate::language::Message;
use crate::noise::Noise;
use crate::train::{Decay, EncodedRows, LearningRate};

const WORDS: [(&str, &str); 4] =
    [("a dog", "Here."), ("paint it", "Done, in blue."), ("?", "Yes."), ("the image", "On the beach.")];

fn base() -> Base {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("goldens/family/mllm/base");
    Base::load(&folder, &Device::Cpu).unwrap()
}

fn settings(n_steps: u64) -> AssistantSettings {
    let train = TrainSettings {
        n_steps,
        batch_size: 2,
        n_accumulate: 2,
        learning_rate: LearningRate { base: 2e-2, warm_up_steps: 2, decay: Decay::Cosine, total_steps: n_steps },
        weight_decay: 0.0,
        max_gradient_norm: 1.0,
        ema_decay: 0.0,
        seed: 3,
    };
    AssistantSettings { train, condition_weight: 0.2 }
}

fn table(folder: &Path) -> EncodedTable {
    let normal = |name: &str, shape: &[usize]| Noise::new(8).of(name).normal(shape, &Device::Cpu).unwrap();
    let rows = EncodedRows::new([("clip", normal("clip", &[4, 12])), ("dino", normal("dino", &[4, 5, 20]))]);
    let mut table = EncodedTable::open(folder, 4, "test").unwrap();
    table.write(0, &rows).unwrap();
    table
}

fn trainer_of(settings: AssistantSettings, words: &[(&str, &str)]) -> AssistantTrainer {
    let base = base();
    let config = AdapterConfig::new(base.digest.clone(), 32, (12, 20));
    let tensors = Adapter::initial(&config, base.embedding_std().unwrap(), &Noise::new(1)).unwrap();
    let weights = Weights::from_tensors(tensors, Path::new("initial"));
    let conversations = |assistant: &Assistant| {
        words.iter().map(|(said, reply)| assistant.dialogue(&[Message::new("user", *said)], reply)).collect()
    };
    AssistantTrainer::new(base, (config, &weights), conversations, settings).unwrap()
}

fn trainer(n_steps: u64) -> AssistantTrainer {
    trainer_of(settings(n_steps), &WORDS)
}

fn bits(trainer: &AssistantTrainer) -> Vec<(String, Vec<u32>)> {
    let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let trained = trainer.trainer.trained().unwrap();
    trained
        .iter()
        .map(|(name, tensor)| (name.clone(), numbers(tensor).into_iter().map(f32::to_bits).collect()))
        .collect()
}

#[test]
fn a_training_that_was_stopped_anywhere_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(&folder.path().join("pairs"));
    let mut whole = trainer(4);
    let reports: Vec<StepReport> = (0..4).map(|_| whole.step(&table).unwrap()).collect();
    for stop in 0..4 {
        let saved = folder.path().join(format!("stop-{stop}"));
        let mut first = trainer(4);
        for _ in 0..stop {
            first.step(&table).unwrap();
        }
        first.trainer.save(&saved).unwrap();
        let mut second = trainer(4);
        assert!(second.trainer_mut().restore(&saved).unwrap());
        let rest: Vec<StepReport> = (stop..4).map(|_| second.step(&table).unwrap()).collect();
        assert_eq!(rest, reports[stop..]);
        assert_eq!(bits(&second), bits(&whole), "stopped after {stop}");
    }
    let mut other = trainer_of(settings(4), &[WORDS[0], WORDS[2], WORDS[1], WORDS[3]]);
    assert!(other.trainer_mut().restore(&folder.path().join("stop-1")).is_err(), "other words are another training");
}

#[test]
fn it_learns_what_it_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    let mut trainer = trainer(60);
    let losses: Vec<f64> = (0..60).map(|_| trainer.step(&table).unwrap().loss).collect();
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (first, last) = (mean(&losses[..5]), mean(&losses[55..]));
    assert!(last < 0.7 * first, "{first} became {last}");
    let out = folder.path().join("mllm");
    trainer.export(&out, &Metadata::from([("writer".to_owned(), "a test".to_owned())])).unwrap();
    let assistant = Assistant::load(&out, base()).unwrap();
    assert_eq!(assistant.config(), trainer.assistant.config());
    let metadata = crate::weights::read_metadata(&out.join("model.safetensors")).unwrap();
    assert_eq!((metadata["n_steps"].as_str(), metadata["writer"].as_str()), ("60", "a test"));
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    let refused = trainer_of(settings(4), &WORDS[..3]).step(&table).unwrap_err().to_string();
    assert!(refused.contains("4 rows of pictures and 3 conversations"), "{refused}");
    let base = base();
    let config = AdapterConfig { distance: Distance::Cosine, ..AdapterConfig::new(base.digest.clone(), 32, (12, 20)) };
    let weights = Weights::from_tensors(Adapter::initial(&config, 1.0, &Noise::new(1)).unwrap(), Path::new("initial"));
    let refused = AssistantTrainer::new(base, (config, &weights), |_| Ok(Vec::new()), settings(4)).err().unwrap();
    assert!(refused.to_string().contains("condition_norm"), "{refused}");
}
