//! A step of Eq. 2, timed: V, H and the learnable token behind a frozen Llama. `benches/peers/assistant.py` times the same in
//! PyTorch.
//!
//!     cargo run --release -p cafe-engine --example assistant -- FOLDER_OF_A_LLAMA [RUNS]

use std::path::{Path, PathBuf};
use std::time::Instant;

use cafe_engine::assistant::{
    Adapter, AdapterConfig, Assistant, Base, CONDITION_WEIGHT, Dialogue, DialogueBatch, Prompt, assistant_loss,
};
use cafe_engine::noise::Noise;
use cafe_engine::weights::Weights;
use cafe_engine::{Device, EngineError, op};

const BATCH: usize = 8;
const N_IMAGE_TOKENS: usize = 17;
const N_PROMPT: usize = 40;
const N_REPLY: usize = 24;
const CLIP_DIM: usize = 128;
const DINO_DIM: usize = 192;

fn main() -> Result<(), EngineError> {
    op::on_cores(measure)
}

#[expect(clippy::print_stdout, reason = "this is what the example is for")]
fn measure() -> Result<(), EngineError> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "llama".to_owned()));
    let n_runs: usize = arguments.next().and_then(|number| number.parse().ok()).unwrap_or(5);
    let base = Base::load(&folder, &Device::Cpu)?;
    let n_words = u32::try_from(base.llama.config().vocab_size).unwrap_or(u32::MAX);
    let config = AdapterConfig::new(base.digest.clone(), base.llama.config().hidden_size, (CLIP_DIM, DINO_DIM));
    let noise = Noise::new(1);
    let weights = Adapter::initial(&config, base.embedding_std()?, &noise)?;
    let weights = Weights::from_tensors(weights, Path::new("initial"));
    let (adapter, variables) = Adapter::for_training(config, &weights, &Device::Cpu)?;
    let assistant = Assistant::new(adapter, base, &folder)?;
    let ids = |row: usize, n: usize| noise.of("ids").at(row as u64).integers(n, n_words);
    let dialogues = (0..BATCH).map(|row| Dialogue {
        prompt: Prompt { before: ids(3 * row, 4), after: ids(3 * row + 1, N_PROMPT - 4) },
        reply: ids(3 * row + 2, N_REPLY),
    });
    let batch = DialogueBatch {
        dialogues: dialogues.collect(),
        dino: noise.of("dino").normal((BATCH, N_IMAGE_TOKENS, DINO_DIM), &Device::Cpu)?,
        clip: noise.of("clip").normal((BATCH, CLIP_DIM), &Device::Cpu)?,
    };
    let mut seconds = Vec::with_capacity(n_runs);
    for _ in 0..n_runs {
        let begun = Instant::now();
        let gradients = assistant_loss(&assistant, &batch, CONDITION_WEIGHT)?.total.backward()?;
        if variables.all().values().any(|variable| gradients.get(variable).is_none()) {
            return Err(EngineError::Argument("a variable has no gradient".to_owned()));
        }
        seconds.push(begun.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let (least, median) = (seconds.first().copied(), seconds.get(n_runs / 2).copied());
    println!("engine eq2: min {:.3} s, median {:.3} s", least.unwrap_or_default(), median.unwrap_or_default());
    Ok(())
}
