//! `publish`: accepted rows become a release, a folder that says of itself what it holds and where it comes from.
//!
//! Two nodes. `publish.pack` gathers what belongs to each accepted row, pixels included, into the table `quadruplets`:
//! row by row, in as many shards as there are workers for. `publish` then writes the folder
//! `releases/{name}-{digest}/`: Parquet files per split, a dataset card, and last of all `release.json`, without which
//! a folder is no release.
//!
//! A release is named by its content. Its id is a digest of all that `release.json` says before it comes to files: rows
//! with their pixels, counts, thresholds, licences, seed, card. Time, workers, the number of shards and the names of
//! stages are not in it; so a run that was killed while it published finds its own folder again, keeps the files that are
//! whole and writes the others. What was read, shard by shard, stands in the table `releases` instead.
//!
//! ```text
//! releases/{name}-{digest}/
//!   data/{split}-00000-of-00002.parquet   rows, with a column per score and the pictures' bytes; the footer tells the
//!                                         features to Hugging Face's `datasets`, and plain types to Arrow
//!   README.md                             the dataset card
//!   release.json                          format, release_id, content_digest, name, of, n_rows, warnings;
//!                                         rows by split, class, family, round, generator, weights and licence;
//!                                         extent of each score; rows considered, accepted, quarantined, and
//!                                         rejected by reason; thresholds, licence policy, card, provenance (seed,
//!                                         rows and digest of the ids of each table read); files with their digests
//! ```
//!
//! A row is accepted when each filter upstream accepted it, or accepted what it refers to: a rejected reference takes its
//! pairs and candidates with it. A row that a filter never saw is not accepted either. Then its reference's licence is
//! asked. Where nothing is accepted the release is empty, says so in `warnings`, and is no error: thresholds are for
//! people to judge.
//!
//! What a release does not take may go once it is out: see [`KeepRejects`].
//!
//! Rows stand in the order of the published table, which is the order in which the source was listed. Sorted by id they
//! would be as reproducible, but each would then lie in another upstream shard than the one before it, and packing n rows
//! would unpack in the order of n² pictures.

mod arrow_schema;
mod card;
mod compile;
mod config;
mod cut;
mod described;
mod features;
mod files;
mod gather;
mod licence;
mod list;
mod pack;
mod rejects;
mod release;
mod said;
mod scores;
mod select;
mod summary;
mod table;
mod verdicts;

#[cfg(test)]
mod tests;

use cafe_pipeline::stage::{CompileContext, ConfigIssue, NodeDecl, StageDecl, StageKind};
pub(crate) use card::{LOADING, ON_FILES};
pub use config::{CardConfig, Dialogues, KeepRejects, LicencesConfig, PublishConfig, ScoresConfig, Subject};
pub(crate) use described::Described;
pub(crate) use files::FileRecord;
pub(crate) use release::CARD;
#[cfg(test)]
pub(crate) use release::FORMAT;
pub(crate) use verdicts::Verdicts;

/// The stage kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct PublishKind;

impl StageKind for PublishKind {
    fn kind(&self) -> &'static str {
        "publish"
    }

    fn about(&self) -> &'static str {
        "makes a release of the accepted rows: Parquet files with pixels, a dataset card, and release.json"
    }

    fn config_schema(&self) -> schemars::Schema {
        schemars::schema_for!(PublishConfig)
    }

    fn compile(&self, stage: &StageDecl, _: &CompileContext<'_>) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
        compile::compile(&stage.name, stage.config()?)
    }
}
