//! SmolLM2-135M-Instruct against llama.cpp. The file is too large to keep here: see `goldens/make/llama_oracle.py`.

use std::path::Path;

use candle_core::Device;
use serde::Deserialize;

use super::*;
use crate::noise::Noise;

#[derive(Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Written {
    prompt: Vec<u32>,
    ids: Vec<u32>,
    /// How far the second best token is behind the best.
    gaps: Vec<f32>,
    /// The best first tokens and their scores.
    top: Vec<(u32, f32)>,
}

fn golden<T: serde::de::DeserializeOwned>(name: &str) -> T {
    crate::config::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/llama-cpp").join(name)).unwrap()
}

/// The file, converted: its folder.
fn converted() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    gguf::convert(Path::new(&std::env::var("CAFE_GGUF").unwrap()), folder.path()).unwrap();
    folder
}

#[test]
#[ignore = "wants SmolLM2-135M-Instruct as a GGUF file: CAFE_GGUF"]
fn ids_are_llama_cpps() {
    let folder = converted();
    let tokenizer = ChatTokenizer::load(folder.path()).unwrap();
    let texts: Vec<Text> = golden("ids.json");
    for Text { text, ids } in &texts {
        assert_eq!(&tokenizer.encode(text).unwrap(), ids, "{text:?}");
    }
    let said = [Message::new("user", "Hi")];
    let prompt = tokenizer.render(&said, true).unwrap();
    assert!(prompt.ends_with("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"), "{prompt}");
    let stop: Vec<_> = tokenizer.stop_ids().iter().filter_map(|id| tokenizer.token(*id)).collect();
    println!("{} texts; replies end with {stop:?}", texts.len());
}

#[test]
#[ignore = "wants SmolLM2-135M-Instruct as a GGUF file: CAFE_GGUF"]
fn scores_and_replies_are_llama_cpps() {
    let folder = converted();
    let model = Llama::load(folder.path(), &Device::Cpu).unwrap();
    let expected: Vec<Written> = golden("replies.json");
    let request = |written: &Written| Request {
        prompt: model.embed(&written.prompt).unwrap(),
        sequence: Sequence::new(model.config()),
        sampling: Sampling::default(),
        noise: Noise::new(0),
        max_new_tokens: written.ids.len(),
        stop: Vec::new(),
    };
    let mut worst = 0.0_f32;
    let replies = model.generate_constrained(expected.iter().map(request).collect(), &mut |row, written, logits| {
        if written.is_empty() {
            let errors = expected[row].top.iter().map(|(id, logit)| (logits[*id as usize] - logit).abs());
            worst = errors.fold(worst, f32::max);
        }
        Ok(Next::Choose)
    });
    let gap = expected.iter().flat_map(|written| &written.gaps).copied().fold(f32::INFINITY, f32::min);
    println!("the largest error of a score is {worst:.1e}; the smallest gap between the best two is {gap:.1e}");
    assert!(worst <= 2e-4, "{worst:e}");
    for (reply, expected) in replies.unwrap().iter().zip(&expected) {
        assert_eq!((&reply.ids, reply.ids.len()), (&expected.ids, 64));
    }
}
