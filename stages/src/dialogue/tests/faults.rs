//! Servers that are busy, broken, slow or gone: nothing is lost, nothing asked twice, everything seen.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::*;

/// What an undisturbed server leads to.
fn undisturbed(more: &Value) -> Ran {
    let server = Server::new(|request, _| request.good());
    bench(&[]).run(&node(&server, more)).unwrap()
}

#[test]
fn storms_pass() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT".to_owned();
    let faults = [
        Answer::Http(429, vec![("Retry-After", "0.2".to_owned())], "slow down".to_owned()),
        Answer::Http(503, vec![("Retry-After", date)], String::new()),
        Answer::status(500, r#"{"error": {"message": "out of luck"}}"#),
        Answer::Reset,
        Answer::Torn,
    ];
    let told = ["status 429: slow down", "status 503", "status 500: out of luck", "error sending request", "body"];
    for (fault, told) in faults.into_iter().zip(told) {
        // Each request fails once.
        let seen = Mutex::new(HashMap::<String, u32>::new());
        let server = Server::new(move |request, _| {
            let mut seen = seen.lock().unwrap();
            let n = seen.entry(request.header("idempotency-key").unwrap().to_owned()).or_default();
            *n += 1;
            if *n == 1 { fault.clone() } else { request.good() }
        });
        let more = json!({ "per_candidate": 2, "concurrency": 8 });
        let ran = bench(&[]).run(&node(&server, &more)).unwrap();
        assert_eq!(bytes(dialogues(&ran)), bytes(dialogues(&undisturbed(&more))), "{told}");
        assert_eq!(server.taken().len(), 24, "{told}");
        let faults = texts(tries(&ran), "faults");
        assert!(faults.iter().all(|fault| fault.contains(told)), "{told}: {faults:?}");
    }
}

#[test]
fn a_server_that_asks_for_a_pause_gets_it_from_everybody() {
    let began = Instant::now();
    let times = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&times);
    let server = Server::new(move |request, n| {
        noted.lock().unwrap().push(began.elapsed());
        match n {
            0 => Answer::Http(429, vec![("Retry-After", "1".to_owned())], String::new()),
            _ => request.good(),
        }
    });
    bench(&[]).run(&node(&server, &json!({ "concurrency": 1 }))).unwrap();
    let times = times.lock().unwrap();
    assert!(times[1] - times[0] >= Duration::from_secs(1), "{times:?}");
}

#[test]
fn a_hanging_request_is_given_up_at_its_deadline() {
    let server = Server::new(|request, n| if n == 0 { Answer::Hang(20_000) } else { request.good() });
    let began = Instant::now();
    let more = json!({ "deadline_secs": 1, "concurrency": 1 });
    let ran = bench(&[]).run(&node(&server, &more)).unwrap();
    assert!(began.elapsed() < Duration::from_secs(15));
    assert_eq!(bytes(dialogues(&ran)), bytes(dialogues(&undisturbed(&more))));
    assert_eq!(texts(tries(&ran), "faults").iter().filter(|fault| fault.contains("deadline")).count(), 1);
}

