//! A model family: a folder of folders in Hugging Face layout, named by what they are for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{EngineError, Result};
use crate::unet::UNetConfig;

/// A folder of models that belong together.
#[derive(Clone, Debug)]
pub struct Family {
    folder: PathBuf,
    elsewhere: BTreeMap<&'static str, PathBuf>,
}

/// What a model of a family is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// F: CLIP, whose image embedding is CAFE's first condition.
    ClipCondition,
    /// E: DINOv2, whose tokens are CAFE's second condition.
    DinoCondition,
    /// The base model: `unet`, `vae`, `text_encoder`, `tokenizer`, `scheduler`.
    TextToImage,
    /// G, with CAFE's conditions.
    CafeUNet,
    /// ProFusion's PromptNet, with its CLIP in `image_encoder`.
    PromptNet,
    /// V, H and the learnable token of the assistant, with its language model in `base`.
    Mllm,
}

impl Role {
    /// The name of its folder.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::ClipCondition => "clip_condition",
            Self::DinoCondition => "dino_condition",
            Self::TextToImage => "text_to_image",
            Self::CafeUNet => "cafe_unet",
            Self::PromptNet => "promptnet",
            Self::Mllm => "mllm",
        }
    }
}

impl Family {
    /// The family in `folder`.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn open(folder: &Path) -> Result<Self> {
        let is_folder = folder.metadata().map_err(|error| EngineError::io(folder, error))?.is_dir();
        if !is_folder {
            return Err(EngineError::config(
                folder,
                "is not a folder: a model family is a folder with one folder for each role",
            ));
        }
        Ok(Self { folder: folder.into(), elsewhere: BTreeMap::new() })
    }

    /// The same family with another model for `role`: one that was trained since.
    #[must_use]
    pub fn with(mut self, role: Role, folder: PathBuf) -> Self {
        self.elsewhere.insert(role.folder(), folder);
        self
    }

    /// Where the model for `role` is.
    #[must_use]
    pub fn folder(&self, role: Role) -> PathBuf {
        self.elsewhere.get(role.folder()).cloned().unwrap_or_else(|| self.folder.join(role.folder()))
    }

    /// Checks that the UNet in `cafe_unet` takes what E and F of this family make.
    pub(crate) fn check_conditions(&self, config: &UNetConfig, (clip_dim, dino_dim): (usize, usize)) -> Result<()> {
        let path = self.folder(Role::CafeUNet).join("config.json");
        let Some(cafe) = &config.cafe else {
            return Err(EngineError::config(
                path,
                "has no `cafe`: it is conditioned on text, and cannot take E(x) and F(x)",
            ));
        };
        Self::check_widths(
            &path,
            [
                ("cafe.clip_dim", cafe.clip_dim, Role::ClipCondition, clip_dim),
                ("cafe.dino_dim", cafe.dino_dim, Role::DinoCondition, dino_dim),
            ],
        )
    }

    /// Checks that what the config `path` says of F and E is what they make: key, its value, role, what that makes.
    pub(crate) fn check_widths(path: &Path, pairs: [(&str, usize, Role, usize); 2]) -> Result<()> {
        match pairs.into_iter().find(|(_, wanted, _, made)| wanted != made) {
            None => Ok(()),
            Some((key, wanted, role, made)) => {
                let role = role.folder();
                let message = format!("key `{key}` is {wanted}, and {role} makes {made}: they are not of one family");
                Err(EngineError::config(path, message))
            }
        }
    }
}
