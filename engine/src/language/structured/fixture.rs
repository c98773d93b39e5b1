//! Tiny models of random weights, whose tokens are letters.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::super::{ChatTokenizer, Llama};
use super::Writer;
use crate::noise::Noise;

/// Which kind of names the tokens have.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    ByteLevel,
    SentencePiece,
}

/// The ids of `<s>`, `</s>` and a token that is no special one.
pub(super) const START: u32 = 0;
pub(super) const END: u32 = 1;
pub(super) const ADDED: u32 = 2;

const TEMPLATE: &str =
    "{{ bos_token }}{% for message in messages %}[{{ message.role }}]{{ message.content }}\n{% endfor %}";
/// Pairs that are one token: some end a string and go on, some hold half a letter.
const PAIRS: [(&str, &str); 10] = [
    ("{", "\""),
    ("\"", ":"),
    ("\":", "\""),
    ("\"", ","),
    ("\",", "\""),
    ("\"", "}"),
    ("1", "2"),
    ("e", "l"),
    ("]", "}"),
    ("a", "\""),
];

fn tokenizer(kind: Kind) -> Value {
    let mut names: Vec<String> = ["<s>", "</s>", "<tool>"].map(str::to_owned).to_vec();
    match kind {
        Kind::ByteLevel => {
            let mut letters: Vec<String> = ByteLevel::alphabet().into_iter().map(String::from).collect();
            letters.sort_unstable();
            names.extend(letters);
            // The first two bytes of €, which has three, and the first of é beside a sign that may end a string.
            names.push("âĤ".to_owned());
            names.push("\"Ã".to_owned());
        }
        Kind::SentencePiece => {
            names.extend((0..=255).map(|byte: u8| format!("<0x{byte:02X}>")));
            names.extend((' '..='~').map(|letter| letter.to_string().replace(' ', "▁")));
            names.extend(["é", "€", "▁{", "▁el"].map(str::to_owned));
        }
    }
    names.extend(PAIRS.iter().map(|(left, right)| format!("{left}{right}")));
    let vocab: HashMap<&String, usize> = names.iter().enumerate().map(|(id, name)| (name, id)).collect();
    let merges: Vec<String> = PAIRS.iter().map(|(left, right)| format!("{left} {right}")).collect();
    let added = |id: u32, content: &str, special: bool| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
               "special": special})
    };
    let (pre_tokenizer, decoder, normalizer) = match kind {
        Kind::ByteLevel => {
            let level =
                json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
            (level.clone(), level, json!(null))
        }
        Kind::SentencePiece => {
            let space = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
            let strip = json!({"type": "Strip", "content": " ", "start": 1, "stop": 0});
            let decoders = json!([space("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"}, strip]);
            (json!(null), json!({"type": "Sequence", "decoders": decoders}), space(" ", "▁"))
        }
    };
    json!({
        "added_tokens": [added(START, "<s>", true), added(END, "</s>", true), added(ADDED, "<tool>", false)],
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "decoder": decoder,
        "model": {"type": "BPE", "vocab": vocab, "merges": merges, "unk_token": "<s>", "fuse_unk": false,
                  "byte_fallback": matches!(kind, Kind::SentencePiece)},
    })
}

/// A folder with a model of `n_tokens` scores and a tokenizer.
fn write(folder: &Path, kind: Kind, n_tokens: usize) {
    let (width, inner, n_heads, n_kv_heads) = (24, 40, 4, 2);
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": width, "intermediate_size": inner,
        "num_hidden_layers": 2, "num_attention_heads": n_heads, "num_key_value_heads": n_kv_heads, "hidden_act": "silu",
        "max_position_embeddings": 700, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
        "vocab_size": n_tokens, "eos_token_id": END,
    });
    let put = |name: &str, value: &Value| std::fs::write(folder.join(name), value.to_string()).unwrap();
    put("config.json", &config);
    put("tokenizer.json", &tokenizer(kind));
    put("tokenizer_config.json", &json!({"bos_token": "<s>", "eos_token": "</s>", "chat_template": TEMPLATE}));
    let noise = Noise::new(5);
    let mut tensors = HashMap::new();
    let mut random = |name: String, shape: &[usize], scale: f64| {
        let drawn = (noise.of(&name).normal(shape, &Device::Cpu).unwrap() * scale).unwrap();
        let drawn = if shape.len() == 1 { (drawn + 1.0).unwrap() } else { drawn };
        tensors.insert(format!("{name}.weight"), drawn);
    };
    let narrow = width / n_heads * n_kv_heads;
    random("model.embed_tokens".to_owned(), &[n_tokens, width], 0.4);
    random("model.norm".to_owned(), &[width], 0.1);
    for layer in 0..2 {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        for (part, n_out, n_in) in [
            ("self_attn.q_proj", width, width),
            ("self_attn.k_proj", narrow, width),
            ("self_attn.v_proj", narrow, width),
            ("self_attn.o_proj", width, width),
            ("mlp.gate_proj", inner, width),
            ("mlp.up_proj", inner, width),
            ("mlp.down_proj", width, inner),
        ] {
            random(name(part), &[n_out, n_in], 0.3);
        }
        random(name("input_layernorm"), &[width], 0.1);
        random(name("post_attention_layernorm"), &[width], 0.1);
    }
    let tensors: HashMap<String, Tensor> =
        tensors.into_iter().map(|(name, tensor)| (name, tensor.to_dtype(DType::F32).unwrap())).collect();
    candle_core::safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
}

/// A model that has `n_more` scores than its tokenizer has tokens.
pub(super) fn load(kind: Kind, n_more: usize) -> (Llama, ChatTokenizer) {
    let folder = tempfile::tempdir().unwrap();
    let names = tokenizer(kind)["model"]["vocab"].as_object().unwrap().len();
    write(folder.path(), kind, names + n_more);
    (Llama::load(folder.path(), &Device::Cpu).unwrap(), ChatTokenizer::load(folder.path()).unwrap())
}

pub(super) fn writer(kind: Kind, schema: &Value) -> Writer {
    let (llama, tokenizer) = load(kind, 3);
    Writer::new(llama, tokenizer, schema).unwrap()
}
