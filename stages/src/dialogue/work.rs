//! Candidates in, dialogues out.

use std::time::Duration;

use cafe_pipeline::stage::{BatchOutcome, Cost, ErrorClass, FanOut, QuarantinedRow, RowWork, WorkContext, WorkError};
use polars::prelude::*;

use super::converse::{Candidate, Rules};
use super::embedded::Embedded;
use super::join::Join;
use super::openai::OpenAi;
use super::replies::Replies;
use super::template::Facts;
use super::written;

/// More letters of a caption or an instruction are no caption: the model would have no room for its reply.
const MAX_FACT_CHARS: usize = 2_000;

/// Rows of a batch for the model of this program: enough for several replies at once, and little to lose by a stop.
const EMBEDDED_BATCH: usize = 16;

/// A language model, wherever it runs.
pub(super) enum Backend {
    OpenAi(Box<OpenAi>),
    Embedded(Box<Embedded>),
}

/// The work of a `dialogue` node.
pub(super) struct DialogueWork {
    pub(super) backend: Backend,
    pub(super) model: String,
    pub(super) rules: Rules,
    pub(super) filtered: bool,
    pub(super) join: Join,
    pub(super) replies: Replies,
}

impl RowWork for DialogueWork {
    fn row_id(&self) -> &str {
        "candidate_id"
    }

    fn columns(&self) -> Option<Vec<String>> {
        Some(vec!["candidate_id".to_owned(), "pair_id".to_owned()])
    }

    fn batch_rows(&self) -> usize {
        match &self.backend {
            Backend::OpenAi(server) => server.batch_rows(),
            Backend::Embedded(_) => EMBEDDED_BATCH,
        }
    }

    fn journaled(&self) -> bool {
        true
    }

    fn fan_out(&self) -> FanOut {
        FanOut::Many
    }

    fn expected_fan_out(&self) -> f64 {
        f64::from(self.rules.per_candidate)
    }

    /// Our own deadlines come first; this one is for the case that they fail.
    fn row_deadline(&self) -> Duration {
        const LONGEST: Duration = Duration::from_secs(24 * 3600);
        let n_requests = self.rules.per_candidate * self.rules.tries * self.batch_rows() as u32;
        let request = match &self.backend {
            Backend::OpenAi(server) => server.longest_wait(),
            Backend::Embedded(_) => Duration::from_secs(120),
        };
        request.saturating_mul(n_requests).min(LONGEST)
    }

    fn backend(&self) -> String {
        match &self.backend {
            Backend::OpenAi(_) => "openai".to_owned(),
            Backend::Embedded(_) => "cpu".to_owned(),
        }
    }

    fn prepare(&self, context: &WorkContext, rows: DataFrame) -> Result<DataFrame, WorkError> {
        self.join.add(context, &rows, self.filtered)
    }

    fn process(&self, context: &WorkContext, rows: &DataFrame) -> Result<BatchOutcome, WorkError> {
        context.cancel.check()?;
        let mut outcome = BatchOutcome::default();
        let mut candidates = self.candidates(context, rows, &mut outcome)?;
        if !candidates.is_empty() {
            self.replies.open(context.storage.as_ref())?;
            outcome.cost = self.converse(context, &mut candidates)?;
        }
        for candidate in &candidates {
            let Some(message) = candidate.failure() else { continue };
            let class = if candidate.refused.is_some() { ErrorClass::Program } else { ErrorClass::Invalid };
            outcome.quarantined.push(QuarantinedRow { row: candidate.row, class, message });
        }
        candidates.retain(|candidate| candidate.failure().is_none());
        outcome.tables = written::tables(&candidates, &self.model)?;
        Ok(outcome)
    }
}

impl DialogueWork {
    fn converse(&self, context: &WorkContext, candidates: &mut [Candidate]) -> Result<Cost, WorkError> {
        match &self.backend {
            Backend::OpenAi(server) => server.converse(context, candidates, &self.rules, &self.replies),
            Backend::Embedded(model) => model.converse(context, candidates, &self.rules, &self.replies),
        }
    }

    /// The accepted candidates; those about which nothing can be said go into quarantine.
    fn candidates(
        &self,
        context: &WorkContext,
        rows: &DataFrame,
        outcome: &mut BatchOutcome,
    ) -> Result<Vec<Candidate>, WorkError> {
        let text = |name: &str| rows.column(name)?.str();
        let (ids, accepted) = (text("candidate_id")?, rows.column("accepted")?.bool()?);
        let (classes, instructions, captions) = (text("class")?, text("instruction")?, text("caption")?);
        let mut candidates = Vec::new();
        for (row, (id, accepted)) in (0_u32..).zip(ids.iter().zip(accepted.iter())) {
            if accepted != Some(true) {
                continue;
            }
            let at = row as usize;
            let facts = fact("class", classes.get(at)).and_then(|class| {
                let instruction = fact("instruction", instructions.get(at))?;
                Ok(Facts { class, instruction, caption: fact("caption", captions.get(at))? })
            });
            match (id, facts) {
                (Some(id), Ok(facts)) => {
                    candidates.push(Candidate::new(row, id.to_owned(), facts, context.seed, &self.rules));
                }
                (id, facts) => {
                    let message = facts.err().filter(|_| id.is_some());
                    let message = message.unwrap_or_else(|| "the row has no `candidate_id`".to_owned());
                    outcome.quarantined.push(QuarantinedRow { row, class: ErrorClass::Invalid, message });
                }
            }
        }
        Ok(candidates)
    }
}

/// A text about the candidate, on one line: what stands in a table is told to a model, and must not look like more than it is.
fn fact(name: &str, text: Option<&str>) -> Result<String, String> {
    let text: String =
        text.unwrap_or_default().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.chars().count() {
        0 => Err(format!("the candidate's pair has no {name}: `pairs` needs `class`, `instruction` and `caption`")),
        n if n > MAX_FACT_CHARS => Err(format!("the {name} has {n} letters, more than {MAX_FACT_CHARS}")),
        _ => Ok(text),
    }
}
