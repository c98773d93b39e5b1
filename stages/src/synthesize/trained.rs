//! The UNet that a `train` stage upstream has made.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use cafe_pipeline::digest::Digest;
use cafe_pipeline::stage::{InputShard, WorkContext, WorkError};
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

/// The weights that a node draws with, by the digest of the training's shard: read, and compared with their files, before they are used first, and
/// not with every batch again.
#[derive(Default)]
pub(super) struct TrainedWeights(Mutex<Option<(Digest, Trained)>>);

impl TrainedWeights {
    /// Those that `context` has; `None` where no table of weights is read. Weights that are not what was trained are trained again.
    pub(super) fn of(&self, context: &WorkContext) -> Result<Option<Trained>, WorkError> {
        let Some(shard) = context.shards(tables::WEIGHTS).first() else { return Ok(None) };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, trained)) = known.as_ref().filter(|(of, _)| *of == shard.digest) {
            return Ok(Some(trained.clone()));
        }
        let trained = read(context, shard)?;
        *known = Some((shard.digest, trained.clone()));
        Ok(Some(trained))
    }
}

fn read(context: &WorkContext, shard: &InputShard) -> Result<Trained, WorkError> {
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
        Ok(Trained { digest, folder })
    } else {
        Err(damaged(format!("has the digest {found}, {digest} was committed")))
    }
}

#[cfg(test)]
mod tests {
    use polars::prelude::*;

    use super::*;
    use crate::testing::Bench;

    #[test]
    fn weights_are_compared_with_their_files_before_they_are_used_first() {
        let mut bench = Bench::new();
        assert!(TrainedWeights::default().of(&bench.context()).unwrap().is_none(), "no stage trains any");
        let folder = bench.context().storage.root().join("weights/w");
        std::fs::create_dir_all(&folder).unwrap();
        let write = |text: &str| {
            std::fs::write(folder.join("config.json"), text).unwrap();
            models::digest(&folder, "").unwrap().to_hex()
        };
        let row = |digest: &str| df!("weights_digest" => [digest], "path" => ["weights/w"]).unwrap();
        let digest = write("{}");
        bench.put(tables::WEIGHTS, vec![row(&digest)]);
        let weights = TrainedWeights::default();
        let found = weights.of(&bench.context()).unwrap().unwrap();
        assert_eq!((&found.digest, &found.folder), (&digest, &folder));
        let other = write("{ }");
        assert_eq!(weights.of(&bench.context()).unwrap().unwrap().digest, digest, "they are in memory by now");
        let fresh = TrainedWeights::default().of(&bench.context());
        assert!(matches!(fresh, Err(WorkError::Damaged { .. })), "{fresh:?}");
        bench.put(tables::WEIGHTS, vec![row(&other)]);
        assert_eq!(weights.of(&bench.context()).unwrap().unwrap().digest, other, "of another training");
    }
}
