use std::path::PathBuf;

use candle_core::Device;
use tokenizers::Tokenizer;

use super::testing::{Writer, floats, integers, model, number, text, texts};
use super::*;
use crate::golden::Golden;
use crate::language::{Llama, TokenIds};

fn converted(writer: &Writer) -> (tempfile::TempDir, Result<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let (gguf, to) = (folder.path().join("x.gguf"), folder.path().join("to"));
    std::fs::write(&gguf, writer.bytes()).unwrap();
    let done = convert(&gguf, &to).map(|()| to);
    (folder, done)
}

#[test]
fn a_model_is_the_same_after_conversion() {
    let golden = Golden::open("llama-f16");
    let (_folder, to) = converted(&model());
    let to = to.unwrap();
    let model = Llama::load(&to, &Device::Cpu).unwrap();
    let ids = golden.case("ids").to_vec2::<u32>().unwrap();
    let embeddings: Vec<Tensor> = ids.iter().map(|ids| model.embed(ids).unwrap()).collect();
    let hidden = model.forward(&Tensor::stack(&embeddings, 0).unwrap(), None).unwrap();
    golden.assert_close("hidden", &hidden);
    golden.assert_close("logits", &model.logits(&hidden).unwrap());
    let config = model.config();
    assert_eq!((config.bos_token_id, &config.eos_token_id), (Some(1), &Some(TokenIds::One(0))));
    let text = std::fs::read_to_string(to.join("config.json")).unwrap();
    assert!(text.contains("\"rms_norm_eps\": 1e-6") || text.contains("\"rms_norm_eps\": 0.000001"), "{text}");

    let tokenizer = Tokenizer::from_file(to.join("tokenizer.json")).unwrap();
    let ids = |text: &str| tokenizer.encode(text, true).unwrap().get_ids().to_vec();
    // Digits are taken one by one, whatever pairs there are; a special token is found anywhere.
    assert_eq!(ids("a cat12"), [2, 42, 29, 30]);
    assert_eq!(ids("<|start|>cat\n<|end|>"), [1, 4, 41, 39, 0]);
    assert_eq!(tokenizer.decode(&[1, 2, 42, 29, 0], true).unwrap(), "a cat1");
    let config: serde_json::Value = crate::config::read(&to.join("tokenizer_config.json")).unwrap();
    assert_eq!(
        (&config["bos_token"], &config["chat_template"]),
        (&"<|start|>".into(), &"{{ messages[0].content }}".into())
    );
}

#[test]
fn a_text_may_begin_with_a_token() {
    let (_folder, to) = converted(model().value("tokenizer.ggml.add_bos_token", 7, &[1]));
    let tokenizer = Tokenizer::from_file(to.unwrap().join("tokenizer.json")).unwrap();
    assert_eq!(tokenizer.encode("a", true).unwrap().get_ids(), [1, 2]);
    assert_eq!(tokenizer.encode("a", false).unwrap().get_ids(), [2]);
}

/// What SentencePiece and llama.cpp make of texts.
#[derive(serde::Deserialize)]
struct Pieces {
    tokens: Vec<String>,
    scores: Vec<f32>,
    kinds: Vec<i32>,
    texts: Vec<Encoded>,
    special: Vec<Encoded>,
}

#[derive(serde::Deserialize)]
struct Encoded {
    text: String,
    ids: Vec<u32>,
    decoded: Option<String>,
}

#[test]
fn pieces_are_those_of_sentencepiece_and_llama_cpp() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/sentencepiece/facts.json");
    let facts: Pieces = serde_json::from_slice(&std::fs::read(folder).unwrap()).unwrap();
    let mut writer = model();
    writer.value("tokenizer.ggml.model", 8, &text("llama")).without("tokenizer.ggml.pre");
    writer.without("tokenizer.ggml.merges").value("tokenizer.ggml.tokens", 9, &texts(&facts.tokens));
    writer.value("tokenizer.ggml.scores", 9, &floats(&facts.scores));
    writer.value("tokenizer.ggml.token_type", 9, &integers(&facts.kinds));
    for (key, id) in [("unknown", 0), ("bos", 1), ("eos", 2)] {
        writer.value(&format!("tokenizer.ggml.{key}_token_id"), 4, &number(id));
    }
    let header = Header::read(&mut std::io::Cursor::new(writer.bytes())).unwrap();
    let files = tokenizer::Files::of(&header).unwrap();
    let made: Tokenizer = files.tokenizer.parse().unwrap();
    let ids = |text: &str| made.encode(text, false).unwrap().get_ids().to_vec();
    for Encoded { text, ids: expected, decoded } in &facts.texts {
        assert_eq!(&ids(text), expected, "{text:?}");
        assert_eq!(&made.decode(expected, true).unwrap(), decoded.as_ref().unwrap(), "{text:?}");
    }
    for Encoded { text, ids: expected, .. } in &facts.special {
        assert_eq!(&ids(text), expected, "{text:?}");
    }
    assert!(facts.texts.len() > 30 && facts.special.len() > 5);
    // Llama's texts begin with <s> where the file does not say otherwise.
    assert_eq!(made.encode("a", true).unwrap().get_ids()[0], 1);
    assert_eq!((&files.config["add_bos_token"], &files.config["unk_token"]), (&true.into(), &"<unk>".into()));
}

