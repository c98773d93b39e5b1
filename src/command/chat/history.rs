//! The conversation on disk: `chat.json`, and an image for each round beside it.

use std::path::{Path, PathBuf};

use cafe_engine::language::Message;
use cafe_engine::noise::Guidance;
use cafe_pipeline::digest::Hasher;
use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::command::pictures;
use crate::failure::Failure;

/// A conversation about one image.
pub(super) struct History {
    folder: PathBuf,
    kept: Kept,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    /// The image that is talked about.
    image: PathBuf,
    /// Of its bytes: another image is another conversation.
    digest: String,
    rounds: Vec<Round>,
}

/// What was said, and what was drawn by it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Round {
    pub(super) user: String,
    pub(super) assistant: String,
    /// Beside `chat.json`.
    pub(super) image: Option<PathBuf>,
    pub(super) seed: u64,
    pub(super) steps: Option<u16>,
    pub(super) guidance: Option<Guidance>,
    /// The image that this one is like, and how much.
    pub(super) like: Option<PathBuf>,
    pub(super) alpha: Option<f64>,
}

impl History {
    /// The conversation in `folder` about `image`, or a new one.
    pub(super) fn open(folder: &Path, image: &Path) -> Result<Self, Failure> {
        let failed = |path: &Path, error: &dyn std::fmt::Display| {
            Failure::usage(format!("{}: {error}", path.display()), "name another folder as --output")
        };
        let bytes = std::fs::read(image).map_err(|error| failed(image, &error))?;
        let digest = Hasher::new("chat-image/v1").bytes("image", &bytes).row_id();
        std::fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
        let path = folder.join(FILE);
        let kept = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice::<Kept>(&text).map_err(|error| failed(&path, &error))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Kept { image: image.to_owned(), digest: digest.clone(), rounds: Vec::new() }
            }
            Err(error) => return Err(failed(&path, &error)),
        };
        if kept.digest != digest {
            let message = format!("{} is about {}, which was another image", path.display(), kept.image.display());
            return Err(Failure::usage(message, "go on with that image, or name another folder as --output"));
        }
        Ok(Self { folder: folder.to_owned(), kept })
    }

    pub(super) fn rounds(&self) -> &[Round] {
        &self.kept.rounds
    }

    /// All that was said, as the language model reads it.
    pub(super) fn messages(&self) -> Vec<Message> {
        let of_round =
            |round: &Round| [Message::new("user", &*round.user), Message::new("assistant", &*round.assistant)];
        self.kept.rounds.iter().flat_map(of_round).collect()
    }

    /// Adds a round: first the image, then what refers to it.
    pub(super) fn add(&mut self, mut round: Round, image: Option<&RgbImage>) -> Result<&Round, Failure> {
        if let Some(image) = image {
            let name = PathBuf::from(format!("{:03}.png", self.kept.rounds.len() + 1));
            pictures::write(image, &self.folder.join(&name))?;
            round.image = Some(name);
        }
        self.kept.rounds.push(round);
        let saved = self.save();
        if saved.is_err() {
            self.kept.rounds.pop();
        }
        saved?;
        self.kept.rounds.last().ok_or_else(|| Failure::Internal("a round was lost".to_owned()))
    }

    fn save(&self) -> Result<(), Failure> {
        let path = self.folder.join(FILE);
        let mut text = serde_json::to_vec_pretty(&self.kept).map_err(|error| Failure::Internal(error.to_string()))?;
        text.push(b'\n');
        let temporary = path.with_extension("json.tmp");
        let written = std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, &path));
        written.map_err(|error| Failure::usage(format!("{}: {error}", path.display()), "make room, and go on"))
    }
}

const FILE: &str = "chat.json";
