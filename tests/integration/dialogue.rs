//! The program asks a chat server for dialogues: killed, refused, left alone, it ends with the same dataset.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::support::chat::{Answer, Request, Server};
use crate::support::program::Project;

/// Imported pairs become candidates, and these quadruplets.
fn project(server: &Server) -> Project {
    let project = Project::new(&format!(
        r#"
version = 1
seed = 3

[[stage]]
kind = "import"
name = "import"
source = {{ type = "folder", path = "pictures" }}
shard_rows = 2

[[stage]]
kind = "dialogue"
name = "talk"
needs = ["import"]
filtered = false
per_candidate = 2
concurrency = 2
deadline_secs = 2
patience_secs = 5
backend = {{ type = "openai", base_url = "{}", model = "told" }}

[[stage]]
kind = "publish"
name = "publish"
scores = false
needs = ["talk"]
filtered = false
"#,
        server.url()
    ));
    project.pictures(&["animal"]);
    let names = project.names("animal");
    let mut table = "reference,target,instruction,caption,class\n".to_owned();
    for (at, name) in names.iter().take(6).enumerate() {
        let target = &names[(at + 1) % names.len()];
        table += &format!("{name},{target},Put it on beach {at}.,a creature on beach {at},creature\n");
    }
    project.write("pictures/metadata.csv", table.as_bytes());
    project
}

fn keys(requests: &[Request]) -> Vec<String> {
    requests.iter().map(|request| request.header("idempotency-key").unwrap().to_owned()).collect()
}

const RUN: [&str; 5] = ["run", "--workers", "2", "--progress", "plain"];

#[test]
fn quadruplets_come_of_it_whatever_the_server_does() {
    let calm = Server::new(|request, _| request.good());
    let whole = project(&calm);
    whole.cafe(&RUN).ends(0);
    let asked = calm.taken();
    assert!(asked.iter().all(|request| request.path == "/v1/chat/completions"));
    let n_replies = asked.len();
    assert_eq!(n_replies, 12);
    let release = whole.cafe(&["query", "SELECT y, y_tilde FROM quadruplets", "--format", "csv"]).ends(0).stdout;
    assert_eq!(release.lines().count(), 13, "{release}");
    assert!(release.contains("Here is a creature on beach 3."), "{release}");
    whole.cafe(&["audit", "--verify"]).ends(0);

    // Each request fails in two ways, then the server dies.
    let seen = Mutex::new(HashMap::<String, usize>::new());
    let faulty = Server::new(move |request, n| {
        if n >= 20 {
            return Answer::Die;
        }
        let mut seen = seen.lock().unwrap();
        let n_seen = seen.len();
        let count = seen.entry(keys(std::slice::from_ref(request)).remove(0)).or_insert(n_seen * 2);
        *count += 1;
        // Numbers of tries start differently, so that all faults are met.
        let faults = [
            Answer::Http(429, vec![("Retry-After", "0".to_owned())], String::new()),
            Answer::status(500, "oops"),
            Answer::Reset,
            Answer::Torn,
            Answer::Hang(5_000),
            Answer::status(503, ""),
        ];
        if count.is_multiple_of(3) || request.is_again() {
            request.good()
        } else {
            faults[*count % faults.len()].clone()
        }
    });
    let broken = project(&faulty);
    let said = broken.cafe(&RUN).ends(75).stderr;
    assert!(said.contains("stage talk waits") && said.contains("is not to be had"), "{said}");
    assert_eq!(
        broken
            .cafe(&["query", "SELECT COUNT(*) FROM candidates", "--format", "csv"])
            .ends(0)
            .stdout
            .trim()
            .lines()
            .last(),
        Some("6")
    );
    let again = broken.cafe(&RUN).ends(75).stderr;
    assert!(again.contains("same command goes on"), "{again}");

    let revived = Server::at(faulty.port(), |request, _| request.good());
    broken.cafe(&RUN).ends(0);
    assert!(revived.taken().len() < n_replies, "what was answered is not asked again");
    broken.cafe(&["audit", "--verify"]).ends(0);
    // Tries tell what went wrong; everything else is the same, to the byte.
    let of = |project: &Project| {
        let mut dataset = project.dataset();
        dataset.retain(|name, _| !name.starts_with("dialogue_tries/"));
        dataset
    };
    assert_eq!(of(&broken), of(&whole));
}

#[test]
fn a_killed_run_asks_for_nothing_twice() {
    let calm = Server::new(|request, _| request.good());
    let whole = project(&calm);
    whole.cafe(&RUN).ends(0);
    let server = Server::new(|request, _| request.good());
    let killed = project(&server);
    let points = ["reply_storing=kill@2", "reply_stored=kill@3", "journal_synced=kill@1", "shard_renamed=kill@2"];
    for point in points {
        assert_eq!(killed.failing(point, &RUN).code, None, "{point} was not reached");
    }
    killed.cafe(&RUN).ends(0);
    let mut asked = keys(&server.taken());
    let n_asked = asked.len();
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 12);
    // What was on its way when a kill came, and no more: two at once.
    assert!(n_asked <= 12 + 2 * points.len(), "{n_asked} requests");
    assert_eq!(killed.dataset(), whole.dataset());
}

#[test]
fn a_model_that_was_not_fetched_leaves_its_stage_pending() {
    let server = Server::new(|request, _| request.good());
    let project = project(&server);
    let manifest = std::fs::read_to_string(project.path("cafe.toml")).unwrap();
    let backend = format!("{{ type = \"openai\", base_url = \"{}\", model = \"told\" }}", server.url());
    let manifest = manifest.replace(&backend, "{ type = \"embedded\" }");
    project.write("cafe.toml", manifest.as_bytes());
    let said = project.cafe(&RUN).ends(75).stderr;
    assert!(said.contains("cafe-data models fetch smollm2-135m"), "{said}");
    project.cafe(&["audit"]).ends(0);
}

#[test]
fn replies_that_cannot_be_used_stay_on_record_and_the_books_balance() {
    let server =
        Server::new(|request, _| if request.is_again() { request.good() } else { Answer::Content("Sure!".to_owned()) });
    let project = project(&server);
    project.cafe(&RUN).ends(0);
    let tries = "SELECT count(*) AS n, sum(CASE WHEN error IS NULL THEN 1 ELSE 0 END) AS used FROM dialogue_tries";
    assert_eq!(project.cafe(&["query", tries, "--format", "csv"]).ends(0).stdout, "n,used\n24,12\n");
    project.cafe(&["audit", "--verify"]).ends(0);
}
