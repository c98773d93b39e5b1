//! Reading a safetensors file tensor by tensor, in memory of its own: states are large, and the file need not be held beside
//! what is read of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::Metadata;

use crate::weights::WeightsError;

/// The format's own limit.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// All tensors of `file`.
pub(super) fn read(file: &Path) -> Result<BTreeMap<String, Tensor>, WeightsError> {
    read_all(file).map_err(|reason| WeightsError::Unreadable { file: file.into(), reason })
}

fn read_all(file: &Path) -> Result<BTreeMap<String, Tensor>, String> {
    let opened = File::open(file).map_err(|error| error.to_string())?;
    let n_bytes = opened.metadata().map_err(|error| error.to_string())?.len();
    let mut source = BufReader::new(opened);
    let mut header_length = [0; 8];
    source.read_exact(&mut header_length).map_err(|error| error.to_string())?;
    let header_length = u64::from_le_bytes(header_length);
    if header_length > n_bytes.min(MAX_HEADER_BYTES) {
        return Err(format!("its header claims {header_length} bytes, and it has {n_bytes}"));
    }
    let header = read_bytes(&mut source, header_length)?;
    // Checks that tensors follow each other without gap, each as long as its shape says.
    let header: Metadata = serde_json::from_slice(&header).map_err(|error| error.to_string())?;
    let claimed = 8 + header_length + header.data_len() as u64;
    if claimed != n_bytes {
        return Err(format!("it should have {claimed} bytes, and has {n_bytes}"));
    }
    let mut tensors = BTreeMap::new();
    for name in header.offset_keys() {
        let Some(info) = header.info(&name) else { continue };
        let (start, end) = info.data_offsets;
        let bytes = read_bytes(&mut source, (end - start) as u64)?;
        let dtype = DType::try_from(info.dtype).map_err(|error| error.to_string())?;
        let tensor = Tensor::from_raw_buffer(&bytes, dtype, &info.shape, &Device::Cpu);
        tensors.insert(name, tensor.map_err(|error| error.to_string())?);
    }
    Ok(tensors)
}

/// The next `n` bytes, all of them.
fn read_bytes(source: &mut impl Read, n: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(usize::try_from(n).map_err(|error| error.to_string())?);
    source.take(n).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 == n { Ok(bytes) } else { Err(format!("it ends {} bytes early", n - bytes.len() as u64)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::{Metadata, save};

    #[test]
    fn all_types_come_back_and_any_cut_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.safetensors");
        let numbers = Tensor::arange(0_f64, 12.0, &Device::Cpu).unwrap().reshape((3, 4)).unwrap();
        let tensors: BTreeMap<String, Tensor> =
            [DType::F64, DType::F32, DType::BF16, DType::F16, DType::I64, DType::U8]
                .into_iter()
                .map(|dtype| (format!("{dtype:?}"), numbers.to_dtype(dtype).unwrap()))
                .chain([("empty".to_owned(), Tensor::zeros((0, 2), DType::F32, &Device::Cpu).unwrap())])
                .collect();
        save(&tensors, &Metadata::default(), &file).unwrap();
        let found = read(&file).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), tensors.keys().collect::<Vec<_>>());
        for (name, tensor) in &tensors {
            assert_eq!((found[name].dtype(), found[name].dims()), (tensor.dtype(), tensor.dims()));
            let [found, saved] = [&found[name], tensor]
                .map(|tensor| tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap());
            assert_eq!(found, saved);
        }
        let whole = std::fs::read(&file).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&file, &whole[..length]).unwrap();
            let error = read(&file).unwrap_err().to_string();
            assert!(error.contains("state.safetensors: cannot be read as safetensors: "), "{error}");
        }
        std::fs::write(&file, [whole.as_slice(), b"x"].concat()).unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("bytes, and has"));
        std::fs::write(&file, [0xff; 64]).unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("its header claims"));
    }
}
