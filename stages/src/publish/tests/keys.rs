//! What a manifest may say, and what a changed key makes stale.

use serde_json::json;

use super::*;
use crate::tables;

fn issues(config: Value) -> Vec<String> {
    let issues = compile(config).unwrap_err();
    issues.into_iter().map(|issue| format!("{}: {}", issue.pointer, issue.message)).collect()
}

#[test]
fn mistakes_are_told_all_at_once() {
    let config = json!({
        "licences": {"allow": ["CC0-1.0", " "], "deny": []},
        "scores": ["a", "a"],
        "card": {"title": "two\nlines", "licence": ""},
    });
    let expected = [
        "/licences: has both `allow` and `deny`",
        "/licences/allow/1: is empty",
        "/licences/deny: names no licence",
        "/scores/1: names `a` a second time",
        "/card/title: must be one line of text",
        "/card/licence: must be one line of text",
    ];
    assert_eq!(issues(config), expected);
    assert_eq!(issues(json!({"licences": {}})), ["/licences: has neither `allow` nor `deny`"]);
    assert_eq!(issues(json!({"scores": []})), ["/scores: names no score"]);
    assert!(issues(json!({"colour": 1}))[0].contains("unknown field"));
}

#[test]
fn reads_follow_from_what_is_published() {
    let reads = |config| -> Vec<Vec<String>> {
        let tables = |node: &NodeDecl| node.reads.iter().map(|read| read.table.clone()).collect();
        nodes(config).iter().map(tables).collect()
    };
    assert_eq!(
        reads(json!({})),
        [
            vec!["candidates", "pairs", "references", "verdicts", "dialogues", "scores"],
            vec!["quadruplets", "candidates", "pairs", "references", "verdicts", "dialogues"],
        ]
    );
    assert_eq!(
        reads(json!({"of": "references", "scores": false, "filtered": false})),
        [vec!["references"], vec!["quadruplets", "references"]]
    );
    let named = nodes(json!({"of": "pairs", "scores": ["clip"]}));
    assert_eq!(named[0].reads[3].columns, ["clip"]);
    assert_eq!(named[0].reads[2].columns, ["accepted", "reason", "thresholds"]);
    for (table, decl) in
        [("candidates", tables::candidates()), ("pairs", tables::pairs()), ("references", tables::references())]
    {
        let node = &nodes(json!({}))[0];
        let read = node.reads.iter().find(|read| read.table == table).unwrap();
        assert!(read.columns.iter().all(|column| decl.columns.contains(column)), "{table}: {:?}", read.columns);
    }
}

#[test]
fn dialogues_are_read_where_there_are_any() {
    let read = |config| {
        let node = nodes(config).into_iter().next().unwrap();
        let read = node.reads.into_iter().find(|read| read.table == tables::DIALOGUES);
        (read.map(|read| read.is_optional), node.settings)
    };
    let (optional, settings) = read(json!({}));
    assert_eq!(optional, Some(true));
    assert!(!settings.to_string().contains("dialogues"), "releases of earlier versions keep their settings");
    assert_eq!(read(json!({"dialogues": "require"})), (Some(false), settings.clone()));
    let (none, ignoring) = read(json!({"dialogues": "ignore"}));
    assert_eq!(none, None);
    assert_ne!(ignoring, settings);
    assert_eq!(read(json!({"of": "pairs"})).0, None);
    let found = issues(json!({"of": "pairs", "dialogues": "require"}));
    assert_eq!(found, ["/dialogues: only candidates have dialogues, and `of` is `pairs`"]);
    let decl = tables::dialogues();
    assert!(super::super::said::COLUMNS.iter().all(|column| decl.columns.contains(column)));
}

#[test]
fn a_new_card_does_not_pack_again() {
    let one = nodes(json!({"card": {"title": "a"}, "file_rows": 5}));
    let other = nodes(json!({"card": {"title": "b"}, "release": "other"}));
    assert_eq!(one[0].settings, other[0].settings);
    assert_ne!(one[1].settings, other[1].settings);
    assert_ne!(nodes(json!({"scores": false}))[0].settings, one[0].settings);
}

#[test]
fn the_schema_closes_every_table() {
    let schema = serde_json::to_value(PublishKind.config_schema()).unwrap();
    assert_eq!(schema["additionalProperties"], json!(false));
    for part in ["CardConfig", "LicencesConfig"] {
        assert_eq!(schema["$defs"][part]["additionalProperties"], json!(false), "{part}");
    }
    assert_eq!(schema["properties"]["file_rows"]["minimum"], json!(1));
}
