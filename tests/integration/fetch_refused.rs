//! `models fetch` where it cannot or must not: what is said, what is kept, and who learns of the token.

use crate::support::hub::{Answer, Hub, bytes, fetch, listed, on_hub, pinned, project, sha256};
use crate::support::program::{Project, Ran};

/// Runs it, and sees that no model came of it.
fn refused(project: &Project, hub: &Hub, code: i32, more: &[&str]) -> String {
    let ran: Ran = fetch(project, hub, &[&["tiny"], more].concat()).output().unwrap().into();
    let ran = ran.ends(code);
    assert_eq!(ran.stdout, "");
    assert!(listed(project, "tiny").contains("not fetched"));
    ran.stderr
}

#[test]
fn another_file_is_thrown_away() {
    let (body, other) = (bytes(2000), bytes(2001)[1..].to_vec());
    let (hub, project) = (Hub::of(&other), pinned(&body));
    let said = refused(&project, &hub, 3, &[]);
    assert!(said.contains("a.bin is another file") && said.contains(&sha256(&other)), "{said}");
    // One of another size is not even asked for to its end.
    let said = refused(&project, &Hub::of(&bytes(1999)), 3, &[]);
    assert!(said.contains("has 1999 bytes, where 2000 are pinned"), "{said}");
}

#[test]
fn what_a_server_does_not_give_is_told() {
    let body = bytes(10);
    let project = pinned(&body);
    let answers = |status: u16| Hub::new(move |_, _| Answer::status(status));
    let said = refused(&project, &answers(404), 3, &[]);
    assert!(said.contains("owner/tiny@main/a.bin") && said.contains("no such file (404)"), "{said}");
    assert!(said.contains("bring a.bin in a folder DIR"), "{said}");
    let said = refused(&project, &answers(401), 3, &[]);
    assert!(said.contains("set HF_TOKEN"), "{said}");
    let with_token = fetch(&project, &answers(403), &["tiny"]).env("HF_TOKEN", "hf_secret").output().unwrap();
    let said = Ran::from(with_token).ends(3).stderr;
    assert!(said.contains("owner of HF_TOKEN (403)") && !said.contains("hf_secret"), "{said}");
    let busy = Hub::new(|_, _| Answer::status(429).with("Retry-After", "3600"));
    let said = refused(&project, &busy, 75, &[]);
    assert!(said.contains("busy (429)") && said.contains("run the same command again"), "{said}");
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let body = bytes(4000);
    let store = Hub::of(&body);
    let there = format!("{}/blob?signature=s3cret", store.other_url());
    let hub = Hub::new(move |_, _| Answer::status(302).with("Location", there.clone()));
    let project = pinned(&body);
    let command = |verbose: &str| {
        let mut command = fetch(&project, &hub, &["tiny", verbose]);
        command.env("HF_TOKEN", "hf_t0ken");
        Ran::from(command.output().unwrap())
    };
    let ran = command("-vv").ends(0);
    assert!(hub.taken().iter().all(|request| request.header("authorization") == Some("Bearer hf_t0ken")));
    let asked = store.taken();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].headers.values().all(|value| !value.contains("hf_t0ken")), "{asked:?}");
    assert!(!ran.stderr.contains("hf_t0ken"), "{}", ran.stderr);

    // Within the hub, it goes along.
    let served = body.clone();
    let inner = Hub::new(move |request, _| match request.path.as_str() {
        "/moved" => Answer::file(request, &served, "\"v1\""),
        _ => Answer::status(307).with("Location", "/moved"),
    });
    let project = pinned(&body);
    let ran = fetch(&project, &inner, &["tiny"]).env("HF_TOKEN", "hf_t0ken").output().unwrap();
    Ran::from(ran).ends(0);
    assert_eq!(inner.taken()[1].header("authorization"), Some("Bearer hf_t0ken"));
}

#[test]
fn an_address_with_a_secret_is_not_shown_when_the_connection_fails() {
    let hub = Hub::new(|_, _| Answer::status(302).with("Location", "http://localhost:9/blob?signature=s3cret"));
    let said = refused(&pinned(&bytes(10)), &hub, 75, &["-v"]);
    assert!(said.contains("owner/tiny@main/a.bin") && !said.contains("s3cret"), "{said}");
    let circle = Hub::new(|_, _| Answer::status(302).with("Location", "/again"));
    assert!(refused(&pinned(&bytes(10)), &circle, 3, &[]).contains("redirected more than"));
}

#[test]
fn offline_nothing_is_asked_and_files_can_be_brought_by_hand() {
    let body = bytes(1000);
    let (hub, project) = (Hub::of(&body), pinned(&body));
    let said = refused(&project, &hub, 3, &["--offline"]);
    assert!(said.contains("--offline") && said.contains("models fetch tiny --from DIR"), "{said}");
    let ran = fetch(&project, &hub, &["tiny"]).env("HF_HUB_OFFLINE", "1").output().unwrap();
    let said = Ran::from(ran).ends(3).stderr;
    assert!(said.contains("HF_HUB_OFFLINE is set"), "{said}");
    project.write("brought/a.bin", &bytes(1001)[1..]);
    assert!(refused(&project, &hub, 3, &["--offline", "--from", "brought"]).contains("is another file"));
    project.write("brought/a.bin", &body);
    let ran = fetch(&project, &hub, &["tiny", "--offline", "--from", "brought"]).output().unwrap();
    assert!(Ran::from(ran).ends(0).stderr.contains("fetched from brought"));
    assert!(hub.taken().is_empty());
}

#[test]
fn what_cannot_be_fetched_is_said_before_anything_is() {
    let hub = Hub::of(b"x");
    let project = project("");
    let ran = |args: &[&str]| Ran::from(fetch(&project, &hub, args).output().unwrap()).ends(2).stderr;
    assert!(ran(&["smollm9"]).contains("smollm2-135m"));
    assert!(ran(&[]).contains("cafe-data models list"));
    let said = Ran::from(fetch(&on_hub(""), &hub, &["tiny"]).output().unwrap()).ends(3).stderr;
    assert!(said.contains("cafe.toml:") && said.contains("`files`"), "{said}");
    let project = pinned(b"x");
    let mut command = fetch(&project, &hub, &["tiny"]);
    let said = Ran::from(command.env("HF_ENDPOINT", "https://me:s3cret@hub.example").output().unwrap()).ends(3).stderr;
    assert!(said.contains("HF_ENDPOINT is no address") && !said.contains("s3cret"), "{said}");
    assert!(hub.taken().is_empty());
}
