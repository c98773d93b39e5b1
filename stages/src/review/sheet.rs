//! The CSV file of verdicts: read with all its mistakes, merged, written.

use std::collections::BTreeMap;
use std::fmt;

use super::cell::{escape, unescape};
use super::record::{self, Record};

/// The columns that are read; a file may have more.
pub(super) const COLUMNS: [&str; 5] = ["candidate_id", "verdict", "reason", "reviewer", "secs"];
/// Reasons are shown in reports, one line each.
const MAX_REASON_CHARS: usize = 500;

/// What one person says of one candidate.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Review {
    pub(super) accepted: bool,
    pub(super) reason: Option<String>,
    /// How long the person looked at it.
    pub(super) secs: Option<f64>,
}

/// A mistake in a file of verdicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}: {}", self.line, self.message)
    }
}

/// All verdicts of people: candidate → reviewer (may be empty) → what is said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sheet(BTreeMap<String, BTreeMap<String, Review>>);

/// What a merge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Verdicts that were not there.
    pub n_new: u64,
    /// Verdicts that say something else than before.
    pub n_changed: u64,
}

impl Sheet {
    /// Reads the text of a file. Rows without a verdict are left out: a list is filled in bit by bit.
    ///
    /// # Errors
    /// All mistakes.
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        // Spreadsheets put a mark of the byte order first.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut records = record::read(text).into_iter();
        let Some(header) = records.next() else { return Ok(Self::default()) };
        let places = Places::find(&header)?;
        let mut sheet = Self::default();
        let mut lines: BTreeMap<(String, String), u64> = BTreeMap::new();
        let mut mistakes = Vec::new();
        for record in records {
            let line = record.line;
            let (n, n_columns) = (record.fields.len(), header.fields.len());
            if n != n_columns {
                mistakes.push(at(line, format!("has {n} fields, and the header has {n_columns}")));
                continue;
            }
            match places.review(&record) {
                Ok(None) => {}
                Ok(Some((id, reviewer, review))) => {
                    if let Some(first) = lines.get(&(id.clone(), reviewer.clone())) {
                        let who =
                            if reviewer.is_empty() { "nobody by name".to_owned() } else { format!("`{reviewer}`") };
                        mistakes.push(at(line, format!("{who} has judged {id} in line {first} already: keep one")));
                        continue;
                    }
                    lines.insert((id.clone(), reviewer.clone()), line);
                    sheet.0.entry(id).or_default().insert(reviewer, review);
                }
                Err(messages) => mistakes.extend(messages.into_iter().map(|message| at(line, message))),
            }
        }
        if mistakes.is_empty() { Ok(sheet) } else { Err(mistakes) }
    }

    /// The ids of candidates that somebody has reviewed.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether somebody has reviewed the candidate.
    #[must_use]
    pub fn has(&self, candidate_id: &str) -> bool {
        self.0.contains_key(candidate_id)
    }

    /// What is said of a candidate, by reviewer.
    pub(super) fn of(&self, candidate_id: &str) -> Option<&BTreeMap<String, Review>> {
        self.0.get(candidate_id)
    }

    /// Takes the verdicts of `other`; the same person's verdict on the same candidate is replaced.
    pub fn merge(&mut self, other: Self) -> Merged {
        let mut merged = Merged::default();
        for (id, reviews) in other.0 {
            let mine = self.0.entry(id).or_default();
            for (reviewer, review) in reviews {
                match mine.insert(reviewer, review.clone()) {
                    None => merged.n_new += 1,
                    Some(before) => merged.n_changed += u64::from(before != review),
                }
            }
        }
        merged
    }

    /// The text of the file, in the order of ids and reviewers.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut text = String::new();
        record::write(&mut text, &COLUMNS);
        for (id, reviews) in &self.0 {
            for (reviewer, review) in reviews {
                let verdict = if review.accepted { "accept" } else { "reject" };
                let reason = escape(review.reason.as_deref().unwrap_or_default());
                let reviewer = escape(reviewer);
                let secs = review.secs.map(|secs| secs.to_string()).unwrap_or_default();
                record::write(&mut text, &[id, verdict, reason.as_ref(), reviewer.as_ref(), secs.as_str()]);
            }
        }
        text
    }
}

/// Whether `id` has the form of a candidate's id.
pub(super) fn is_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Where the columns stand.
struct Places {
    candidate_id: usize,
    verdict: usize,
    reason: Option<usize>,
    reviewer: Option<usize>,
    secs: Option<usize>,
}

impl Places {
    fn find(header: &Record) -> Result<Self, Vec<Mistake>> {
        let (line, header) = (header.line, &header.fields);
        let mut mistakes = Vec::new();
        for name in COLUMNS {
            if header.iter().filter(|column| *column == name).count() > 1 {
                mistakes.push(at(line, format!("the column `{name}` is there twice")));
            }
        }
        let place = |name: &str| header.iter().position(|column| column == name);
        let (candidate_id, verdict) = (place("candidate_id"), place("verdict"));
        for (name, _) in [("candidate_id", candidate_id), ("verdict", verdict)].iter().filter(|(_, at)| at.is_none()) {
            mistakes.push(at(line, format!("there is no column `{name}`, only {}", header.join(", "))));
        }
        match (candidate_id, verdict) {
            (Some(candidate_id), Some(verdict)) if mistakes.is_empty() => Ok(Self {
                candidate_id,
                verdict,
                reason: place("reason"),
                reviewer: place("reviewer"),
                secs: place("secs"),
            }),
            _ => Err(mistakes),
        }
    }

    /// The row's candidate, reviewer and verdict; `None` for a row that is not filled in.
    fn review(&self, record: &Record) -> Result<Option<(String, String, Review)>, Vec<String>> {
        let get = |place: usize| record.fields.get(place).map(String::as_str).unwrap_or_default();
        let optional = |place: Option<usize>| place.map(get).map(unescape).unwrap_or_default();
        let verdict = get(self.verdict);
        if verdict.is_empty() {
            return Ok(None);
        }
        let mut mistakes = Vec::new();
        let accepted = verdict.eq_ignore_ascii_case("accept");
        if !accepted && !verdict.eq_ignore_ascii_case("reject") {
            mistakes.push(format!("the verdict `{}` is neither `accept` nor `reject`", shown(verdict)));
        }
        let id = get(self.candidate_id);
        if !is_id(id) {
            mistakes.push(format!("`{}` is no candidate's id: those have 32 digits of 0-9 and a-f", shown(id)));
        }
        let text = optional(self.secs);
        let secs = text.parse::<f64>().ok().filter(|secs| secs.is_finite() && *secs >= 0.0);
        if secs.is_none() && !text.is_empty() {
            mistakes.push(format!("`{}` is no number of seconds; it may be left empty", shown(text)));
        }
        let reason = optional(self.reason);
        if reason.chars().count() > MAX_REASON_CHARS {
            mistakes.push(format!("the reason has more than {MAX_REASON_CHARS} characters"));
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let reason = (!reason.is_empty()).then(|| reason.to_owned());
        Ok(Some((id.to_owned(), optional(self.reviewer).to_owned(), Review { accepted, reason, secs })))
    }
}

fn at(line: u64, message: String) -> Mistake {
    Mistake { line, message }
}

/// As much of a cell as a message can hold.
fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}
