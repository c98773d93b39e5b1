//! Which release is meant.

use std::collections::BTreeSet;

use cafe_pipeline::catalog::ReleaseRecord;

use super::named;
use crate::failure::Failure;

/// A stage that publishes.
#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) stage: String,
    /// The name of its releases.
    pub(super) release: String,
}

/// What was published, and what the project stands at.
#[derive(Debug)]
pub(super) struct Releases {
    /// Oldest first.
    pub(super) all: Vec<ReleaseRecord>,
    pub(super) publishers: Vec<Publisher>,
    /// Ids.
    pub(super) current: BTreeSet<String>,
}

impl Releases {
    /// The release that is meant, with its number, from 1. Without one that is named: the one that the project stands at,
    /// else the last that was made.
    pub(super) fn pick(&self, stage: Option<&str>, wanted: Option<&str>) -> Result<(usize, &ReleaseRecord), Failure> {
        let publisher = stage.map(|stage| self.publisher(stage)).transpose()?;
        let is_of = |release: &ReleaseRecord| publisher.is_none_or(|publisher| publisher.release == release.name);
        let found: Vec<(usize, &ReleaseRecord)> = (1..).zip(&self.all).filter(|(_, release)| is_of(release)).collect();
        let Some(last) = found.last() else {
            let whose = stage.map(|stage| format!(" by stage `{stage}`")).unwrap_or_default();
            return Err(Failure::usage(format!("nothing was published yet{whose}"), "cafe-data run publishes"));
        };
        if let Some(wanted) = wanted {
            let is_wanted = |(number, release): &&(usize, &ReleaseRecord)| {
                number.to_string() == wanted || release.release_id == wanted
            };
            return found.iter().find(is_wanted).copied().ok_or_else(|| {
                let there: Vec<String> = found.iter().map(|(number, release)| named(*number, release)).collect();
                let whose = stage.map(|stage| format!(" of stage `{stage}`")).unwrap_or_default();
                Failure::usage(
                    format!("there is no release {wanted}{whose}"),
                    format!("there are: {}", there.join(", ")),
                )
            });
        }
        let current: Vec<_> = found.iter().filter(|(_, release)| self.current.contains(&release.release_id)).collect();
        match current.as_slice() {
            [] => Ok(*last),
            [only] => Ok(**only),
            several => {
                let there: Vec<String> = several.iter().map(|(number, release)| named(*number, release)).collect();
                Err(Failure::usage(
                    format!("the project has several releases: {}", there.join(", ")),
                    format!("choose one with --release, or its stage with --stage: {}", self.stages()),
                ))
            }
        }
    }

    fn publisher(&self, stage: &str) -> Result<&Publisher, Failure> {
        self.publishers.iter().find(|publisher| publisher.stage == stage).ok_or_else(|| {
            let help = match self.publishers.as_slice() {
                [] => "the manifest has no stage of kind `publish`".to_owned(),
                _ => format!("there are: {}", self.stages()),
            };
            Failure::usage(format!("no stage `{stage}` publishes"), help)
        })
    }

    fn stages(&self) -> String {
        let stages: Vec<&str> = self.publishers.iter().map(|publisher| publisher.stage.as_str()).collect();
        stages.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use cafe_pipeline::digest::Digest;
    use serde_json::Value;

    use super::*;

    fn release(name: &str, digest: &str) -> ReleaseRecord {
        ReleaseRecord {
            release_id: format!("{name}-{digest}"),
            name: name.to_owned(),
            path: format!("releases/{name}-{digest}"),
            digest: Digest::of(digest.as_bytes()),
            n_rows: 12,
            summary: Value::Null,
        }
    }

    fn releases(current: &[&str]) -> Releases {
        let publisher = |stage: &str, release: &str| Publisher { stage: stage.to_owned(), release: release.to_owned() };
        Releases {
            all: vec![release("set", "aa"), release("rest", "bb"), release("set", "cc")],
            publishers: vec![publisher("publish", "set"), publisher("other", "rest"), publisher("idle", "idle")],
            current: current.iter().map(|id| (*id).to_owned()).collect(),
        }
    }

    fn picked(releases: &Releases, stage: Option<&str>, wanted: Option<&str>) -> Result<usize, String> {
        let picked = releases.pick(stage, wanted).map(|(number, _)| number);
        picked.map_err(|failure| {
            let (text, help) = failure.into_texts();
            format!("{text}; {}", help.unwrap_or_default())
        })
    }

    #[test]
    fn a_release_is_known_by_number_id_or_stage() {
        let releases = releases(&["set-aa", "rest-bb"]);
        assert_eq!(picked(&releases, None, Some("3")), Ok(3));
        assert_eq!(picked(&releases, None, Some("rest-bb")), Ok(2));
        assert_eq!(picked(&releases, Some("publish"), None), Ok(1));
        assert_eq!(picked(&releases, Some("publish"), Some("3")), Ok(3));
        let said = picked(&releases, None, None).unwrap_err();
        assert!(
            said.contains("1 (set-aa, 12 rows), 2 (rest-bb, 12 rows); ") && said.ends_with("other, idle"),
            "{said}"
        );
    }

    #[test]
    fn the_last_one_is_meant_where_the_project_stands_at_none() {
        assert_eq!(picked(&releases(&[]), None, None), Ok(3));
        assert_eq!(picked(&releases(&[]), Some("other"), None), Ok(2));
    }

    #[test]
    fn what_is_not_there_is_answered_with_what_is() {
        let releases = releases(&[]);
        let said = picked(&releases, Some("publish"), Some("2")).unwrap_err();
        let wanted = "there is no release 2 of stage `publish`; there are: 1 (set-aa, 12 rows), 3 (set-cc, 12 rows)";
        assert_eq!(said, wanted);
        let said = picked(&releases, Some("pack"), None).unwrap_err();
        assert_eq!(said, "no stage `pack` publishes; there are: publish, other, idle");
        let said = picked(&releases, Some("idle"), None).unwrap_err();
        assert!(said.starts_with("nothing was published yet by stage `idle`"), "{said}");
    }
}
