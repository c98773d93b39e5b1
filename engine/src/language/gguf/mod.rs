//! GGUF, the format of llama.cpp: converted once to a folder as Hugging Face lays it out.

mod config;
mod header;
mod sentencepiece;
mod tokenizer;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use candle_core::{DType, Tensor};
use serde_json::json;

use self::config::Facts;
use self::header::Header;
use crate::op::rope::interleaved_to_halves;
use crate::weights::Metadata;
use crate::{EngineError, Result};

/// Numbers in a file of weights: 4 GB of halves. Larger models are written in several.
const SHARD: usize = 2_000_000_000;

/// Converts the model of the GGUF file `gguf` to `folder`, which is made if need be: `config.json`, `model.safetensors` (matrices
/// in f16, or several files with an index), `tokenizer.json`, `tokenizer_config.json` with the chat template, and
/// `generation_config.json`. [`Llama`](super::Llama) and [`ChatTokenizer`](super::ChatTokenizer) load it, and so does HF
/// transformers.
///
/// llama.cpp's files have queries and keys in the order of Meta's own weights: they are put back.
///
/// # Errors
/// When the file is not a GGUF of a Llama, is damaged, or has what is not supported: the message says what. When the folder
/// cannot be written.
pub fn convert(gguf: &Path, folder: &Path) -> Result<()> {
    let file = File::open(gguf).map_err(|error| EngineError::io(gguf, error))?;
    let mut file = BufReader::with_capacity(1 << 20, file);
    let refused = |message: String| EngineError::config(gguf, message);
    let header = Header::read(&mut file).map_err(refused)?;
    let facts = Facts::read(&header).map_err(refused)?;
    let names = names(&header, &facts).map_err(refused)?;
    let tokenizer = tokenizer::Files::of(&header).map_err(refused)?;
    if tokenizer.n_tokens > facts.vocab_size {
        let (known, rows) = (tokenizer.n_tokens, facts.vocab_size);
        return Err(refused(format!(
            "key `tokenizer.ggml.tokens` has {known} tokens, and `token_embd.weight` {rows} rows"
        )));
    }

    std::fs::create_dir_all(folder).map_err(|error| EngineError::io(folder, error))?;
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| EngineError::io(path, error))
    };
    write("tokenizer.json", tokenizer.tokenizer)?;
    write("tokenizer_config.json", pretty(&tokenizer.config))?;
    write("generation_config.json", pretty(&tokenizer.generation))?;
    let mut weights = Shards::new(folder, gguf, names.values().map(|place| place.n_numbers).sum());
    for (name, source) in &names {
        let tensor = header.tensor(&source.name, &mut file).map_err(refused)?;
        weights.push(name.clone(), as_kept(&tensor, source, &facts).map_err(refused)?)?;
    }
    weights.finish()?;
    // Last: a folder with a config is whole.
    write("config.json", pretty(&facts.config(&tokenizer.generation)))
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

/// A tensor of the file.
struct Source {
    name: String,
    n_numbers: usize,
    /// Whether its rows are in the order of Meta's weights.
    is_interleaved: bool,
}

/// What each tensor is called by Hugging Face.
fn names(header: &Header, facts: &Facts) -> header::Result<BTreeMap<String, Source>> {
    let mut names = BTreeMap::new();
    for (name, place) in &header.tensors {
        let found = published(name).ok_or_else(|| format!("has a tensor `{name}`, which no Llama has"))?;
        let is_interleaved = name.ends_with(".attn_q.weight") || name.ends_with(".attn_k.weight");
        let n_numbers = place.shape.iter().product();
        if is_interleaved && !place.shape.first().is_some_and(|rows| rows.is_multiple_of(facts.head_dim)) {
            return Err(format!(
                "the tensor `{name}` has the shape {:?}: not heads of {}",
                place.shape, facts.head_dim
            ));
        }
        names.insert(found, Source { name: name.clone(), n_numbers, is_interleaved });
    }
    if !names.contains_key("model.embed_tokens.weight") {
        return Err("has no tensor `token_embd.weight`".to_owned());
    }
    Ok(names)
}

