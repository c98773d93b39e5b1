use serde_json::json;

use super::fixture::{ADDED, END, Kind, load, writer};
use super::*;

fn rich() -> Value {
    json!({"type": "object", "properties": {
        "user": {"type": "string", "minLength": 1, "maxLength": 24},
        "act": {"enum": ["directive", "question", "vague \"wish\"\n\u{c}é", 7, null]},
        "age": {"type": "integer", "minimum": -3, "maximum": 120},
        "score": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 3}, "minItems": 1, "maxItems": 3},
        "inside": {"type": "object", "properties": {
            "is": {"type": "boolean"}, "free": {"type": "integer"}, "either": {"anyOf": [{"type": "null"}, {"const": "€"}]},
        }, "required": ["is", "either"]},
    }, "required": ["user", "act", "age", "tags", "inside"]})
}

fn warm() -> Sampling {
    Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 }
}

/// Prompts with a common beginning, each of its own length and seed.
fn prompts(n: u64) -> Vec<Prompt> {
    let prompt = |seed: u64| Prompt {
        messages: vec![
            Message::new("system", "reply in JSON"),
            Message::new("user", "hello ".repeat((seed * 7 % 5) as usize)),
        ],
        sampling: warm(),
        noise: Noise::new(seed),
    };
    (0..n).map(prompt).collect()
}

fn value(written: &Result<Written>) -> Option<&Value> {
    match &written.as_ref().unwrap().outcome {
        Outcome::Complete(value) => Some(value),
        Outcome::OutOfTokens => None,
    }
}

#[test]
fn a_model_of_random_weights_writes_what_follows_the_schema() {
    for kind in [Kind::ByteLevel, Kind::SentencePiece] {
        let (schema, mut letters, mut optional) = (rich(), String::new(), 0);
        let validator = jsonschema::validator_for(&schema).unwrap();
        let all = writer(kind, &schema).write(&prompts(60)).unwrap();
        for written in &all {
            let found = value(written).unwrap_or_else(|| panic!("{written:?}"));
            let text = &written.as_ref().unwrap().text;
            assert!(validator.is_valid(found), "{kind:?}: {text}");
            let keys: Vec<_> = found.as_object().unwrap().keys().map(String::as_str).collect();
            let expected = ["user", "act", "age", "score", "tags", "inside"];
            let expected: Vec<_> = expected.into_iter().filter(|key| keys.contains(key)).collect();
            assert_eq!(keys, expected);
            assert!(found["age"].is_i64() && found["inside"].get("free").is_none_or(Value::is_i64), "{text}");
            optional += usize::from(keys.contains(&"score"));
            letters += found["user"].as_str().unwrap();
            // The value was written in one way. (A number may have zeros at its end.)
            let without = |text: &str| text.split("\"score\":").next().unwrap().replace(":-0,", ":0,");
            let again = found.to_string();
            assert_eq!(without(text), without(&again), "{kind:?}");
        }
        assert!(optional > 5 && optional < 60, "{optional}");
        // Letters of several bytes are written, and tokens that are text but for their kind, and no special ones.
        println!("{kind:?}: {letters}");
        assert!(letters.chars().any(|letter| letter.len_utf8() > 1), "{kind:?}");
        assert!(!letters.contains("<s>") && !letters.contains("</s>"));
    }
}

#[test]
fn a_reply_does_not_depend_on_its_batch_or_place() {
    let mut writer = writer(Kind::ByteLevel, &rich());
    let prompts = prompts(11);
    let expected: Vec<Written> =
        prompts.iter().map(|prompt| writer.write(std::slice::from_ref(prompt)).unwrap().remove(0).unwrap()).collect();
    assert!(expected.iter().all(|written| written.n_shared == 0));
    assert_ne!(expected[0].text, expected[5].text, "the same prompt under another seed");
    for batch in [1, 3, 8, 100] {
        writer.batch = batch;
        for order in [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [10, 3, 5, 0, 9, 1, 2, 8, 4, 7, 6]] {
            let shuffled: Vec<Prompt> = order.iter().map(|index| prompts[*index].clone()).collect();
            for (written, index) in writer.write(&shuffled).unwrap().into_iter().zip(order) {
                let written = written.unwrap();
                assert!(written.n_shared > 10, "{}", written.n_shared);
                assert_eq!(Written { n_shared: 0, ..written }, expected[index], "batch of {batch}");
            }
        }
    }
}

#[test]
fn tokens_add_up() {
    let writer = writer(Kind::ByteLevel, &json!({"type": "string", "maxLength": 9}));
    for (written, prompt) in writer.write(&prompts(6)).unwrap().into_iter().zip(prompts(6)) {
        let written = written.unwrap();
        let ids = writer.tokenizer.encode(&writer.tokenizer.render(&prompt.messages, true).unwrap()).unwrap();
        assert_eq!(written.n_prompt, ids.len());
        let (shortest, longest) = (written.text.len() / 6, written.text.len());
        assert!((shortest..=longest).contains(&written.n_written), "{written:?}");
    }
}

