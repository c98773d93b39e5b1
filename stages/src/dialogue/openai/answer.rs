//! What a server's answer means.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::super::converse::shortened;
use super::super::replies::Reply;
use super::request::Dialect;
use super::retry_after;

/// So much is kept of an answer that is no reply.
const KEPT_CHARS: usize = 2_000;

/// What an answer means.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// A reply, usable or not.
    Reply(Reply),
    /// The server does not know this dialect; it may know that one.
    Dialect(Dialect, String),
    /// It has too much to do, and perhaps says for how long.
    Busy(String, Option<Duration>),
    /// It failed, or the connection did.
    Fault(String),
    /// It does not take this request.
    Row(String),
    /// It takes none of ours before something is changed.
    Refused(String),
    /// It takes none for a long time.
    Closed(String),
}

/// An answer as it came.
pub(super) struct Raw<'a> {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<&'a str>,
    pub(super) body: &'a [u8],
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
}

/// Sorts an answer to a request in `dialect`.
pub(super) fn classify(raw: &Raw<'_>, dialect: Dialect) -> Answer {
    let code = raw.status.as_u16();
    if raw.status.is_success() {
        return Answer::Reply(reply(raw.body));
    }
    let said = message(raw.body);
    let text = if said.is_empty() { format!("status {code}") } else { format!("status {code}: {said}") };
    let wait = || raw.retry_after.and_then(|text| retry_after::parse(text, SystemTime::now()));
    let lower = said.to_lowercase();
    let names = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    match code {
        429 if names(&["insufficient_quota", "exceeded your current quota"]) => Answer::Closed(text),
        408 | 425 | 429 | 503 | 529 => Answer::Busy(text, wait()),
        // What the server says to a wrong key may repeat it.
        401 => Answer::Refused(format!("the server refuses the key (status {code})")),
        402 => Answer::Refused(format!("the server wants to be paid ({text})")),
        403 => Answer::Refused(format!(
            "the server does not allow it (status {code}): look at the key and at what it may be used for"
        )),
        404 | 405 => Answer::Refused(format!(
            "{text}: look at `base_url`, which ends before `/chat/completions`, and at `model`, which must be one that the \
             server has"
        )),
        300..=399 => Answer::Refused(format!(
            "the server sends requests elsewhere (status {code}), where neither they nor a key follow: write the new address \
             into `base_url`"
        )),
        400 | 422 if !dialect.counts_completion && names(&["max_completion_tokens"]) => {
            Answer::Dialect(Dialect { counts_completion: true, ..dialect }, text)
        }
        400 | 415 | 422 | 500 | 501
            if dialect.has_schema
                && names(&["response_format", "json_schema", "json schema", "grammar", "guided", "schema"]) =>
        {
            Answer::Dialect(Dialect { has_schema: false, ..dialect }, text)
        }
        400..=499 => Answer::Row(text),
        _ => Answer::Fault(text),
    }
}

/// The reply in a body.
fn reply(body: &[u8]) -> Reply {
    let unusable = |problem: &str| {
        let text = String::from_utf8_lossy(body).chars().take(KEPT_CHARS).collect();
        Reply { text, problem: Some(problem.to_owned()), ..Reply::default() }
    };
    if body.iter().all(u8::is_ascii_whitespace) {
        return unusable("the server sent nothing");
    }
    let Ok(completion) = serde_json::from_slice::<Completion>(body) else {
        return unusable("the server sent no chat completion");
    };
    let Some(Choice { message, finish_reason }) = completion.choices.into_iter().next() else {
        return unusable("the server sent a chat completion without choices");
    };
    let text = message.content.unwrap_or_default();
    let problem = match (finish_reason.as_deref(), message.refusal) {
        (_, Some(refusal)) => Some(format!("the model refuses: {}", shortened(&refusal))),
        (Some("length"), _) => Some("the reply is too long".to_owned()),
        (Some("content_filter"), _) => Some("the server's filter took the reply away".to_owned()),
        _ if text.trim().is_empty() => Some("the reply is empty".to_owned()),
        _ => None,
    };
    let count = |of: fn(&Usage) -> Option<u64>| completion.usage.as_ref().and_then(of);
    Reply {
        text,
        problem,
        prompt_tokens: count(|usage| usage.prompt_tokens),
        completion_tokens: count(|usage| usage.completion_tokens),
        faults: Vec::new(),
    }
}

