//! The header of a GGUF file (versions 2 and 3, little-endian): what is known of a model, and where its tensors lie.
//!
//! candle's reader divides by an alignment of zero, and multiplies shapes without a look at their size. Here nothing is
//! believed: memory is bounded by the length of the file, and a mistake is an error that says where it is.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

use candle_core::quantized::{GgmlDType, QTensor, gguf_file::TensorInfo};
use candle_core::{Device, Shape};

const MAGIC: [u8; 4] = *b"GGUF";
const MOST_DIMENSIONS: u32 = 4;
/// No tensor of a model is larger.
const MOST_NUMBERS: usize = 1 << 40;
const LONGEST_STRING: u64 = 1 << 26;

/// What a header says under one key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Integer(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Integers(Vec<i64>),
    Floats(Vec<f64>),
    Bools(Vec<bool>),
    Texts(Vec<String>),
}

/// Where a tensor lies.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Outermost first, as everywhere here; the file has it the other way round.
    pub(super) shape: Vec<usize>,
    dtype: GgmlDType,
    offset: u64,
}

/// The header of a file.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) values: BTreeMap<String, Value>,
    pub(super) tensors: BTreeMap<String, Place>,
    data: u64,
}

/// What is wrong, and where.
pub(super) type Result<T> = std::result::Result<T, String>;

struct Reader<R> {
    inner: R,
    at: u64,
    length: u64,
}

impl<R: Read + Seek> Reader<R> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        let cut = |_| format!("the file ends at byte {}, inside of its header", self.length);
        self.inner.read_exact(&mut bytes).map_err(cut)?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    /// A number of things that take `least` bytes each, at least.
    fn count(&mut self, least: u64, what: &str) -> Result<u64> {
        let (at, count) = (self.at, self.u64()?);
        if count > self.length.saturating_sub(self.at) / least {
            return Err(format!("at byte {at}: {count} {what} cannot be in a file of {} bytes", self.length));
        }
        Ok(count)
    }

    fn text(&mut self) -> Result<String> {
        let (at, length) = (self.at, self.count(1, "bytes of text")?);
        if length > LONGEST_STRING {
            return Err(format!("at byte {at}: a text of {length} bytes"));
        }
        let mut bytes = vec![0; length as usize];
        self.inner.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        self.at += length;
        String::from_utf8(bytes).map_err(|_| format!("at byte {at}: a text that is not UTF-8"))
    }

    fn bool(&mut self) -> Result<bool> {
        match self.bytes()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(format!("at byte {}: {other} is neither true nor false", self.at - 1)),
        }
    }

    fn integer(&mut self, kind: u32) -> Result<i64> {
        Ok(match kind {
            0 => u8::from_le_bytes(self.bytes()?).into(),
            1 => i8::from_le_bytes(self.bytes()?).into(),
            2 => u16::from_le_bytes(self.bytes()?).into(),
            3 => i16::from_le_bytes(self.bytes()?).into(),
            4 => self.u32()?.into(),
            5 => i32::from_le_bytes(self.bytes()?).into(),
            10 => i64::try_from(self.u64()?).map_err(|_| format!("at byte {}: a number too large", self.at - 8))?,
            _ => i64::from_le_bytes(self.bytes()?),
        })
    }

    fn float(&mut self, kind: u32) -> Result<f64> {
        if kind == 6 { Ok(f32::from_le_bytes(self.bytes()?).into()) } else { Ok(f64::from_le_bytes(self.bytes()?)) }
    }

    fn value(&mut self) -> Result<Value> {
        let (at, kind) = (self.at, self.u32()?);
        Ok(match kind {
            0..=5 | 10 | 11 => Value::Integer(self.integer(kind)?),
            6 | 12 => Value::Float(self.float(kind)?),
            7 => Value::Bool(self.bool()?),
            8 => Value::Text(self.text()?),
            9 => self.array()?,
            _ => return Err(format!("at byte {at}: there is no type {kind}")),
        })
    }

    fn array(&mut self) -> Result<Value> {
        let (at, kind) = (self.at, self.u32()?);
        let least = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            9 => return Err(format!("at byte {at}: arrays of arrays are not supported")),
            _ => return Err(format!("at byte {at}: there is no type {kind}")),
        };
        let count = self.count(least, "elements")?;
        Ok(match kind {
            6 | 12 => Value::Floats((0..count).map(|_| self.float(kind)).collect::<Result<_>>()?),
            7 => Value::Bools((0..count).map(|_| self.bool()).collect::<Result<_>>()?),
            8 => Value::Texts((0..count).map(|_| self.text()).collect::<Result<_>>()?),
            _ => Value::Integers((0..count).map(|_| self.integer(kind)).collect::<Result<_>>()?),
        })
    }

    fn place(&mut self) -> Result<(String, Place)> {
        let name = self.text()?;
        let n_dimensions = self.u32()?;
        if n_dimensions == 0 || n_dimensions > MOST_DIMENSIONS {
            return Err(format!("the tensor `{name}` has {n_dimensions} dimensions: 1 to {MOST_DIMENSIONS} are right"));
        }
        let mut shape = Vec::new();
        for _ in 0..n_dimensions {
            shape.push(usize::try_from(self.u64()?).unwrap_or(usize::MAX));
        }
        shape.reverse();
        let n_numbers = shape.iter().try_fold(1_usize, |product, n| product.checked_mul(*n));
        if !n_numbers.is_some_and(|n| (1..=MOST_NUMBERS).contains(&n)) {
            return Err(format!("the tensor `{name}` has the shape {shape:?}"));
        }
        let kind = self.u32()?;
        let dtype = dtype(kind).ok_or_else(|| {
            format!("the tensor `{name}` is of type {kind}, which is not supported: f32, f16, bf16, Q4_0 to Q8_0 and Q2_K to Q6_K are")
        })?;
        Ok((name, Place { shape, dtype, offset: self.u64()? }))
    }
}

