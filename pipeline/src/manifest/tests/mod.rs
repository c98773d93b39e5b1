//! Tests of the manifest: every mistake that people make, as they see it.

mod kinds;
mod mistakes;
mod robust;

use std::fmt::Write as _;
use std::path::Path;

use miette::{GraphicalReportHandler, GraphicalTheme, NarratableReportHandler};
use serde_json::{Value, json};

use super::rules::Rules;
use super::{Manifest, ManifestErrors, schema, schema_text};
use crate::stage::ConfigIssue;

const GOOD: &str = include_str!("good.toml");

fn parse(text: &str) -> Result<Manifest, ManifestErrors> {
    Manifest::parse(Path::new("cafe.toml"), text, &kinds::registry())
}

fn errors(text: &str) -> ManifestErrors {
    match parse(text) {
        Ok(manifest) => panic!("accepted {text}: {manifest:?}"),
        Err(errors) => errors,
    }
}

macro_rules! snapshot {
    ($name:literal, $text:expr) => {
        insta::with_settings!({ snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true },
            { insta::assert_snapshot!($name, $text) })
    };
}

#[test]
fn every_mistake_is_explained() {
    let rules = Rules::new(&kinds::registry()).unwrap();
    let all = mistakes::all();
    assert!(all.len() >= 30);
    let mut seen = String::new();
    for (name, text) in all {
        let Err(errors) = Manifest::parse_with(Path::new("cafe.toml"), &text, &rules) else {
            panic!("{name} is accepted")
        };
        assert!(!errors.errors().is_empty(), "{name}");
        writeln!(seen, "## {name}\n{}", errors.lines()).unwrap();
    }
    snapshot!("mistakes", seen);
}

#[test]
fn a_good_manifest_is_read_whole() {
    let manifest = parse(GOOD).unwrap();
    assert_eq!(manifest.seed, 7);
    assert_eq!(manifest.model_family.as_deref(), Some("mini"));
    assert_eq!(manifest.storage.min_free_bytes, 256 << 20, "a default");
    assert_eq!((manifest.budget.worker_hours, manifest.budget.device_hours), (Some(3.0), None));
    let names: Vec<_> = manifest.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["gather", "sieve", "mend"]);
    let sieve = &manifest.stages[1];
    assert_eq!((sieve.common.shard_rows, sieve.common.max_quarantine), (1000, 0.25));
    assert_eq!(sieve.common.resources.parallel, Some(2));
    assert_eq!(sieve.needs, ["gather"]);
    assert_eq!(
        sieve.config,
        json!({"rules": [{"column": "score", "min": 0.3}, {"column": "class", "is": {"from": 0, "to": 1.5}}]}),
        "only the kind's own keys"
    );
    assert_eq!(manifest.text, GOOD);
}

const FIVE: &str = "version = 1\nsead = 3\n\n[storage]\nmin_free_bytes = \"1 GiB\"\n\n[[stage]]\nname = \"gather\"\nkind = \
                    \"gather\"\nroot = \"photos\"\nsource = { type = \"floder\" }\nshard_rows = 0\n\n[[stage]]\nname = \
                    \"gather\"\nkind = \"sieve\"\nneeds = [\"gahter\"]\nrules = [{ column = \"größe\", min = true }]\n";

#[test]
fn all_mistakes_are_told_at_once() {
    let errors = errors(FIVE);
    let keys: Vec<_> = errors.errors().iter().map(|error| (error.line().unwrap(), error.key())).collect();
    assert_eq!(
        keys,
        [
            (2, "sead"),
            (5, "storage.min_free_bytes"),
            (11, "stage[0].source.type"),
            (12, "stage[0].shard_rows"),
            (15, "stage[1].name"),
            (17, "stage[1].needs[0]"),
            (18, "stage[1].rules[0].min"),
        ]
    );
    let json = errors.to_json();
    assert_eq!(json.as_array().map(Vec::len), Some(7));
    assert_eq!(json[0]["file"], "cafe.toml");
    assert_eq!((&json[0]["line"], &json[0]["column"]), (&json!(2), &json!(1)));
    assert_eq!(json[0]["help"], "did you mean `seed`?");
}