/// What a server says about an error, in any of the usual forms.
fn message(body: &[u8]) -> String {
    let found = serde_json::from_slice::<Value>(body).ok().and_then(|body| {
        let places = ["/error/message", "/message", "/detail", "/error"];
        let said = places.iter().find_map(|place| body.pointer(place).filter(|said| !said.is_null()))?;
        let said = said.as_str().map_or_else(|| said.to_string(), ToOwned::to_owned);
        let code = body.pointer("/error/code").and_then(Value::as_str);
        Some(code.map_or(said.clone(), |code| format!("{said} ({code})")))
    });
    let text = found.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    shortened(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Dialect = Dialect { has_schema: true, counts_completion: false };

    fn classified(status: u16, body: &str) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        classify(&Raw { status, retry_after: Some("7"), body: body.as_bytes() }, FIRST)
    }

    #[test]
    fn refusals_are_sorted_by_what_follows() {
        let wait = Some(Duration::from_secs(7));
        assert!(
            matches!(classified(429, "slow down"), Answer::Busy(text, after) if text.contains("slow down") && after == wait)
        );
        assert!(matches!(classified(503, ""), Answer::Busy(_, after) if after == wait));
        let quota = r#"{"error": {"message": "You exceeded your plan", "code": "insufficient_quota"}}"#;
        assert!(matches!(classified(429, quota), Answer::Closed(_)));
        assert!(matches!(classified(500, "oops"), Answer::Fault(text) if text == "status 500: oops"));
        assert!(matches!(classified(502, ""), Answer::Fault(_)));
        assert!(matches!(classified(401, "sk-secret"), Answer::Refused(text) if !text.contains("sk-secret")));
        assert!(
            matches!(classified(404, r#"{"detail": "no model x"}"#), Answer::Refused(text) if text.contains("no model x"))
        );
        assert!(matches!(classified(307, ""), Answer::Refused(text) if text.contains("base_url")));
        assert!(
            matches!(classified(400, r#"{"message": "too many tokens"}"#), Answer::Row(text) if text.contains("too many"))
        );
        assert!(matches!(classified(413, ""), Answer::Row(_)));
    }

    #[test]
    fn a_server_without_schemas_is_spoken_to_without_one() {
        let plain = Dialect { has_schema: false, ..FIRST };
        let body = r#"{"error": {"message": "unknown field `response_format`"}}"#;
        assert!(matches!(classified(400, body), Answer::Dialect(found, _) if found == plain));
        let again = Raw { status: StatusCode::BAD_REQUEST, retry_after: None, body: body.as_bytes() };
        assert!(matches!(classify(&again, plain), Answer::Row(_)), "it is asked for once only");
        let body = r#"{"error": {"message": "use 'max_completion_tokens' instead"}}"#;
        assert!(
            matches!(classified(400, body), Answer::Dialect(found, _) if found.counts_completion && found.has_schema)
        );
    }

    #[test]
    fn replies_say_what_is_wrong_with_them() {
        let problem = |body: &str| match classified(200, body) {
            Answer::Reply(reply) => reply.problem.unwrap_or_default(),
            other => panic!("{other:?}"),
        };
        assert!(problem("").contains("nothing"));
        assert!(problem("<html>").contains("no chat completion"));
        assert!(problem(r#"{"choices": [{"message": {"content": "a"#).contains("no chat completion"));
        assert!(problem(r#"{"choices": []}"#).contains("without choices"));
        assert!(problem(r#"{"choices": [{"message": {"content": null}}]}"#).contains("empty"));
        assert!(
            problem(r#"{"choices": [{"message": {"content": "a"}, "finish_reason": "length"}]}"#).contains("too long")
        );
        assert!(problem(r#"{"choices": [{"message": {"refusal": "no"}}]}"#).contains("refuses: no"));
        let good =
            r#"{"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}"#;
        let Answer::Reply(reply) = classified(200, good) else { panic!() };
        assert_eq!((reply.text.as_str(), reply.problem, reply.prompt_tokens), ("a", None, Some(3)));
        assert!(matches!(classified(200, &"x".repeat(5000)), Answer::Reply(reply) if reply.text.len() == KEPT_CHARS));
    }
}