fn dtype(kind: u32) -> Option<GgmlDType> {
    Some(match kind {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        30 => GgmlDType::BF16,
        _ => return None,
    })
}

impl Header {
    /// Reads the header of `file`.
    pub(super) fn read(file: &mut (impl Read + Seek)) -> Result<Self> {
        let length = file.seek(SeekFrom::End(0)).map_err(|error| error.to_string())?;
        file.rewind().map_err(|error| error.to_string())?;
        let mut reader = Reader { inner: file, at: 0, length };
        if reader.bytes()? != MAGIC {
            return Err("does not begin as a GGUF file".to_owned());
        }
        let version = reader.u32()?;
        if !(2..=3).contains(&version) {
            return Err(format!("is of version {version}: 2 and 3 are supported, little-endian"));
        }
        let n_tensors = reader.count(24, "tensors")?;
        let n_values = reader.count(13, "values")?;
        let (mut values, mut tensors) = (BTreeMap::new(), BTreeMap::new());
        for _ in 0..n_values {
            let key = reader.text()?;
            let value = reader.value().map_err(|message| format!("key `{key}`: {message}"))?;
            values.insert(key, value);
        }
        for _ in 0..n_tensors {
            let (name, place) = reader.place()?;
            tensors.insert(name, place);
        }
        let alignment = match values.get("general.alignment") {
            None => 32,
            Some(Value::Integer(alignment)) if (1..=1 << 20).contains(alignment) => *alignment as u64,
            Some(other) => return Err(format!("key `general.alignment` is {other:?}: a number above 0 is right")),
        };
        Ok(Self { values, tensors, data: reader.at.next_multiple_of(alignment) })
    }

    /// Reads a tensor as f32, on the CPU.
    pub(super) fn tensor(&self, name: &str, file: &mut (impl Read + Seek)) -> Result<candle_core::Tensor> {
        let place = self.tensors.get(name).ok_or_else(|| format!("has no tensor `{name}`"))?;
        let block = place.dtype.block_size();
        if !place.shape.last().is_some_and(|width| width.is_multiple_of(block)) {
            return Err(format!("the tensor `{name}` of shape {:?} is not whole blocks of {block}", place.shape));
        }
        let info =
            TensorInfo { ggml_dtype: place.dtype, shape: Shape::from(place.shape.as_slice()), offset: place.offset };
        // It looks at the length of the file before it takes memory.
        let read = |file| -> candle_core::Result<candle_core::Tensor> {
            let tensor: QTensor = info.read(file, self.data, &Device::Cpu)?;
            tensor.dequantize(&Device::Cpu)
        };
        read(file).map_err(|error| format!("the tensor `{name}`: {error}"))
    }

    /// What stands under `key`, if anything.
    pub(super) fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(format!("key `{key}` is not a text")),
        }
    }

    pub(super) fn size(&self, key: &str) -> Result<Option<usize>> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Integer(number)) => match usize::try_from(*number) {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(format!("key `{key}` is {number}: a number of 0 or more is right")),
            },
            Some(_) => Err(format!("key `{key}` is not a whole number")),
        }
    }

    pub(super) fn float(&self, key: &str) -> Result<Option<f64>> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Float(number)) => Ok(Some(*number)),
            Some(_) => Err(format!("key `{key}` is not a number")),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(format!("key `{key}` is neither true nor false")),
        }
    }

    pub(super) fn texts(&self, key: &str) -> Result<&[String]> {
        match self.values.get(key) {
            Some(Value::Texts(texts)) => Ok(texts),
            Some(_) => Err(format!("key `{key}` is not a list of texts")),
            None => Err(format!("has no key `{key}`")),
        }
    }
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