#[test]
fn a_request_that_breaks_the_server_is_its_rows_fault() {
    let server = Server::new(|request, _| match request.caption().as_str() {
        "a robot in the rain" => Answer::status(500, "stack overflow"),
        "an owl reading a book" => Answer::status(400, r#"{"error": {"message": "too many tokens"}}"#),
        _ => request.good(),
    });
    let ran = bench(&[]).run(&node(&server, &json!({}))).unwrap();
    assert_eq!(texts(dialogues(&ran), "candidate_id"), ["c0", "c1", "c2", "c5"]);
    let messages: Vec<(u32, &str)> = ran.quarantined.iter().map(|row| (row.row, row.message.as_str())).collect();
    let [(3, broken), (4, refused)] = messages.as_slice() else { panic!("{messages:?}") };
    assert!(broken.contains("stack overflow") && broken.contains("answers others"), "{broken}");
    assert!(refused.contains("too many tokens"), "{refused}");
    let n_refused = server.taken().iter().filter(|request| request.caption().contains("owl")).count();
    assert_eq!(n_refused, 1, "what cannot pass is not tried again");
}

#[test]
fn a_server_that_dies_is_waited_for_and_the_next_run_goes_on() {
    let server = Server::new(|request, n| if n < 7 { request.good() } else { Answer::Die });
    let (bench, url, port) = (bench(&[]), server.url(), server.port());
    let more = json!({ "per_candidate": 2, "concurrency": 1, "patience_secs": 1 });
    let error = bench.run(&node_at(&url, &more)).unwrap_err();
    let WorkError::Unavailable(message) = error else { panic!("{error:?}") };
    assert!(message.contains(&format!("127.0.0.1:{port}")) && message.contains("patience_secs"), "{message}");
    let before: Vec<String> =
        server.taken().iter().take(7).map(|request| request.header("idempotency-key").unwrap().to_owned()).collect();
    // It is still gone.
    assert!(matches!(bench.run(&node_at(&url, &more)), Err(WorkError::Unavailable(_))));
    let revived = Server::at(port, |request, _| request.good());
    let outcome = process(&bench, &node_at(&url, &more)).unwrap();
    let after: Vec<String> =
        revived.taken().iter().map(|request| request.header("idempotency-key").unwrap().to_owned()).collect();
    assert_eq!((before.len(), after.len()), (7, 5));
    assert!(before.iter().all(|request| !after.contains(request)), "nothing is asked twice");
    let whole = undisturbed(&more);
    let rows = outcome.tables["dialogues"].drop(cafe_pipeline::stage::ROW).unwrap();
    assert_eq!(bytes(&rows), bytes(dialogues(&whole)));
    // What the lost attempt had paid is in the ledger now.
    assert_eq!((outcome.cost.prompt_tokens, outcome.cost.n_tries), (1200, 12));
}

#[test]
fn what_the_user_must_change_stops_the_stage_with_advice() {
    let answers = [
        (Answer::status(401, "bad key cafe-stages"), "refuses the key"),
        (Answer::status(403, ""), "does not allow"),
        (Answer::status(404, r#"{"error": {"message": "no model `told`"}}"#), "base_url"),
        (Answer::Http(308, vec![("Location", "http://127.0.0.1:1/".to_owned())], String::new()), "elsewhere"),
        (Answer::status(400, "temperature must be 1, cafe-stages"), "temperature must be 1"),
    ];
    for (answer, advice) in answers {
        // One for each run: a request of the first may be on its way when the second begins.
        let [server, open] = [(); 2].map(|()| {
            let answer = answer.clone();
            Server::new(move |_, _| answer.clone())
        });
        let node = |server: &Server, key: Value| {
            let backend = json!({ "type": "openai", "base_url": server.url(), "model": "told", "api_key_env": key });
            compile(json!({ "backend": backend, "concurrency": 2 })).unwrap()
        };
        // Set by cargo; it stands for a key.
        let error = bench(&[]).run(&node(&server, json!("CARGO_PKG_NAME"))).unwrap_err();
        let WorkError::Systemic(message) = error else { panic!("{advice}: {error:?}") };
        assert!(message.contains(advice) && message.contains("CARGO_PKG_NAME"), "{message}");
        assert!(!message.contains("cafe-stages"), "the key is shown: {message}");
        assert_eq!(server.taken()[0].header("authorization"), Some("Bearer cafe-stages"));
        let error = bench(&[]).run(&node(&open, Value::Null)).unwrap_err();
        assert!(error.to_string().contains("api_key_env"), "{error}");
        assert_eq!(open.taken()[0].header("authorization"), None);
    }
}

#[test]
fn a_spent_quota_is_waited_out_by_another_run() {
    let body = r#"{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}"#;
    let server = Server::new(move |_, _| Answer::status(429, body));
    let error = bench(&[]).run(&node(&server, &json!({}))).unwrap_err();
    assert!(matches!(&error, WorkError::Unavailable(message) if message.contains("quota")), "{error:?}");
    let server = Server::new(move |_, _| Answer::Http(429, vec![("Retry-After", "86400".to_owned())], String::new()));
    assert!(matches!(bench(&[]).run(&node(&server, &json!({}))), Err(WorkError::Unavailable(_))));
}

#[test]
fn a_server_without_schemas_is_asked_without_one() {
    let old = |request: &server::Request, _: usize| match &request.body["response_format"] {
        Value::Null => request.good(),
        _ => Answer::status(400, r#"{"error": {"message": "response_format is not supported"}}"#),
    };
    let server = Server::new(old);
    let ran = bench(&[]).run(&node(&server, &json!({ "concurrency": 1 }))).unwrap();
    assert_eq!(dialogues(&ran).height(), 6);
    assert_eq!(server.taken().len(), 7, "one request finds it out");
    let server = Server::new(old);
    let error = bench(&[]).run(&node(&server, &json!({ "structured": "json_schema" }))).unwrap_err();
    assert!(matches!(&error, WorkError::Systemic(message) if message.contains("structured")), "{error:?}");
    let server = Server::new(old);
    bench(&[]).run(&node(&server, &json!({ "structured": "none" }))).unwrap();
    assert!(server.taken().iter().all(|request| request.body["response_format"].is_null()));
}

#[test]
fn a_stop_does_not_wait_for_replies() {
    let server = Server::new(|_, _| Answer::Hang(30_000));
    let bench = bench(&[]);
    let Work::Rows(work) = node(&server, &json!({})).work else { panic!() };
    let context = bench.context();
    let rows = context.table("candidates", Some(&["candidate_id", "pair_id"])).unwrap();
    let rows = work.prepare(&context, rows).unwrap();
    let cancel = context.cancel.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        cancel.cancel();
    });
    let began = Instant::now();
    assert!(matches!(work.process(&context, &rows), Err(WorkError::Cancelled)));
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_model_that_was_not_fetched_is_waited_for() {
    let node = compile(json!({ "backend": { "type": "embedded" } })).unwrap();
    let error = bench(&[]).run(&node).unwrap_err();
    assert!(
        matches!(&error, WorkError::Unavailable(message) if message.contains("models fetch smollm2-135m")),
        "{error:?}"
    );
    // Nothing to say, nothing to load.
    assert_eq!(dialogues(&bench(&[0, 1, 2, 3, 4, 5]).run(&node).unwrap()).height(), 0);
}
