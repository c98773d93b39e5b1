//! `recut`: a new release from stored scores with other thresholds.

use cafe_pipeline::manifest::Manifest;
use cafe_pipeline::plan::explain as compare;
use cafe_stages::filter::set_threshold;

use super::{explain, run as running};
use crate::cli::RecutArgs;
use crate::failure::Failure;
use crate::{kinds, project};

pub(super) async fn run(args: RecutArgs, threads: usize) -> Result<u8, Failure> {
    let thresholds = thresholds(&args);
    if thresholds.is_empty() {
        return Err(Failure::usage("no threshold was given", "for example --min sharpness=12.5"));
    }
    let registry = kinds::registry();
    let path = &args.run.manifest.manifest;
    let mut manifest = project::read(path, &registry)?;
    for (column, min, max) in &thresholds {
        apply(&mut manifest, column, *min, *max)?;
    }
    let project = project::open_manifest(&manifest, &registry).await?;
    project::must_have_run(&project.catalog, path).await?;
    if let Some(last) = project.catalog.current_plan().await? {
        let found = compare(&project.plan, &last, &project.catalog.progress().await?);
        eprint!("{}", explain::text(&found, &path.display().to_string()));
    }
    if args.dry_run {
        project.catalog.close().await;
        return Ok(0);
    }
    let options = running::options(&args.run, threads, None, None)?;
    let report = running::carry_out(&project, options, &args.run).await?;
    running::conclude(&report, &args.run);
    eprintln!("the manifest still has its own thresholds: `cafe-data run` goes back to them at no cost");
    Ok(report.exit_code())
}

/// Column, least, greatest.
type Threshold = (String, Option<f64>, Option<f64>);

fn thresholds(args: &RecutArgs) -> Vec<Threshold> {
    let min = args.min.iter().map(|(column, value)| (column.clone(), Some(*value), None));
    let max = args.max.iter().map(|(column, value)| (column.clone(), None, Some(*value)));
    let named = |column: &str, value: Option<f64>| value.map(|value| (column.to_owned(), Some(value), None));
    min.chain(max).chain(named("clip", args.clip_min)).chain(named("dino", args.dino_min)).collect()
}

/// Changes the rule for `column` in the filter that has it.
fn apply(manifest: &mut Manifest, column: &str, min: Option<f64>, max: Option<f64>) -> Result<(), Failure> {
    let mut filters = Vec::new();
    for stage in manifest.stages.iter_mut().filter(|stage| stage.kind == "filter") {
        let is_set = set_threshold(&mut stage.config, column, min, max).map_err(|message| {
            Failure::usage(format!("stage {}: {message}", stage.name), "see its rules in the manifest")
        })?;
        if is_set {
            filters.push(stage.name.clone());
        }
    }
    if filters.is_empty() {
        return Err(Failure::usage(
            format!("no filter of the manifest has a rule for `{column}`"),
            "recut changes rules that are there; add the rule to the manifest, and run it",
        ));
    }
    Ok(())
}
