//! `audit`: every row recounted.

use cafe_pipeline::audit::{AuditOptions, audit, to_text};

use super::trace;
use crate::cli::AuditArgs;
use crate::failure::Failure;
use crate::format::{json, out};
use crate::project;

/// What the process exits with when rows do not balance.
const UNBALANCED: u8 = 5;

pub(super) async fn run(args: &AuditArgs) -> Result<u8, Failure> {
    let path = &args.manifest.manifest;
    let project = project::open(path).await?;
    project::must_have_run(&project.catalog, path).await?;
    if let Some(id) = &args.trace {
        return trace::run(&project, id, args.json).await;
    }
    let options = AuditOptions { verify: args.verify };
    let report = audit(&project.plan, project.catalog.as_ref(), &project.storage, options).await?;
    project.catalog.close().await;
    if args.json {
        json(&report)?;
    } else {
        out(&to_text(&report))?;
    }
    Ok(if report.balances() { 0 } else { UNBALANCED })
}
