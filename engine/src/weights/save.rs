//! Writing weights, with what is known of them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::Path;

use candle_core::Tensor;
use safetensors::View;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::WeightsError;

/// Facts that travel in the header of a safetensors file: strings by name.
pub type Metadata = BTreeMap<String, String>;

/// The format's own limit.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// What is read of the header; the crate's own reader wants the whole file.
#[derive(Deserialize)]
struct Header {
    #[serde(default, rename = "__metadata__")]
    metadata: Metadata,
}

/// Writes `tensors` to the file `path`, through a temporary file beside it: a file of that name is whole.
///
/// # Errors
/// When the disk refuses.
pub fn save(tensors: &BTreeMap<String, Tensor>, metadata: &Metadata, path: &Path) -> Result<(), WeightsError> {
    let unwritable = |reason: String| WeightsError::Unwritable { file: path.into(), reason };
    let temporary = path.with_extension("safetensors.tmp");
    write(tensors, metadata, &temporary).map_err(|error| unwritable(error.to_string()))?;
    File::open(&temporary).and_then(|file| file.sync_all()).map_err(|error| unwritable(error.to_string()))?;
    std::fs::rename(&temporary, path).map_err(|error| unwritable(error.to_string()))
}

/// Writes a model to `folder`, in the layout it is loaded from: `config.json`, and `tensors` as the file `weights`, which says
/// of itself what `metadata` says.
///
/// # Errors
/// When the disk refuses.
pub fn save_pretrained(
    folder: &Path,
    config: &impl Serialize,
    (weights, tensors): (&str, &BTreeMap<String, Tensor>),
    metadata: &Metadata,
) -> Result<(), WeightsError> {
    let path = folder.join("config.json");
    let unwritable = |reason: String| WeightsError::Unwritable { file: path.clone(), reason };
    let mut text = serde_json::to_vec_pretty(config).map_err(|error| unwritable(error.to_string()))?;
    text.push(b'\n');
    let temporary = path.with_extension("json.tmp");
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&temporary, text))
        .and_then(|()| std::fs::rename(&temporary, &path))
        .map_err(|error| unwritable(error.to_string()))?;
    // For readers of other frameworks: the names are PyTorch's.
    let mut metadata = metadata.clone();
    metadata.insert("format".to_owned(), "pt".to_owned());
    save(tensors, &metadata, &folder.join(weights))
}

/// The `safetensors` crate writes the facts in an order that changes from run to run: equal weights must be equal bytes.
fn write(tensors: &BTreeMap<String, Tensor>, metadata: &Metadata, path: &Path) -> io::Result<()> {
    let mut order: Vec<(&String, &Tensor)> = tensors.iter().collect();
    // Wide numbers first, so that all are aligned, as the crate does it.
    order.sort_by_key(|(name, tensor)| (Reverse(Tensor::dtype(tensor).size_in_bytes()), *name));
    let mut header = serde_json::Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".to_owned(), json!(metadata));
    }
    let mut offset = 0;
    for (name, tensor) in &order {
        let end = offset + View::data_len(tensor);
        let info = json!({ "dtype": View::dtype(tensor), "shape": tensor.dims(), "data_offsets": [offset, end] });
        header.insert((*name).clone(), info);
        offset = end;
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    for (_, tensor) in order {
        file.write_all(&View::data(&tensor))?;
    }
    file.flush()
}

/// Reads the header's facts of the safetensors file `path`; none is an empty map.
///
/// # Errors
/// When the file cannot be read as safetensors.
pub fn read_metadata(path: &Path) -> Result<Metadata, WeightsError> {
    let unreadable = |reason: String| WeightsError::Unreadable { file: path.into(), reason };
    let mut file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(|error| unreadable(error.to_string()))?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES {
        return Err(unreadable(format!("its header claims {length} bytes")));
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header).map_err(|error| unreadable(error.to_string()))?;
    let header: Header = serde_json::from_slice(&header).map_err(|error| unreadable(error.to_string()))?;
    Ok(header.metadata)
}
