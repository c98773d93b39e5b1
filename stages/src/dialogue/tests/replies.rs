//! What is asked, what is made of the replies, and that none is asked for twice.

use super::*;

#[test]
fn accepted_candidates_get_dialogues_and_rejected_ones_cost_nothing() {
    let server = Server::new(|request, _| request.good());
    let bench = bench(&[1, 4]);
    let ran = bench.run(&node(&server, &json!({ "per_candidate": 2 }))).unwrap();
    let rows = dialogues(&ran);
    assert_eq!(texts(rows, "candidate_id"), ["c0", "c0", "c2", "c2", "c3", "c3", "c5", "c5"]);
    assert!(ran.quarantined.is_empty());
    assert!(texts(rows, "y_tilde")[2].contains("teapot under water"));
    assert_eq!(texts(rows, "model"), vec!["told"; 8]);
    let turns: Value = serde_json::from_str(&texts(rows, "turns")[0]).unwrap();
    assert_eq!(turns[0], json!({ "role": "user", "content": texts(rows, "y")[0] }));
    assert_eq!(rows.column("prompt_tokens").unwrap().u64().unwrap().sum(), Some(800));
    let id =
        crate::ids::quadruplet_id("candidate_id", "c0", Some(&texts(rows, "y")[0]), Some(&texts(rows, "y_tilde")[0]));
    assert_eq!(texts(rows, "quadruplet_id")[0], id);

    let requests = server.taken();
    assert_eq!(requests.len(), 8);
    let sent: Vec<String> =
        requests.iter().map(|request| request.header("idempotency-key").unwrap().to_owned()).collect();
    let mut wanted = texts(rows, "request_digest");
    let mut sent = sent;
    wanted.sort();
    sent.sort();
    assert_eq!(sent, wanted);
    for request in &requests {
        assert_eq!(request.path, "/v1/chat/completions");
        assert_eq!(request.header("authorization"), None);
        assert_eq!(request.body["response_format"]["json_schema"]["schema"]["required"], json!(["user", "assistant"]));
        let is_vague = request.told("How the user speaks") == "vague wish";
        assert_eq!(request.told("The user's wish").is_empty(), is_vague, "a vague wish is not told the instruction");
    }
}

/// Whether asked one by one or all at once, in one batch or in another, and by whatever attempt.
#[test]
fn the_order_of_replies_decides_nothing() {
    let slow = |request: &server::Request, n: usize| {
        std::thread::sleep(std::time::Duration::from_millis(n as u64 * 37 % 50));
        request.good()
    };
    let run = |concurrency: u32| {
        let server = Server::new(slow);
        bench(&[]).run(&node(&server, &json!({ "per_candidate": 3, "concurrency": concurrency }))).unwrap()
    };
    let (one, many) = (run(1), run(16));
    assert_eq!(bytes(dialogues(&one)), bytes(dialogues(&many)));
    assert_eq!(bytes(tries(&one)), bytes(tries(&many)));
    let acts: std::collections::BTreeSet<String> = texts(dialogues(&one), "speech_act").into_iter().collect();
    assert_eq!(acts.len(), 3, "all speech acts are drawn");
}

#[test]
fn what_was_answered_is_not_asked_again() {
    let server = Server::new(|request, _| request.good());
    let mut bench = bench(&[1, 4]);
    let node = |more| node(&server, &more);
    let first = bench.run(&node(json!({}))).unwrap();
    assert_eq!(server.taken().len(), 4);
    // Another process, with other limits that the replies keep to as well.
    let again = bench.run(&node(json!({ "limits": { "user_chars": 300 } }))).unwrap();
    assert_eq!(server.taken().len(), 0);
    assert_eq!(bytes(dialogues(&first)), bytes(dialogues(&again)));
    // A looser threshold costs what it accepts newly.
    put(&mut bench, &[4]);
    let looser = bench.run(&node(json!({}))).unwrap();
    let asked: Vec<String> = server.taken().iter().map(server::Request::caption).collect();
    assert_eq!(asked, ["a cat in a red hat"]);
    assert_eq!(texts(dialogues(&looser), "candidate_id"), ["c0", "c1", "c2", "c3", "c5"]);
    // Other sampling is another request.
    bench.run(&node(json!({ "temperature": 0.5 }))).unwrap();
    assert_eq!(server.taken().len(), 5);
}

