//! Broken template files and keys, with what is said of them.

use serde_json::json;
use tempfile::TempDir;

use super::compile;

const GOOD: &str = "[[family]]\nname = \"f\"\nclasses = [\"*\"]\n[[family.template]]\n\
                    instruction = \"Show a {class} at sea.\"\ncaption = \"a {class} at sea\"\n";

fn family(head: &str, instruction: &str, caption: &str) -> String {
    format!("[[family]]\n{head}\n[[family.template]]\ninstruction = \"{instruction}\"\ncaption = \"{caption}\"\n")
}

#[test]
fn broken_files_are_named_with_their_keys() {
    let every = "name = \"f\"\nclasses = [\"*\"]";
    let cases = [
        ("[[family]\n".to_owned(), "t.toml, line 1: "),
        (format!("{GOOD}colour = 3\n"), "t.toml, line 7: unknown field `colour`"),
        ("x = 1\n".to_owned(), "t.toml, line 1: unknown field `x`"),
        (String::new(), "t.toml: has no `[[family]]`"),
        ("[[family]]\nclasses = [\"*\"]\n".to_owned(), "t.toml, line 1: missing field `name`"),
        ("[[family]]\nname = \"f\"\nclasses = 3\n".to_owned(), "t.toml, line 3: invalid type"),
        (format!("[[family]]\n{every}\n"), "t.toml: family 1 (`f`): has no `[[family.template]]`"),
        (family("name = \"\"\nclasses = [\"*\"]", "{class}", "{class}"), "t.toml: family 1 (``), `name`: is empty"),
        (family("name = \"f\"\nclasses = []", "{class}", "{class}"), "t.toml: family 1 (`f`), `classes`: name classes"),
        (
            family("name = \"f\"\nclasses = [\"*\", \"dog\"]", "{class}", "{class}"),
            "t.toml: family 1 (`f`), `classes`: \"*\" is all classes already",
        ),
        (
            family(every, "{clas}", "{class}"),
            "t.toml: family 1 (`f`), template 1, `instruction`: has `{clas}`, and the only placeholder is `{class}`",
        ),
        (family(every, "{class}", "a dog"), "t.toml: family 1 (`f`), template 1, `caption`: does not name the class"),
        (family(every, "", "{class}"), "t.toml: family 1 (`f`), template 1, `instruction`: is empty"),
        (
            format!("{GOOD}{}", family(every, "show a {class}, at SEA", "{class} afloat")),
            "t.toml: family 2 (`f`), template 1, `instruction`: stands in t.toml: family 1 (`f`), template 1 already",
        ),
    ];
    for (text, message) in cases {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("t.toml"), &text).unwrap();
        let issues = compile(dir.path(), json!({"templates": ["t.toml"]})).expect_err(&text);
        assert_eq!(issues.len(), 1, "{text}: {issues:?}");
        assert!(issues[0].pointer.starts_with("/templates"), "{issues:?}");
        assert!(issues[0].message.starts_with(message), "{text}: {issues:?}");
    }
}

#[test]
fn held_out_prompts_must_not_be_drawn() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("t.toml"), GOOD).unwrap();
    let every = "name = \"g\"\nclasses = [\"*\"]";
    std::fs::write(dir.path().join("h.toml"), family(every, "Take {class} sailing", "A {class}: at sea!")).unwrap();
    let issues = compile(dir.path(), json!({"templates": ["t.toml"], "held_out": ["h.toml"]})).unwrap_err();
    assert_eq!(issues.len(), 1);
    assert_eq!(issues[0].pointer, "/held_out");
    assert_eq!(
        issues[0].message,
        "h.toml: family 1 (`g`), template 1, `caption`: is held out, but t.toml: family 1 (`f`), template 1 would draw it"
    );
}

#[test]
fn keys_are_checked() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("t.toml"), GOOD).unwrap();
    let cases = [
        (json!({"templates": []}), "/templates", "names no template file"),
        (json!({"templates": ["missing.toml"]}), "/templates/0", "cannot read"),
        (json!({"templates": ["t.toml"], "held_out": ["t.toml"]}), "/held_out/0", "t.toml is drawn from"),
        (json!({"templates": ["t.toml"], "per_reference": 0}), "/per_reference", "must be at least 1"),
        (json!({"templates": ["t.toml"], "class_default": " "}), "/class_default", "is empty"),
        (
            json!({"templates": ["t.toml"], "per_reference": 2}),
            "/per_reference",
            "2 instructions are too many for a class that no family names: there are only 1 templates for it",
        ),
        (
            json!({"templates": ["t.toml"], "per_reference": 2, "pairing": "balanced"}),
            "/per_reference",
            "2 instructions are too many for a class that no family names: `f` has only 1 templates for it",
        ),
    ];
    for (config, pointer, message) in cases {
        let issues = compile(dir.path(), config.clone()).expect_err(&config.to_string());
        assert_eq!((issues.len(), issues[0].pointer.as_str()), (1, pointer), "{config}: {issues:?}");
        assert!(issues[0].message.starts_with(message), "{config}: {issues:?}");
    }
}
