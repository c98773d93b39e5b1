//! Whether a reference shows one subject, by a detector of objects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cafe_pipeline::digest::Digest;
use cafe_pipeline::manifest::child_pointer;
use cafe_pipeline::stage::{
    BatchOutcome, Bounds, CompileContext, ConfigIssue, ErrorClass, NodeDecl, QuarantinedRow, ROW, Read, RowWork,
    TableDecl, Work, WorkContext, WorkError,
};
use cafe_pipeline::text::listed;
use polars::prelude::*;
use serde_json::json;

use super::config::{SingleSubject, Unfit};
use crate::detect::{Detector, Object};
use crate::models::ModelStore;
use crate::picture::{self, Fault};
use crate::source::image_bytes;
use crate::tables;

/// Raised when the same images and detector come to be judged otherwise.
const OUTPUT_VERSION: u32 = 1;

/// The node that draws, where this one looks at what it drew.
pub(super) const DRAW: &str = "draw";
/// The table of drawn images: as `references`, which it becomes.
pub(super) const DRAWN: &str = "drawn";

/// `subjects`: what the detector finds in each reference. All but the id is null where it was not asked.
fn table() -> TableDecl {
    tables::table(
        tables::SUBJECTS,
        [
            ("reference_id", DataType::String),
            // Objects that count as subjects.
            ("n_subjects", DataType::UInt32),
            // Of the one that covers most of the picture: the share that its box covers, what the detector calls it, and its score. Null
            // where there is none.
            ("largest_share", DataType::Float32),
            ("largest_label", DataType::String),
            ("largest_score", DataType::Float32),
        ],
    )
}

/// Names of labels and objects that a message has at most.
const NAMED: usize = 8;

/// What is asked of each image.
pub(super) struct Subjects {
    detector: Detector,
    digest: Digest,
    min_score: f64,
    /// What the detector calls a class.
    labels: BTreeMap<String, String>,
    /// Classes that are not asked about.
    except: BTreeSet<String>,
    otherwise: Unfit,
    deadline: Duration,
}

/// What an image shows.
struct Seen {
    n_subjects: u32,
    /// That which covers most of it.
    largest: Option<Object>,
}