#[test]
fn a_reply_that_comes_to_its_limit_is_told_and_one_that_ends_there_is_whole() {
    let mut writer = writer(Kind::ByteLevel, &rich());
    let prompts = prompts(3);
    let whole: Vec<Written> = writer.write(&prompts).unwrap().into_iter().map(Result::unwrap).collect();
    for (index, whole) in whole.iter().enumerate() {
        writer.max_new_tokens = whole.n_written;
        assert_eq!(writer.write(&prompts).unwrap()[index].as_ref().unwrap(), whole);
        for n in [0, 1, whole.n_written / 2, whole.n_written - 1] {
            writer.max_new_tokens = n;
            let cut = writer.write(&prompts).unwrap().swap_remove(index).unwrap();
            assert_eq!((&cut.outcome, cut.n_written), (&Outcome::OutOfTokens, n));
            assert!(whole.text.starts_with(cut.text.trim_end_matches('\u{FFFD}')), "{cut:?}");
        }
    }
    // A number that is cut is none, though it would be JSON.
    let (llama, tokenizer) = load(Kind::ByteLevel, 0);
    let schema = json!({"type": "integer", "minimum": 100_000, "maximum": 999_999});
    let mut numbers = Writer::new(llama, tokenizer, &schema).unwrap();
    let written = numbers.write(&prompts).unwrap();
    assert!(written.iter().all(|written| (100_000..1_000_000).contains(&value(written).unwrap().as_i64().unwrap())));
    numbers.max_new_tokens = 3;
    assert!(numbers.write(&prompts).unwrap().iter().all(|written| value(written).is_none()));
}

#[test]
fn a_value_that_might_go_on_ends_where_the_model_ends_it() {
    let schema = json!({"type": "integer", "minimum": 0, "maximum": 99_999_999});
    let written = writer(Kind::SentencePiece, &schema).write(&prompts(200)).unwrap();
    let numbers: Vec<u64> = written.iter().map(|written| value(written).unwrap().as_u64().unwrap()).collect();
    assert!(numbers.iter().any(|number| *number < 1000) && numbers.iter().any(|number| *number > 1000));
}

#[test]
fn special_tokens_are_never_inside_a_value() {
    let (llama, tokenizer) = load(Kind::ByteLevel, 2);
    let n_tokens = llama.config().vocab_size;
    let writer = Writer::new(llama, tokenizer, &json!({"type": "string", "maxLength": 20})).unwrap();
    let mut guided = writer.guide.begin();
    let quote = writer.tokenizer.encode("\"").unwrap();
    let allowed = |guided: &mut super::guide::Guided| {
        let mut logits = vec![0.0; n_tokens];
        guided.mask(&mut logits).unwrap();
        logits.iter().enumerate().filter(|(_, logit)| **logit == 0.0).map(|(id, _)| id as u32).collect::<Vec<_>>()
    };
    // A token may begin the string and a letter of it.
    let first: Vec<_> = allowed(&mut guided).into_iter().map(|id| writer.guide.bytes(&[id])).collect();
    assert!(first.contains(&b"\"".to_vec()) && first.iter().all(|bytes| bytes[0] == b'"'), "{first:?}");
    guided.take(&quote).unwrap();
    let inside = allowed(&mut guided);
    assert!(inside.contains(&ADDED) && !inside.contains(&END) && !inside.contains(&super::fixture::START));
    assert!(inside.iter().all(|id| (*id as usize) < writer.tokenizer.n_tokens()));
    assert!(guided.take(&[quote[0], END]).is_err());
}

#[test]
fn one_bad_prompt_is_told_by_its_index_and_the_others_go_on() {
    let mut writer = writer(Kind::ByteLevel, &rich());
    writer.batch = 2;
    let mut mixed = prompts(6);
    mixed[1].messages.clear();
    mixed[3].messages.push(Message::new("user", "x".repeat(700)));
    mixed[4].sampling.temperature = -1.0;
    let found = writer.write(&mixed).unwrap();
    let message = |index: usize| found[index].as_ref().unwrap_err().to_string();
    assert_eq!(message(1), "prompt 1: it has no messages");
    assert!(message(3).starts_with("prompt 3: it has 7") && message(3).contains("and the model 700"), "{}", message(3));
    assert_eq!(message(4), "prompt 4: a temperature of -1: it must be 0 or more");
    let expected = writer.write(&prompts(6)).unwrap();
    for index in [0, 2, 5] {
        assert_eq!(value(&found[index]).unwrap(), value(&expected[index]).unwrap());
    }
    assert!(writer.write(&[]).unwrap().is_empty());
    // The prompt leaves room for some tokens of a reply.
    let mut long = prompts(1);
    long[0].messages[1].content = "x".repeat(650);
    let cut = writer.write(&long).unwrap().remove(0).unwrap();
    assert_eq!(cut.outcome, Outcome::OutOfTokens);
    assert_eq!(cut.n_prompt + cut.n_written, 701);
}

#[test]
fn schemas_that_nothing_follows_are_refused() {
    let (llama, tokenizer) = load(Kind::ByteLevel, 0);
    let refused = |schema: Value| Writer::new(llama.clone(), tokenizer.clone(), &schema).err().unwrap().to_string();
    for schema in [
        json!({"type": "integer", "minimum": 3, "maximum": 2}),
        json!({"type": "string", "minLength": 3, "maxLength": 2}),
        json!({"type": "string", "enum": [1]}),
        json!({"type": "array", "items": {"type": "null"}, "minItems": 2, "maxItems": 1}),
    ] {
        let message = refused(schema.clone());
        assert!(message.starts_with("the JSON schema: ") && message.contains("nsatisfiable"), "{schema}: {message}");
    }
    assert!(refused(json!({"type": "string", "format": "date"})).contains("key `format` is not supported"));
    // Long limits are no trouble.
    let long = json!({"type": "array", "items": {"type": "string", "maxLength": 65536}, "maxItems": 65536});
    assert!(Writer::new(llama.clone(), tokenizer.clone(), &long).is_ok());
}

#[test]
fn threads_may_share_it() {
    fn is_shared<T: Send + Sync + Clone>() {}
    is_shared::<Writer>();
}