#[test]
fn what_is_not_supported_is_an_error_that_says_why() {
    let refused = |writer: &Writer, message: &str| {
        let (folder, done) = converted(writer);
        let error = done.unwrap_err().to_string();
        let error = error.replace(folder.path().to_str().unwrap(), "FOLDER");
        assert!(error.starts_with(&format!("FOLDER/x.gguf: {message}")), "{error}");
        assert!(!folder.path().join("to").join("config.json").is_file());
    };
    refused(&Writer::default(), "key `general.architecture` is None");
    refused(model().value("general.architecture", 8, &text("gpt2")), "key `general.architecture` is Some(\"gpt2\")");
    refused(model().without("llama.block_count"), "key `llama.block_count` is None");
    refused(model().value("llama.block_count", 8, &text("3")), "key `llama.block_count` is not a whole number");
    refused(model().value("llama.attention.head_count", 4, &number(0)), "key `llama.attention.head_count` is Some(0)");
    refused(model().value("llama.attention.key_length", 4, &number(7)), "key `llama.rope.dimension_count` is 8");
    refused(model().value("llama.rope.scaling.type", 8, &text("yarn")), "key `llama.rope.scaling.type` is \"yarn\"");
    refused(model().value("llama.expert_count", 4, &number(8)), "key `llama.expert_count` is 8");
    refused(model().value("tokenizer.ggml.model", 8, &text("t5")), "key `tokenizer.ggml.model` is Some(\"t5\")");
    let mut pieces = model();
    pieces.value("tokenizer.ggml.model", 8, &text("llama"));
    refused(&pieces, "key `tokenizer.ggml.scores` is not a list of numbers");
    refused(
        pieces.value("tokenizer.ggml.scores", 9, &floats(&[0.0])),
        "key `tokenizer.ggml.scores` has 1 numbers: there are 60 tokens",
    );
    refused(model().value("tokenizer.ggml.pre", 8, &text("qwen2")), "key `tokenizer.ggml.pre` is Some(\"qwen2\")");
    refused(model().value("tokenizer.ggml.merges", 9, &texts(&["ab"])), "key `tokenizer.ggml.merges`: `ab` is not");
    refused(model().value("tokenizer.ggml.merges", 9, &texts(&["é ü"])), "");
    refused(model().value("tokenizer.ggml.tokens", 9, &texts(&["a", "a"])), "key `tokenizer.ggml.");
    refused(model().value("tokenizer.ggml.tokens", 9, &integers(&[1])), "key `tokenizer.ggml.tokens` is not a list");
    refused(model().value("tokenizer.ggml.eos_token_id", 4, &number(60)), "key `tokenizer.ggml.eos_token_id` is 60");
    refused(model().tensor("blk.0.attn_q.bias", &[32], 0, &[0; 128]), "has a tensor `blk.0.attn_q.bias`");
    refused(model().tensor("rope_freqs.weight", &[4], 0, &[0; 16]), "has a tensor `rope_freqs.weight`");
    refused(
        model().tensor("blk.4.attn_q.weight", &[32, 31], 1, &[0; 1984]),
        "the tensor `blk.4.attn_q.weight` has the shape",
    );
    let mut large = vec![0; 128];
    large[..4].copy_from_slice(&1e6_f32.to_le_bytes());
    refused(
        model().tensor("blk.4.ffn_up.weight", &[8, 4], 0, &large),
        "the tensor `blk.4.ffn_up.weight` has numbers of size 1000000",
    );
    let mut bytes = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut bytes, b"hello").unwrap();
    assert!(convert(bytes.path(), Path::new("nowhere")).unwrap_err().to_string().contains("does not begin as a GGUF"));
}

#[test]
fn many_weights_are_written_in_several_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut shards = Shards::new(folder.path(), Path::new("x.gguf"), SHARD + 1);
    let tensor = Tensor::zeros(7, DType::F32, &Device::Cpu).unwrap();
    shards.push("a".to_owned(), tensor.clone()).unwrap();
    shards.n_numbers = SHARD;
    shards.push("b".to_owned(), tensor).unwrap();
    shards.finish().unwrap();
    let weights = crate::weights::Weights::open(folder.path()).unwrap();
    assert_eq!(weights.names(), ["a", "b"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}
