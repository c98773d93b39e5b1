//! Writing GGUF files, for tests.

use candle_core::{DType, Tensor};

use crate::golden::Golden;

/// A file in the making.
#[derive(Clone, Default)]
pub(super) struct Writer {
    values: Vec<Vec<u8>>,
    tensors: Vec<(Vec<u8>, Vec<u8>)>,
}

pub(super) fn number(number: u32) -> [u8; 4] {
    number.to_le_bytes()
}

pub(super) fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

pub(super) fn texts<S: AsRef<str>>(all: &[S]) -> Vec<u8> {
    let items: Vec<u8> = all.iter().flat_map(|item| text(item.as_ref())).collect();
    [&number(8)[..], &(all.len() as u64).to_le_bytes(), &items].concat()
}

pub(super) fn integers(all: &[i32]) -> Vec<u8> {
    let items: Vec<u8> = all.iter().flat_map(|item| item.to_le_bytes()).collect();
    [&number(5)[..], &(all.len() as u64).to_le_bytes(), &items].concat()
}

pub(super) fn floats(all: &[f32]) -> Vec<u8> {
    let items: Vec<u8> = all.iter().flat_map(|item| item.to_le_bytes()).collect();
    [&number(6)[..], &(all.len() as u64).to_le_bytes(), &items].concat()
}

impl Writer {
    pub(super) fn value(&mut self, key: &str, kind: u32, value: &[u8]) -> &mut Self {
        self.values.retain(|other| !other.starts_with(&text(key)));
        self.values.push([&text(key)[..], &number(kind), value].concat());
        self
    }

    pub(super) fn without(&mut self, key: &str) -> &mut Self {
        self.values.retain(|other| !other.starts_with(&text(key)));
        self
    }

    /// `shape` as the file has it, innermost first.
    pub(super) fn tensor(&mut self, name: &str, shape: &[u64], kind: u32, data: &[u8]) -> &mut Self {
        let shape_bytes: Vec<u8> = shape.iter().flat_map(|n| n.to_le_bytes()).collect();
        let info = [&text(name)[..], &number(shape.len() as u32), &shape_bytes, &number(kind)].concat();
        let mut data = data.to_vec();
        data.resize(data.len().next_multiple_of(32), 0);
        self.tensors.push((info, data));
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(number(3));
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.values.len() as u64).to_le_bytes());
        self.values.iter().for_each(|value| bytes.extend(value));
        let mut offset = 0_u64;
        for (info, data) in &self.tensors {
            bytes.extend(info);
            bytes.extend(offset.to_le_bytes());
            offset += data.len() as u64;
        }
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        self.tensors.iter().for_each(|(_, data)| bytes.extend(data));
        bytes
    }
}

/// The golden `llama-f16` as llama.cpp would have it: queries and keys in Meta's order.
pub(super) fn model() -> Writer {
    let golden = Golden::open("llama-f16");
    let weights = golden.weights();
    let mut writer = Writer::default();
    writer.value("general.architecture", 8, &text("llama"));
    for (key, value) in [
        ("block_count", 3),
        ("context_length", 40),
        ("embedding_length", 32),
        ("feed_forward_length", 56),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 4),
        ("rope.dimension_count", 8),
    ] {
        writer.value(&format!("llama.{key}"), 4, &number(value));
    }
    writer.value("llama.attention.layer_norm_rms_epsilon", 6, &1e-6_f32.to_le_bytes());
    writer.value("tokenizer.ggml.model", 8, &text("gpt2")).value("tokenizer.ggml.pre", 8, &text("smollm"));
    let mut tokens: Vec<String> = ["<|end|>", "<|start|>"].map(str::to_owned).to_vec();
    tokens.extend(('a'..='z').chain('0'..='9').chain(['Ġ', 'Ċ']).map(String::from));
    tokens.extend(["Ġc", "at", "Ġcat", "12"].map(str::to_owned));
    let kinds: Vec<i32> = (0..60).map(|id| if id < 2 { 3 } else { 1 }).collect();
    tokens.extend((tokens.len()..60).map(|id| format!("<{id}>")));
    writer.value("tokenizer.ggml.tokens", 9, &texts(&tokens)).value("tokenizer.ggml.token_type", 9, &integers(&kinds));
    writer.value("tokenizer.ggml.merges", 9, &texts(&["Ġ c", "a t", "Ġc at", "1 2"]));
    writer.value("tokenizer.ggml.bos_token_id", 4, &number(1)).value("tokenizer.ggml.eos_token_id", 4, &number(0));
    writer.value("tokenizer.chat_template", 8, &text("{{ messages[0].content }}"));
    for name in weights.names() {
        let tensor = weights.tensor(&name).unwrap();
        writer.of(&name, &tensor);
    }
    writer
}

impl Writer {
    fn of(&mut self, name: &str, tensor: &Tensor) {
        let name = name.replace("model.layers.", "blk.").replace("self_attn.", "").replace("mlp.", "");
        let name = name.replace("q_proj", "attn_q").replace("k_proj", "attn_k").replace("v_proj", "attn_v");
        let name = name.replace("o_proj", "attn_output").replace("input_layernorm", "attn_norm");
        let name = name.replace("post_attention_layernorm", "ffn_norm").replace("gate_proj", "ffn_gate");
        let name = name.replace("up_proj", "ffn_up").replace("down_proj", "ffn_down");
        let name = name.replace("model.embed_tokens", "token_embd").replace("model.norm", "output_norm");
        let name = name.replace("lm_head", "output");
        let shape: Vec<u64> = tensor.dims().iter().rev().map(|n| *n as u64).collect();
        let tensor = if name.contains("attn_q") || name.contains("attn_k") {
            let turned = tensor.reshape((4, 2, 4, 32)).unwrap().transpose(1, 2).unwrap();
            turned.contiguous().unwrap().reshape((32, 32)).unwrap()
        } else {
            tensor.clone()
        };
        let flat = tensor.flatten_all().unwrap();
        if shape.len() == 1 {
            let numbers = flat.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            self.tensor(&name, &shape, 0, &bytes);
        } else {
            let numbers = flat.to_dtype(DType::F16).unwrap().to_vec1::<half::f16>().unwrap();
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            self.tensor(&name, &shape, 1, &bytes);
        }
    }
}