#[test]
fn people_see_where_it_is() {
    let errors = errors(FIVE);
    let mut seen = String::new();
    let graphical = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100);
    graphical.render_report(&mut seen, &errors).unwrap();
    seen.push_str("\n=== nothing is there ===\n");
    graphical.render_report(&mut seen, &self::errors("seed = 1\n")).unwrap();
    seen.push_str("\n=== narrated ===\n");
    NarratableReportHandler::new().render_report(&mut seen, &errors).unwrap();
    snapshot!("rendered", seen);
}

#[test]
fn secrets_are_not_repeated() {
    for text in [
        "version = 1\napi_key = \"sk-geheim\"\n",
        "version = 1\n[catalog]\nurl = \"postgres://me:sk-geheim@db\"\n",
        "version = 1\n[[stage]]\nname = \"a\"\nkind = \"gather\"\npassword = '''\nsk-geheim'''\n",
    ] {
        let errors = errors(text);
        let mut seen = String::new();
        NarratableReportHandler::new().render_report(&mut seen, &errors).unwrap();
        seen.push_str(&errors.to_json().to_string());
        seen.push_str(&errors.lines());
        assert!(!seen.contains("geheim"), "{seen}");
    }
}

#[test]
fn issues_of_kinds_point_at_their_keys() {
    let manifest = parse(GOOD).unwrap();
    let issue = ConfigIssue::new("/rules/1/is/from", "too low").with_help("raise it");
    let error = manifest.from_issue(1, &issue);
    assert_eq!((error.line(), error.key(), error.help()), (Some(36), "stage[1].rules[1].is.from", Some("raise it")));
    assert_eq!(&GOOD[error.span().unwrap()], "0");

    let missing = manifest.from_issue(1, &ConfigIssue::new("/rules/1/max", "has no maximum"));
    assert_eq!((missing.line(), missing.key()), (Some(34), "stage[1].rules[1].max"), "the nearest table");
    let stage = manifest.from_issue(2, &ConfigIssue::new("", "cannot work"));
    assert_eq!((&GOOD[stage.span().unwrap()], stage.line()), ("[[stage]]", Some(41)));
    let nowhere = manifest.from_issue(99, &ConfigIssue::new("/x", "no such stage"));
    assert_eq!(nowhere.key(), "stage.99.x");

    let both = manifest.from_issues([(2, &ConfigIssue::new("", "b")), (0, &ConfigIssue::new("/root", "a"))]);
    let order: Vec<_> = both.errors().iter().map(|error| error.message()).collect();
    assert_eq!(order, ["a", "b"], "in the order of the file");
}

#[test]
fn the_schema_for_editors() {
    let text = schema_text(&kinds::registry());
    assert_eq!(text, schema_text(&kinds::registry()), "the same each time");
    snapshot!("schema", text);
}

/// What an editor accepts, `plan` accepts, as far as a schema can tell; and the other way round.
#[test]
fn editor_and_check_agree() {
    let validator = jsonschema::draft202012::new(&schema(&kinds::registry())).unwrap();
    let json = |text: &str| -> Option<Value> { serde_json::to_value(text.parse::<toml::Table>().ok()?).ok() };
    let good = json(GOOD).unwrap();
    assert!(validator.is_valid(&good), "{:?}", validator.iter_errors(&good).map(|e| e.to_string()).collect::<Vec<_>>());
    // Only a program can say these: they are about two stages at once, about files, or about TOML.
    let beyond = [
        "name twice",
        "needs an",
        "needs itself",
        "needs twice",
        "a circle",
        "catalog",
        "storage",
        "model with files that leave",
        "model that cannot be prepared",
        "a date",
        "infinity",
        "seed is a float",
        "version a float",
        "not a number",
    ];
    for (name, text) in mistakes::all() {
        if !beyond.iter().any(|start| name.starts_with(start))
            && let Some(value) = json(&text)
        {
            assert!(!validator.is_valid(&value), "an editor accepts: {name}");
        }
    }
}
