//! The UNet that a `train` stage upstream has made.

use std::path::PathBuf;

use cafe_pipeline::stage::{WorkContext, WorkError};
use polars::prelude::Column;

use crate::{models, tables};

/// Weights that are known only when their training is done.
#[derive(Clone, Debug)]
pub(super) struct Trained {
    /// Of all that decides the model's numbers.
    pub(super) digest: String,
    /// Where they are.
    pub(super) folder: PathBuf,
}

/// Those that `context` has; `None` where no table of weights is read. Weights that are not what was trained are trained again.
pub(super) fn trained(context: &WorkContext) -> Result<Option<Trained>, WorkError> {
    let Some(shard) = context.shards(tables::WEIGHTS).first() else { return Ok(None) };
    let rows = context.read(shard, None)?;
    let text = |name: &str| -> Result<String, WorkError> {
        let value = rows.column(name).and_then(Column::str)?.get(0);
        value.map(str::to_owned).ok_or_else(|| WorkError::Systemic(format!("`{}` has no `{name}`", shard.path)))
    };
    let (digest, path) = (text("weights_digest")?, text("path")?);
    let folder = context.storage.root().join(&path);
    let damaged = |message: String| WorkError::Damaged { shard_id: shard.shard_id, path: path.clone(), message };
    let found = models::digest(&folder, "").map_err(|issue| damaged(issue.message))?.to_hex();
    if found == digest {
        Ok(Some(Trained { digest, folder }))
    } else {
        Err(damaged(format!("has the digest {found}, {digest} was committed")))
    }
}
