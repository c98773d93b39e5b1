//! The stage kinds that this program knows.

use std::sync::Arc;

use cafe_pipeline::stage::StageRegistry;
use cafe_stages::collect::CollectKind;
use cafe_stages::command::CommandKind;
use cafe_stages::dialogue::DialogueKind;
use cafe_stages::filter::FilterKind;
use cafe_stages::imagine::ImagineKind;
use cafe_stages::import::ImportKind;
use cafe_stages::instruct::InstructKind;
use cafe_stages::publish::PublishKind;
use cafe_stages::retrieve::RetrieveKind;
use cafe_stages::review::ReviewKind;
use cafe_stages::score::ScoreKind;
use cafe_stages::synthesize::SynthesizeKind;
use cafe_stages::train::TrainKind;

use crate::models::resolve::Installed;

/// All of them.
pub(crate) fn registry() -> StageRegistry {
    let models = Arc::new(Installed);
    StageRegistry::default()
        .with(CollectKind)
        .with(CommandKind)
        .with(DialogueKind::new(models.clone()))
        .with(FilterKind)
        .with(ImagineKind::new(models.clone()))
        .with(ImportKind)
        .with(InstructKind)
        .with(PublishKind)
        .with(RetrieveKind::new(models.clone()))
        .with(ReviewKind)
        .with(ScoreKind::new(models.clone()))
        .with(SynthesizeKind::new(models.clone()))
        .with(TrainKind::new(models))
}
