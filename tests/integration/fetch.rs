//! `models fetch` from a hub: once, whole, and on from where it was stopped.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::hub::{Answer, Hub, bytes, fetch, listed, on_hub, pinned, sha256};
use crate::support::program::{Project, Ran};

fn ran(project: &Project, hub: &Hub, more: &[&str]) -> Ran {
    fetch(project, hub, more).output().unwrap().into()
}

/// The folder that was printed.
fn folder(project: &Project, ran: &Ran) -> PathBuf {
    project.dir.path().join(ran.stdout.trim())
}

/// Bytes of the file that are there while it comes.
fn n_here(project: &Project) -> u64 {
    let partial = project.path("cache/cafe-data/models/partial");
    let models = std::fs::read_dir(partial).into_iter().flatten().flatten();
    models.filter_map(|model| Some(model.path().join("parts/a.bin").metadata().ok()?.len())).sum()
}

/// A fetch that has brought something, and is not done.
fn begun(project: &Project, hub: &Hub) -> Child {
    let child = fetch(project, hub, &["tiny"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let since = Instant::now();
    while n_here(project) == 0 {
        assert!(since.elapsed() < Duration::from_secs(60), "nothing came");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

#[test]
fn a_model_comes_once_and_is_then_there() {
    let body = bytes(5000);
    let hub = Hub::of(&body);
    let sha = sha256(&body);
    let project =
        on_hub(&format!("{{ path = \"a.bin\", sha256 = \"{sha}\" }}, {{ path = \"unet/b.bin\", sha256 = \"{sha}\" }}"));
    let list = || listed(&project, "tiny");
    assert!(list().contains("owner/tiny@main") && list().contains("not fetched"), "{}", list());

    let first = ran(&project, &hub, &["tiny"]).ends(0);
    let made = folder(&project, &first);
    assert!(made.starts_with(project.path("cache/cafe-data/models")), "{}", made.display());
    for name in ["a.bin", "unet/b.bin"] {
        assert!(std::fs::read(made.join(name)).unwrap() == body, "{name}");
    }
    let asked: Vec<String> = hub.taken().into_iter().map(|request| request.path).collect();
    assert_eq!(asked, ["/owner/tiny/resolve/main/a.bin", "/owner/tiny/resolve/main/unet/b.bin"]);

    // All that the manifest names: nothing is left to be done.
    let again = ran(&project, &hub, &["-m", "cafe.toml"]).ends(0);
    assert_eq!((again.stdout, again.stderr.as_str()), (first.stdout, ""));
    assert!(hub.taken().is_empty());
    assert!(list().contains("fetched: "), "{}", list());
    let json: serde_json::Value =
        serde_json::from_str(&project.cafe(&["models", "list", "--json"]).ends(0).stdout).unwrap();
    let tiny = json.as_array().unwrap().iter().find(|model| model["name"] == "tiny").unwrap();
    assert_eq!(
        (&tiny["state"], &tiny["role"], &tiny["is_pinned"]),
        (&"fetched".into(), &"library".into(), &true.into())
    );
    // Nothing but the model is kept.
    let left = std::fs::read_dir(project.path("cache/cafe-data/models/partial")).unwrap().count();
    assert_eq!(left, 0, "what was needed on the way is still there");
}

#[test]
fn a_connection_that_ends_early_is_taken_up_where_it_ended() {
    let body = bytes(9000);
    let served = body.clone();
    let hub = Hub::new(move |request, n| {
        let answer = Answer::file(request, &served, "\"v1\"");
        if n == 0 { answer.cut(4000) } else { answer }
    });
    let project = pinned(&body);
    let ran = ran(&project, &hub, &["tiny"]).ends(0);
    assert!(std::fs::read(folder(&project, &ran).join("a.bin")).unwrap() == body);
    let asked = hub.taken();
    assert_eq!(asked.len(), 2);
    assert_eq!((asked[1].offset(), asked[1].header("if-range")), (Some(4000), Some("\"v1\"")));
}

#[test]
fn a_killed_fetch_goes_on() {
    let body = bytes(60_000);
    let served = body.clone();
    let hub = Hub::new(move |request, n| {
        let answer = Answer::file(request, &served, "\"v1\"");
        if n == 0 { answer.slowly(100) } else { answer }
    });
    let project = pinned(&body);
    let mut child = begun(&project, &hub);
    child.kill().unwrap();
    child.wait().unwrap();
    let n_bytes = n_here(&project);
    assert!(listed(&project, "tiny").contains("partly fetched"));
    let ran = ran(&project, &hub, &["tiny"]).ends(0);
    assert!(std::fs::read(folder(&project, &ran).join("a.bin")).unwrap() == body);
    let asked = hub.taken();
    assert_eq!((asked.len(), asked[1].offset()), (2, Some(n_bytes as usize)));
}

#[test]
fn an_interrupted_fetch_says_so_and_goes_on() {
    let body = bytes(60_000);
    let served = body.clone();
    let hub = Hub::new(move |request, n| {
        let answer = Answer::file(request, &served, "\"v1\"");
        if n == 0 { answer.slowly(200) } else { answer }
    });
    let project = pinned(&body);
    let mut child = begun(&project, &hub);
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    ran(&project, &hub, &["tiny"]).ends(0);
    assert!(hub.taken()[1].offset().is_some_and(|offset| offset > 0));
}

/// A fetch is killed, the file changes, and the fetch that goes on must bring the new one. `etags` are those of both versions.
fn changed_in_between(etags: [&'static str; 2]) -> Hub {
    let (old, new) = (bytes(60_000), bytes(60_001)[1..].to_vec());
    let (first, second) = (old, new.clone());
    let hub = Hub::new(move |request, n| match n {
        0 => Answer::file(request, &first, etags[0]).slowly(100),
        _ => Answer::file(request, &second, etags[1]),
    });
    let project = pinned(&new);
    let mut child = begun(&project, &hub);
    child.kill().unwrap();
    child.wait().unwrap();
    let ran = ran(&project, &hub, &["tiny"]).ends(0);
    assert!(std::fs::read(folder(&project, &ran).join("a.bin")).unwrap() == new);
    hub
}

#[test]
fn a_file_that_changed_in_between_comes_anew() {
    let hub = changed_in_between(["\"old\"", "\"new\""]);
    assert_eq!(hub.taken()[1].header("if-range"), Some("\"old\""));
}

#[test]
fn a_beginning_of_another_version_is_found_out_where_the_server_has_no_etags() {
    let hub = changed_in_between(["W/\"weak\"", "W/\"weak\""]);
    let asked = hub.taken();
    assert!(asked[1].offset().is_some() && asked[1].header("if-range").is_none());
    assert!(asked.len() == 3 && asked[2].offset().is_none(), "{asked:?}");
}

#[test]
fn two_processes_fetch_once() {
    let body = bytes(20_000);
    let served = body.clone();
    let hub = Hub::new(move |request, _| Answer::file(request, &served, "\"v1\"").slowly(50));
    let project = pinned(&body);
    let spawn = || fetch(&project, &hub, &["tiny"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let children = [spawn(), spawn(), spawn()];
    let ran = children.map(|child| Ran::from(child.wait_with_output().unwrap()).ends(0));
    assert!(ran.iter().all(|one| one.stdout == ran[0].stdout && Path::new(one.stdout.trim()).is_dir()));
    assert_eq!(hub.taken().len(), 1);
    assert!(ran.iter().any(|ran| ran.stderr.contains("another process fetches tiny")), "nobody had to wait");
}

#[test]
fn what_is_not_pinned_is_taken_only_when_that_is_allowed_and_is_then_known() {
    let body = bytes(3000);
    let served = body.clone();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let hub = Hub::new(move |request, _| Answer::file(request, &served, "\"v1\"").with("X-Repo-Commit", commit));
    let project = on_hub("{ path = \"a.bin\" }, { path = \"b.bin\" }");
    let said = ran(&project, &hub, &["tiny"]).ends(2).stderr;
    assert!(said.contains("a.bin, b.bin") && said.contains("--allow-unpinned"), "{said}");
    assert!(hub.taken().is_empty());

    let first = ran(&project, &hub, &["tiny", "--allow-unpinned"]).ends(0);
    let line = format!("{{ path = \"a.bin\", sha256 = \"{}\", bytes = 3000 }},", sha256(&body));
    assert!(first.stderr.contains(&line), "{}", first.stderr);
    // Both files are of one commit, whatever happens to the branch.
    let asked: Vec<String> = hub.taken().into_iter().map(|request| request.path).collect();
    assert_eq!(asked[1], format!("/owner/tiny/resolve/{commit}/b.bin"));
    // It is there now, and may be used; also once it is pinned by what was printed.
    ran(&project, &hub, &["tiny"]).ends(0);
    let pins = first.stderr.split_once("files = [").unwrap().1;
    let pinned = on_hub(pins.trim_end().trim_end_matches(']'));
    let cache = project.path("cache/cafe-data/models");
    let again = ran(&pinned, &hub, &["tiny", "--cache", cache.to_str().unwrap()]).ends(0);
    assert_eq!(again.stdout, first.stdout);
    assert!(hub.taken().is_empty());
}
