//! What a manifest may say, and what a changed key makes stale.

use super::*;

fn issues(config: Value) -> Vec<String> {
    let issues = compile(config).unwrap_err();
    issues.into_iter().map(|issue| format!("{}: {}", issue.pointer, issue.message)).collect()
}

#[test]
fn mistakes_are_told_all_at_once() {
    let found = issues(json!({
        "backend": { "type": "openai", "base_url": "http://me:secret@host/v1" },
        "temperature": 3.0,
        "speech_acts": ["question", "question"],
        "concurrency": 0,
        "limits": { "vague_overlap": -1.0 },
    }));
    let expected = ["/temperature", "/limits/vague_overlap", "/speech_acts/1", "/concurrency", "/backend/base_url"];
    let pointers: Vec<&str> = found.iter().filter_map(|issue| issue.split(':').next()).collect();
    assert_eq!(pointers, expected, "{found:?}");
    assert!(!found.concat().contains("secret"));
    assert_eq!(issues(json!({ "backend": { "type": "openai", "base_url": "http://host", "model": " " } })).len(), 1);
    let unknown = issues(json!({ "backend": { "type": "embedded", "model": "no-such-model" } }));
    assert!(unknown[0].starts_with("/backend/model: "), "{unknown:?}");
    assert!(issues(json!({ "backend": { "type": "embedded" }, "colour": 1 }))[0].contains("unknown field"));
}

#[test]
fn only_what_decides_replies_makes_them_stale() {
    let settings = |more: Value| node_at("http://a/v1", &more).settings;
    let first = settings(json!({}));
    let patient = json!({ "concurrency": 3, "deadline_secs": 7, "patience_secs": 9 });
    assert_eq!(settings(patient), first);
    assert_eq!(node_at("http://b:1/v1", &json!({})).settings, first, "a server may move");
    for more in [
        json!({ "temperature": 0.1 }),
        json!({ "max_tokens": 99 }),
        json!({ "per_candidate": 2 }),
        json!({ "tries": 2 }),
        json!({ "structured": "none" }),
        json!({ "speech_acts": ["question"] }),
        json!({ "filtered": false }),
        json!({ "limits": { "user_chars": 100 } }),
    ] {
        assert_ne!(settings(more.clone()), first, "{more}");
    }
    let key = json!({ "type": "openai", "base_url": "http://a/v1", "model": "told", "api_key_env": "SOME_KEY" });
    let with_key = compile(json!({ "backend": key })).unwrap();
    assert_eq!(with_key.settings, first);
    assert!(!with_key.settings.to_string().contains("SOME_KEY"));
}

#[test]
fn a_filter_is_wanted_unless_it_is_not() {
    let tables = |more: Value| -> Vec<String> {
        node_at("http://a/v1", &more).reads.iter().map(|read| read.table.clone()).collect()
    };
    assert_eq!(tables(json!({})), ["candidates", "pairs", "verdicts"]);
    assert_eq!(tables(json!({ "filtered": false })), ["candidates", "pairs"]);
}

#[test]
fn a_variable_without_a_key_is_told() {
    let backend =
        json!({ "type": "openai", "base_url": "http://127.0.0.1:1/v1", "api_key_env": "NO_SUCH_KEY_OF_CAFE_DATA" });
    let error = bench(&[]).run(&compile(json!({ "backend": backend })).unwrap()).unwrap_err();
    assert!(
        matches!(&error, WorkError::Systemic(message) if message.contains("NO_SUCH_KEY_OF_CAFE_DATA")),
        "{error:?}"
    );
}
