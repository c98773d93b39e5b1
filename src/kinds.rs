//! The stage kinds that this program knows.

use cafe_pipeline::stage::StageRegistry;
use cafe_stages::collect::CollectKind;
use cafe_stages::command::CommandKind;
use cafe_stages::filter::FilterKind;
use cafe_stages::import::ImportKind;
use cafe_stages::instruct::InstructKind;
use cafe_stages::publish::PublishKind;

/// All of them.
pub(crate) fn registry() -> StageRegistry {
    StageRegistry::default()
        .with(CollectKind)
        .with(CommandKind)
        .with(FilterKind)
        .with(ImportKind)
        .with(InstructKind)
        .with(PublishKind)
}