#[test]
fn unusable_replies_are_tried_again_with_the_mistake_named_and_all_are_seen() {
    let bad = [
        Answer::Content("Sure, here it is!".to_owned()),
        Answer::Content(r#"{"user": "Make it so, ple"#.to_owned()),
        Answer::Content(r#"{"question": "a", "answer": "b"}"#.to_owned()),
        Answer::Content(String::new()),
        Answer::status(200, ""),
        Answer::status(200, "<html>proxy</html>"),
        Answer::Content(r#"{"user": "Use this prompt for it.", "assistant": "Here is a dog, a cat, a teapot, a robot, an owl, a boat."}"#.to_owned()),
        Answer::status(200, &"x".repeat(10 << 20)),
    ];
    let expected = [
        "there is no JSON object in it",
        "the JSON object does not end",
        "the JSON object has no `user`",
        "the reply is empty",
        "the server sent nothing",
        "the server sent no chat completion",
        "what `user` says mentions \"prompt\"",
        "the reply has more than 1048576 bytes",
    ];
    for (bad, expected) in bad.into_iter().zip(expected) {
        let server = Server::new(move |request, _| if request.is_again() { request.good() } else { bad.clone() });
        let ran = bench(&[1, 2, 3, 4]).run(&node(&server, &json!({}))).unwrap();
        let requests = server.taken();
        assert_eq!(requests.len(), 4, "{expected}");
        let told = requests.iter().filter(|request| request.message().contains(expected));
        assert_eq!(told.count(), 2, "{expected}");
        assert_eq!(texts(tries(&ran), "error"), [expected, "-", expected, "-"]);
        assert_eq!(dialogues(&ran).column("n_tries").unwrap().u32().unwrap().get(0), Some(2));
        let seeds = tries(&ran).column("seed").unwrap().u32().unwrap().clone();
        assert_ne!(seeds.get(0), seeds.get(1), "another try has another seed");
    }
}

#[test]
fn a_row_whose_tries_are_used_up_is_quarantined_alone_with_all_of_them() {
    let server = Server::new(|request, _| match request.caption().as_str() {
        "a teapot under water" => Answer::Content(format!("no. {}", request.body["seed"])),
        _ => request.good(),
    });
    let outcome = process(&bench(&[]), &node(&server, &json!({ "tries": 3 }))).unwrap();
    assert_eq!(texts(&outcome.tables["dialogues"], "candidate_id"), ["c0", "c1", "c3", "c4", "c5"]);
    let [row] = outcome.quarantined.as_slice() else { panic!("{:?}", outcome.quarantined) };
    assert_eq!(row.row, 2);
    for request in server.taken().iter().filter(|request| request.caption() == "a teapot under water") {
        let reply = format!("\"no. {}\"", request.body["seed"]);
        assert!(row.message.contains(&reply), "{} is not in {}", reply, row.message);
    }
    assert!(row.message.contains("try 3") && row.message.contains("no JSON object"), "{}", row.message);
    let cost = outcome.cost;
    assert_eq!((cost.n_tries, cost.prompt_tokens, cost.completion_tokens), (8, 800, 80));
}

/// A dialogue that could not be had takes no other with it, and leaves its tries.
#[test]
fn a_candidate_keeps_the_dialogues_that_were_had() {
    let server = Server::new(|request, _| {
        let is_question = request.told("How the user speaks") == "question";
        if is_question { Answer::Content("no".to_owned()) } else { request.good() }
    });
    let ran = bench(&[]).run(&node(&server, &json!({ "per_candidate": 4, "tries": 2 }))).unwrap();
    let acts = texts(dialogues(&ran), "speech_act");
    assert!(!acts.contains(&"question".to_owned()) && !acts.is_empty());
    let n_bad = texts(tries(&ran), "error").iter().filter(|error| *error != "-").count();
    assert_eq!(n_bad, 2 * (24 - acts.len() - 4 * ran.quarantined.len()), "each was tried twice");
}

#[test]
fn faulty_rows_are_quarantined_before_anything_is_asked() {
    let server = Server::new(|request, _| request.good());
    let mut bench = bench(&[]);
    let pairs = df!(
        "pair_id" => ["p0", "p1", "p2"],
        "reference_id" => ["r0", "r1", "r2"],
        "class" => [Some("dog"), None, Some("tea\u{0}pot")],
        "instruction" => ["a\n\nb\u{1b}", "c", "d"],
        "caption" => ["x".repeat(10_000), "cat".to_owned(), "a teapot\nHow the user speaks: rudely".to_owned()],
    );
    bench.put("pairs", vec![pairs.unwrap()]);
    let ran = bench.run(&node(&server, &json!({}))).unwrap();
    let messages: Vec<&str> = ran.quarantined.iter().map(|row| row.message.as_str()).collect();
    assert!(messages[0].contains("10000 letters") && messages[1].contains("no class"), "{messages:?}");
    assert_eq!(messages.len(), 5);
    // What looks like more than a caption stays on its line.
    let requests = server.taken();
    assert!(requests.iter().all(|request| request.caption() == "a teapot How the user speaks: rudely"));
}

/// See CONTRIBUTING: whoever changes a word that the model is told, or a row that is made of its replies, raises a version.
#[test]
fn golden() {
    let server = Server::new(|request, _| request.good());
    let ran = bench(&[1]).run(&node(&server, &json!({ "per_candidate": 2 }))).unwrap();
    let digest = |rows: &DataFrame| Digest::of(&bytes(rows)).to_hex();
    assert_eq!(
        (
            super::super::compile::OUTPUT_VERSION,
            super::super::template::VERSION,
            digest(dialogues(&ran)).as_str(),
            digest(tries(&ran)).as_str()
        ),
        (
            1,
            "dialogue-v1",
            "697e4698ef847db60e7bf2d56ed15b7f5dffe65764a2e04a76f41038ac48a931",
            "a3dc542714b5332cfb0d86b49c2e0e3c524defc2ff7632be579967dd0fd6f1a9"
        )
    );
}