impl Subjects {
    /// Finds the detector of `keys`; all that is wrong with them, where something is.
    pub(super) fn find(
        keys: &SingleSubject,
        classes: &[String],
        deadline: Duration,
        (models, context): (&dyn ModelStore, &CompileContext<'_>),
    ) -> Result<Self, Vec<ConfigIssue>> {
        const POINTER: &str = "/single_subject";
        let trimmed = |text: &String| text.trim().to_owned();
        let except: BTreeSet<String> = keys.except.iter().map(trimmed).collect();
        let known: BTreeSet<&str> = classes.iter().map(|class| class.trim()).collect();
        let mut issues = Vec::new();
        for (index, class) in keys.except.iter().enumerate().filter(|(_, class)| !known.contains(class.trim())) {
            issues
                .push(ConfigIssue::new(format!("{POINTER}/except/{index}"), format!("`{class}` is none of `classes`")));
        }
        for class in keys.labels.keys() {
            let pointer = child_pointer(&format!("{POINTER}/labels"), class);
            if except.contains(class.trim()) {
                issues.push(ConfigIssue::new(pointer, format!("`{class}` stands in `except`, too")));
            } else if !known.contains(class.trim()) {
                issues.push(ConfigIssue::new(pointer, format!("`{class}` is none of `classes`")));
            }
        }
        let (detector, digest) = match Detector::find(&keys.detector, models, &format!("{POINTER}/detector"), context) {
            Ok(found) => found,
            Err(issue) => {
                issues.push(issue);
                return Err(issues);
            }
        };
        let has = |label: &String| detector.labels().values().any(|known| known == label);
        for (class, label) in keys.labels.iter().filter(|(_, label)| !has(label)) {
            let pointer = child_pointer(&format!("{POINTER}/labels"), class);
            let labels = listed(detector.labels().values().map(String::as_str), NAMED);
            issues.push(
                ConfigIssue::new(pointer, format!("the detector has no label `{label}`"))
                    .with_help(format!("its labels are {labels}: its config.json has them all (id2label)")),
            );
        }
        if !issues.is_empty() {
            return Err(issues);
        }
        let labels = keys.labels.iter().map(|(class, label)| (trimmed(class), label.clone())).collect();
        let min_score = keys.min_score.unwrap_or_else(|| detector.usual_score());
        Ok(Self { detector, digest, min_score, labels, except, otherwise: keys.otherwise, deadline })
    }

    /// The node that asks.
    pub(super) fn node(self) -> NodeDecl {
        NodeDecl {
            part: None,
            output_version: OUTPUT_VERSION,
            settings: json!({
                "detector": self.digest,
                "min_score": self.min_score,
                "labels": self.labels,
                "except": self.except,
                "otherwise": self.otherwise,
            }),
            reads: vec![Read::aligned(DRAWN).from_part(DRAW)],
            writes: vec![tables::references(), table()],
            bounds: Bounds::Aligned,
            work: Work::Rows(Arc::new(self)),
        }
    }

    /// What an image of `class` shows; `None` where nobody asks.
    fn look(&self, class: &str, image: Option<&[u8]>) -> Result<Result<Option<Seen>, Fault>, WorkError> {
        if self.except.contains(class) {
            return Ok(Ok(None));
        }
        let prepared = picture::for_model(image, "the image").and_then(|image| self.detector.prepare(&image));
        match prepared {
            Ok(pixels) => Ok(self.judged(class, self.detector.look(&pixels, self.min_score)?).map(Some)),
            Err(fault) => Ok(Err(fault)),
        }
    }

    /// What an image of `class` shows, of which the detector finds `objects`.
    fn judged(&self, class: &str, objects: Vec<Object>) -> Result<Seen, Fault> {
        let label = self.labels.get(class);
        let is_subject = |object: &Object| label.is_none_or(|label| self.detector.label(object) == label);
        let n_subjects = objects.iter().filter(|object| is_subject(object)).count();
        if n_subjects != 1 && self.otherwise == Unfit::Quarantine {
            let wanted = label.map_or("object".to_owned(), |label| format!("`{label}`"));
            let number = if n_subjects == 0 { "none".to_owned() } else { n_subjects.to_string() };
            let found = match (self.named(objects), label) {
                (named, _) if named.is_empty() => "nothing".to_owned(),
                (named, Some(_)) => format!("{number} among {named}"),
                (named, None) => format!("{number}: {named}"),
            };
            let message = format!(
                "where one {wanted} should be, the detector finds {found} (single_subject.otherwise = \"keep\" would keep it)"
            );
            return Err(Fault::new(ErrorClass::Invalid, message));
        }
        let subjects = objects.into_iter().filter(is_subject);
        let largest = subjects.max_by(|one, other| one.share().total_cmp(&other.share()));
        Ok(Seen { n_subjects: u32::try_from(n_subjects).unwrap_or(u32::MAX), largest })
    }

    /// All that was found, with scores: from it a person sees what is wrong.
    fn named(&self, mut objects: Vec<Object>) -> String {
        objects.sort_by(|one, other| other.score.total_cmp(&one.score));
        let named = |object: &Object| format!("{} {:.2}", self.detector.label(object), object.score);
        let n_more = objects.len().saturating_sub(NAMED);
        let mut found: Vec<String> = objects.iter().take(NAMED).map(named).collect();
        if n_more > 0 {
            found.push(format!("{n_more} more"));
        }
        found.join(", ")
    }

    /// The rows of `subjects`, for rows with these ids.
    fn rows(&self, ids: Column, seen: &[Option<Seen>]) -> PolarsResult<DataFrame> {
        let largest = |value: &dyn Fn(&Object) -> f32| -> Vec<Option<f32>> {
            seen.iter().map(|seen| Some(value(seen.as_ref()?.largest.as_ref()?))).collect()
        };
        let labels: Vec<Option<&str>> =
            seen.iter().map(|seen| Some(self.detector.label(seen.as_ref()?.largest.as_ref()?))).collect();
        let numbers: Vec<Option<u32>> = seen.iter().map(|seen| Some(seen.as_ref()?.n_subjects)).collect();
        DataFrame::new(
            seen.len(),
            vec![
                ids,
                Column::new("n_subjects".into(), numbers),
                Column::new("largest_share".into(), largest(&Object::share)),
                Column::new("largest_label".into(), labels),
                Column::new("largest_score".into(), largest(&|object| object.score)),
            ],
        )
    }
}

impl RowWork for Subjects {
    fn row_id(&self) -> &str {
        "reference_id"
    }

    fn batch_rows(&self) -> usize {
        8
    }

    fn journaled(&self) -> bool {
        true
    }

    fn row_deadline(&self) -> Duration {
        self.deadline
    }

    fn backend(&self) -> String {
        self.detector.backend().to_owned()
    }

    fn process(&self, context: &WorkContext, rows: &DataFrame) -> Result<BatchOutcome, WorkError> {
        let (classes, images) = (rows.column("class")?.str()?, image_bytes(rows.column("image")?)?);
        let (mut outcome, mut kept, mut seen) = (BatchOutcome::default(), Vec::new(), Vec::new());
        for (row, (class, image)) in (0_u32..).zip(classes.iter().zip(images.iter())) {
            context.cancel.check()?;
            match self.look(class.unwrap_or_default(), image)? {
                Ok(found) => {
                    kept.push(row);
                    seen.push(found);
                }
                Err(Fault { class, message }) => outcome.quarantined.push(QuarantinedRow { row, class, message }),
            }
        }
        let TableDecl { name, columns } = tables::references();
        let references = rows.take(&IdxCa::from_vec("row".into(), kept.clone()))?;
        let subjects = self.rows(references.column("reference_id")?.clone(), &seen)?;
        let references = references.select(columns.iter_names().cloned())?;
        for (name, mut table) in [(name, references), (tables::SUBJECTS.to_owned(), subjects)] {
            table.with_column(Column::new(ROW.into(), kept.clone()))?;
            outcome.tables.insert(name, table);
        }
        Ok(outcome)
    }
}
