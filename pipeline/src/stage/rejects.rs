//! Which pictures nothing needs any more, because they can be made again by their seed.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::context::WorkContext;
use super::error::WorkError;

/// What is kept of a rejected row; the greater keeps more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// All but its picture.
    Scores,
    /// A small picture in place of the picture.
    Thumbnail,
}

impl Kept {
    /// The name stored in the catalog.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scores => "scores",
            Self::Thumbnail => "thumbnail",
        }
    }
}

/// What work that accepts rows, and refuses others, says of these once it is committed.
pub trait Rejects: Send + Sync {
    /// The table that the rows stand in, which the work reads.
    fn table(&self) -> &str;

    /// What is kept of rejected rows; `None` for all of them.
    fn kept(&self) -> Option<Kept>;

    /// The rejected rows, by their ids, from the inputs of the work. A row without a verdict is none of them.
    ///
    /// # Errors
    /// See [`WorkError`].
    fn ids(&self, context: &WorkContext) -> Result<HashSet<String>, WorkError>;

    /// A small picture for each of `pictures`, which are encoded; `None` where there is none that takes fewer bytes.
    fn thumbnails(&self, pictures: &[&[u8]]) -> Vec<Option<Vec<u8>>>;
}