fn published(name: &str) -> Option<String> {
    match name {
        "token_embd.weight" => return Some("model.embed_tokens.weight".to_owned()),
        "output_norm.weight" => return Some("model.norm.weight".to_owned()),
        "output.weight" => return Some("lm_head.weight".to_owned()),
        _ => {}
    }
    let (index, part) = name.strip_prefix("blk.")?.split_once('.')?;
    let index: usize = index.parse().ok()?;
    let part = match part {
        "attn_norm.weight" => "input_layernorm",
        "attn_q.weight" => "self_attn.q_proj",
        "attn_k.weight" => "self_attn.k_proj",
        "attn_v.weight" => "self_attn.v_proj",
        "attn_output.weight" => "self_attn.o_proj",
        "ffn_norm.weight" => "post_attention_layernorm",
        "ffn_gate.weight" => "mlp.gate_proj",
        "ffn_up.weight" => "mlp.up_proj",
        "ffn_down.weight" => "mlp.down_proj",
        _ => return None,
    };
    Some(format!("model.layers.{index}.{part}.weight"))
}

/// A matrix in f16, a norm's weight in f32.
fn as_kept(tensor: &Tensor, source: &Source, facts: &Facts) -> header::Result<Tensor> {
    let name = &source.name;
    let failed = |error: candle_core::Error| format!("the tensor `{name}`: {error}");
    let tensor = match source.is_interleaved {
        true => interleaved_to_halves(tensor, facts.head_dim).map_err(failed)?,
        false => tensor.clone(),
    };
    let largest = tensor.abs().and_then(|x| x.max_all()?.to_scalar::<f32>()).map_err(failed)?;
    if largest.is_nan() || largest > half::f16::MAX.to_f32() {
        return Err(format!("the tensor `{name}` has numbers of size {largest}, which f16 cannot hold"));
    }
    let dtype = if tensor.rank() == 1 { DType::F32 } else { DType::F16 };
    tensor.to_dtype(dtype).map_err(failed)
}

/// Weights on their way to one file or several.
struct Shards<'a> {
    folder: &'a Path,
    metadata: Metadata,
    is_one: bool,
    tensors: BTreeMap<String, Tensor>,
    n_numbers: usize,
    index: BTreeMap<String, String>,
    n_files: usize,
}

impl<'a> Shards<'a> {
    fn new(folder: &'a Path, gguf: &Path, n_numbers: usize) -> Self {
        let name = gguf.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // transformers wants to be told that tensors are PyTorch's.
        let metadata = [("format".to_owned(), "pt".to_owned()), ("converted_from".to_owned(), name)].into();
        let is_one = n_numbers <= SHARD;
        Self { folder, metadata, is_one, tensors: BTreeMap::new(), n_numbers: 0, index: BTreeMap::new(), n_files: 0 }
    }

    fn push(&mut self, name: String, tensor: Tensor) -> Result<()> {
        if !self.is_one && self.n_numbers + tensor.elem_count() > SHARD {
            self.flush()?;
        }
        self.n_numbers += tensor.elem_count();
        self.tensors.insert(name, tensor);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.tensors.is_empty() {
            return Ok(());
        }
        self.n_files += 1;
        let file =
            if self.is_one { "model.safetensors".to_owned() } else { format!("model-{:05}.safetensors", self.n_files) };
        crate::weights::save(&self.tensors, &self.metadata, &self.folder.join(&file))?;
        self.index.extend(std::mem::take(&mut self.tensors).into_keys().map(|name| (name, file.clone())));
        self.n_numbers = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.flush()?;
        if self.is_one {
            return Ok(());
        }
        let path = self.folder.join("model.safetensors.index.json");
        let text = pretty(&json!({ "metadata": {}, "weight_map": self.index }));
        std::fs::write(&path, text).map_err(|error| EngineError::io(path, error))
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
