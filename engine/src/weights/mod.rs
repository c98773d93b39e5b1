//! Weights: safetensors in Hugging Face layout, read by name, with the shapes that the config asks for.
//!
//! A model asks for its tensors through candle's [`VarBuilder`]. What it asks for and does not find, or finds in another
//! shape, is an error that says which file, which tensor and which config: see [`WeightsError`].

mod digest;
mod error;
mod file;
mod save;
mod variables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;

pub use error::WeightsError;
pub use save::{Metadata, read_metadata, save, save_pretrained};
pub use variables::Variables;

/// The tensors of one model, from a folder or from memory.
#[derive(Clone)]
pub struct Weights {
    source: Arc<Source>,
}

struct Source {
    /// Where they are from, for messages: a file, or the index of several.
    file: PathBuf,
    /// Who asks for them, for messages.
    config: PathBuf,
    tensors: Tensors,
    /// Names that a model asked for.
    asked: Mutex<BTreeMap<String, ()>>,
}

enum Tensors {
    Mapped { tensors: MmapedSafetensors, files: BTreeMap<String, PathBuf> },
    InMemory(BTreeMap<String, Tensor>),
}

impl Weights {
    /// Opens the weights in `folder`: `model.safetensors`, `diffusion_pytorch_model.safetensors`, or the
    /// `*.safetensors.index.json` of either. Nothing is read yet but the headers.
    ///
    /// # Errors
    /// When there are none, or a file is damaged, cut short, or does not hold what the index says.
    pub fn open(folder: &Path) -> Result<Self, WeightsError> {
        let opened = file::open(folder)?;
        let tensors = Tensors::Mapped { tensors: opened.tensors, files: opened.files };
        Ok(Self::from_source(opened.file, folder.join("config.json"), tensors))
    }

    /// Opens one safetensors file, whatever its name.
    ///
    /// # Errors
    /// When it is missing, damaged or cut short.
    pub fn open_file(file: &Path) -> Result<Self, WeightsError> {
        let opened = file::open_single(file.to_owned())?;
        let tensors = Tensors::Mapped { tensors: opened.tensors, files: opened.files };
        Ok(Self::from_source(opened.file, file.with_file_name("config.json"), tensors))
    }

    /// Weights that are in memory already; `origin` names them in messages.
    #[must_use]
    pub fn from_tensors(tensors: BTreeMap<String, Tensor>, origin: &Path) -> Self {
        Self::from_source(origin.to_owned(), origin.with_file_name("config.json"), Tensors::InMemory(tensors))
    }

    fn from_source(file: PathBuf, config: PathBuf, tensors: Tensors) -> Self {
        Self { source: Arc::new(Source { file, config, tensors, asked: Mutex::default() }) }
    }

    /// Where they are from.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.source.file
    }

    /// All names, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.source.names()
    }

    /// Whether there is a tensor `name`.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.source.contains(name)
    }

    /// The tensor `name` as it is stored, on the CPU.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn tensor(&self, name: &str) -> Result<Tensor, WeightsError> {
        self.source.read(name, &Device::Cpu)
    }

    /// Tensors for a model that is not trained.
    #[must_use]
    pub fn builder(&self, dtype: DType, device: &Device) -> VarBuilder<'static> {
        let backend = Backend { source: Arc::clone(&self.source), variables: None };
        VarBuilder::from_backend(Box::new(backend), dtype, device.clone())
    }

    /// Tensors for a model that is trained: those in `variables`' selection become variables in it, once each.
    #[must_use]
    pub fn trainable(&self, variables: &Variables, dtype: DType, device: &Device) -> VarBuilder<'static> {
        let backend = Backend { source: Arc::clone(&self.source), variables: Some(variables.clone()) };
        VarBuilder::from_backend(Box::new(backend), dtype, device.clone())
    }

    /// Names that no model has asked for yet: after loading, a sign that the config does not belong to the file.
    #[must_use]
    pub fn unused(&self) -> Vec<String> {
        let asked = self.source.asked.lock().unwrap_or_else(PoisonError::into_inner);
        self.source.names().into_iter().filter(|name| !asked.contains_key(name)).collect()
    }
}

impl Source {
    fn names(&self) -> Vec<String> {
        match &self.tensors {
            Tensors::Mapped { files, .. } => files.keys().cloned().collect(),
            Tensors::InMemory(tensors) => tensors.keys().cloned().collect(),
        }
    }

    fn contains(&self, name: &str) -> bool {
        match &self.tensors {
            Tensors::Mapped { files, .. } => files.contains_key(name),
            Tensors::InMemory(tensors) => tensors.contains_key(name),
        }
    }

    fn file_of(&self, name: &str) -> &Path {
        match &self.tensors {
            Tensors::Mapped { files, .. } => files.get(name).map_or(&self.file, PathBuf::as_path),
            Tensors::InMemory(_) => &self.file,
        }
    }

    fn read(&self, name: &str, device: &Device) -> Result<Tensor, WeightsError> {
        if !self.contains(name) {
            return Err(WeightsError::missing(name, &self.file, &self.config, &self.names()));
        }
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), ());
        match &self.tensors {
            Tensors::Mapped { tensors, .. } => tensors.load(name, device).map_err(|error| WeightsError::Unreadable {
                file: self.file_of(name).into(),
                reason: error.to_string(),
            }),
            Tensors::InMemory(tensors) => Ok(tensors
                .get(name)
                .map(|tensor| tensor.to_device(device))
                .transpose()
                .map_err(|error| WeightsError::Unreadable { file: self.file.clone(), reason: error.to_string() })?
                .ok_or_else(|| WeightsError::missing(name, &self.file, &self.config, &[]))?),
        }
    }

    fn read_shaped(&self, name: &str, shape: &Shape, device: &Device) -> Result<Tensor, WeightsError> {
        let tensor = self.read(name, device)?;
        if tensor.shape() == shape {
            return Ok(tensor);
        }
        Err(WeightsError::Shape {
            tensor: name.to_owned(),
            file: self.file_of(name).into(),
            config: self.config.clone(),
            expected: shape.dims().to_vec(),
            found: tensor.dims().to_vec(),
        })
    }
}

struct Backend {
    source: Arc<Source>,
    variables: Option<Variables>,
}

impl Backend {
    fn finish(&self, name: &str, tensor: &Tensor, dtype: DType) -> candle_core::Result<Tensor> {
        let tensor = tensor.to_dtype(dtype)?;
        match &self.variables {
            Some(variables) => variables.take_in(name, tensor),
            None => Ok(tensor),
        }
    }
}

impl SimpleBackend for Backend {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let tensor = self.source.read_shaped(name, &shape, device).map_err(candle_core::Error::wrap)?;
        self.finish(name, &tensor, dtype)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let tensor = self.source.read(name, device).map_err(candle_core::Error::wrap)?;
        self.finish(name, &tensor, dtype)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.source.contains(name)
    }
}

#[cfg(test)]
mod tests;
