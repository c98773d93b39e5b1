//! Reconciliation: counts every row again from the files themselves, and says where the books and the files disagree.
//!
//! Two steps, so that the judgement can be tested on facts made by hand: [`gather`] asks the catalog and looks at the
//! files, [`judge`] compares. Without `verify` only names, sizes and footers are looked at, and nothing is changed. With
//! it every file is read whole, and what is damaged is marked, so that the next `run` makes it again.

mod balance;
mod cost;
mod facts;
mod files;
mod gather;
mod ids;
mod inspect;
mod judge;
mod release;
mod render;
mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

pub use render::to_text;
pub use report::{AuditReport, NodeAudit, Orphans, Problem, ProblemKind, Repair, StageCost, Verdicts};

use crate::catalog::{Catalog, CatalogError};
use crate::plan::Plan;
use crate::storage::Storage;

/// How thorough an audit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditOptions {
    /// Reads every file whole: digests, decoding, ids, lineage; and marks what is damaged.
    pub verify: bool,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The storage cannot be looked at as a whole. Faults of single files are problems in the report.
    #[error("cannot list the files of {root}: {error}")]
    Storage {
        /// The storage root.
        root: String,
        /// Why.
        error: io::Error,
    },
    /// A damaged listing could not be taken away.
    #[error("cannot remove the damaged {path}: {error}; remove it by hand, then `run`")]
    Remove {
        /// The file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// A defect.
    #[error("the audit broke off: {0}")]
    Internal(String),
}

/// Audits what `plan` has made so far.
///
/// # Errors
/// See [`AuditError`]. Whatever is wrong with the dataset is part of the report.
pub async fn audit(
    plan: &Plan,
    catalog: &dyn Catalog,
    storage: &Arc<dyn Storage>,
    options: AuditOptions,
) -> Result<AuditReport, AuditError> {
    let facts = gather::gather(plan, catalog, storage, options.verify).await?;
    let mut report = judge::judge(&facts);
    if options.verify {
        repair(&mut report, catalog, storage.as_ref()).await?;
    }
    Ok(report)
}

/// Marks what is damaged: once, whatever number of problems a shard has.
async fn repair(report: &mut AuditReport, catalog: &dyn Catalog, storage: &dyn Storage) -> Result<(), AuditError> {
    let mut reasons: BTreeMap<Repair, String> = BTreeMap::new();
    for problem in &report.problems {
        for repair in &problem.repairs {
            let path = problem.path.as_ref().map_or_else(String::new, |path| format!("{path} "));
            reasons.entry(repair.clone()).or_insert_with(|| format!("audit: {path}{}", problem.what));
        }
    }
    for (repair, reason) in &reasons {
        match repair {
            Repair::Invalidate { shard_id } => {
                catalog.invalidate(*shard_id, reason).await?;
                report.n_invalidated += 1;
            }
            Repair::RemoveListing { path } => {
                storage.remove(path).map_err(|error| AuditError::Remove { path: path.clone(), error })?;
            }
        }
    }
    for problem in &mut report.problems {
        problem.is_marked = !problem.repairs.is_empty();
    }
    Ok(())
}
