//! `review` through the program: a list is written, filled in, taken, and decides what is published.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::program::{Project, Ran, wait_for};

const MANIFEST: &str = r#"
version = 1
seed = 7
[[stage]]
kind = "import"
name = "import"
source = { type = "folder", path = "pictures" }
shard_rows = 8
[[stage]]
kind = "score"
name = "score"
needs = ["import"]
[[stage]]
kind = "filter"
name = "filter"
needs = ["score"]
rules = [{ column = "dino", min = 0.9 }]
[[stage]]
kind = "review"
name = "review"
needs = ["filter"]
[[stage]]
kind = "publish"
name = "publish"
needs = ["review"]
release = "set"
"#;

/// Four animals that are their own targets, and one whose target is a food: the filter lets four through.
fn project() -> Project {
    let project = Project::new(MANIFEST);
    project.pictures(&["animal", "food"]);
    let (animals, foods) = (project.names("animal"), project.names("food"));
    let mut table = "reference,target,instruction,caption\n".to_owned();
    for animal in animals.iter().take(4) {
        table.push_str(&format!("{animal},{animal},put it on red,=1+1\n"));
    }
    table.push_str(&format!("{},{},make it small,a small animal\n", animals[4], foods[0]));
    project.write("pictures/metadata.csv", table.as_bytes());
    project
}

fn column(project: &Project, sql: &str) -> Vec<String> {
    let ran = project.cafe(&["query", "--format", "csv", sql]).ends(0);
    ran.stdout.lines().skip(1).map(ToOwned::to_owned).collect()
}

/// The ids of a list that nobody has filled in.
fn waiting(project: &Project, folder: &str) -> Vec<String> {
    let list = std::fs::read_to_string(project.path(folder).join("verdicts.csv")).unwrap();
    list.lines().skip(1).map(|line| line.split(',').next().unwrap().to_owned()).collect()
}

/// Verdicts by `ann`; the first candidate is rejected.
fn filled_in(ids: &[String], first: &str) -> String {
    let mut sheet = "candidate_id,verdict,reason,reviewer,secs\n".to_owned();
    for (at, id) in ids.iter().enumerate() {
        let verdict = if at == 0 { first } else { "Accept" };
        sheet.push_str(&format!("{id},{verdict},,ann,2\n"));
    }
    sheet
}

/// The shards that were made of each node, over all runs.
fn attempts(project: &Project) -> BTreeMap<String, usize> {
    let mut n: BTreeMap<String, usize> = BTreeMap::new();
    for node in column(project, "SELECT node FROM ledger WHERE outcome = 'committed'") {
        *n.entry(node).or_default() += 1;
    }
    n
}

#[test]
fn people_decide_what_is_published() {
    let project = project();
    let ran = project.cafe(&["run", "--progress", "plain"]).ends(75);
    assert!(ran.stderr.contains("4 candidates of shard 0 wait for a person's verdict"), "{}", ran.stderr);
    assert!(ran.stderr.contains("review export"), "{}", ran.stderr);

    project.cafe(&["review", "export", "-o", "list"]).ends(0);
    let ids = waiting(&project, "list");
    assert_eq!(ids.len(), 4);
    let list = std::fs::read_to_string(project.path("list/verdicts.csv")).unwrap();
    assert!(list.contains(",'=1+1,") && !list.contains(",=1+1"), "a caption is a formula: {list}");
    for id in &ids {
        for side in ["reference", "target"] {
            let bytes = std::fs::read(project.path(&format!("list/images/{id}.{side}.png"))).unwrap();
            assert!(bytes.starts_with(b"\x89PNG"));
        }
    }
    let again = project.cafe(&["review", "export", "-o", "list"]).ends(2);
    assert!(again.stderr.contains("verdicts.csv"), "{}", again.stderr);
    // The list as it is says nothing yet.
    project.cafe(&["review", "import", "list/verdicts.csv"]).ends(0);
    project.cafe(&["run"]).ends(75);

    project.write("ann.csv", filled_in(&ids, "reject").as_bytes());
    let ran = project.cafe(&["review", "import", "ann.csv"]).ends(0);
    assert!(ran.stdout.ends_with("4 new, 0 changed\n"), "{}", ran.stdout);
    project.cafe(&["run"]).ends(0);
    let mut published = column(&project, "SELECT candidate_id FROM quadruplets");
    published.sort();
    assert_eq!(published, ids[1..]);
    assert_eq!(column(&project, "SELECT SUM(secs) FROM reviews"), ["8"]);
    project.cafe(&["audit", "--verify"]).ends(0);
    project.cafe(&["review", "export", "-o", "rest"]).ends(0);
    assert!(waiting(&project, "rest").is_empty());

    let before = attempts(&project);
    project.write("ann.csv", filled_in(&ids[..1], "accept").as_bytes());
    let ran = project.cafe(&["review", "import", "ann.csv"]).ends(0);
    assert!(ran.stdout.ends_with("0 new, 1 changed\n"), "{}", ran.stdout);
    let why = project.cafe(&["plan", "--explain"]).ends(0);
    assert!(format!("{}{}", why.stdout, why.stderr).contains("verdicts"), "{}{}", why.stdout, why.stderr);
    project.cafe(&["run"]).ends(0);
    assert_eq!(column(&project, "SELECT candidate_id FROM quadruplets").len(), 4);
    let after = attempts(&project);
    let made: Vec<&str> =
        after.iter().filter(|(node, n)| before.get(*node) != Some(n)).map(|(node, _)| node.as_str()).collect();
    assert_eq!(made, ["publish", "publish.pack", "review"]);
    project.cafe(&["audit", "--verify"]).ends(0);
}

#[test]
fn a_bad_sheet_changes_nothing_and_names_each_line() {
    let project = project();
    project.cafe(&["run"]).ends(75);
    let id = "0".repeat(32);
    let bad = format!("candidate_id,verdict,secs\n{id},perhaps,1\nno-id,accept,1\n{id},accept,soon\n");
    project.write("bad.csv", bad.as_bytes());
    let ran = project.cafe(&["review", "import", "bad.csv"]).ends(2);
    for line in ["line 2: the verdict `perhaps`", "line 3: `no-id`", "line 4: `soon`"] {
        assert!(ran.stderr.contains(line), "{line} in {}", ran.stderr);
    }
    assert!(!project.path("verdicts.csv").try_exists().unwrap());
    // The same file in the manifest's place is a mistake of the manifest.
    project.write("verdicts.csv", bad.as_bytes());
    let ran = project.cafe(&["run"]).ends(3);
    assert!(ran.stderr.contains("line 2") && ran.stderr.contains("line 4"), "{}", ran.stderr);
    // Verdicts of another round are kept, and said.
    std::fs::remove_file(project.path("verdicts.csv")).unwrap();
    project.write("other.csv", format!("candidate_id,verdict\n{id},accept\n").as_bytes());
    let ran = project.cafe(&["review", "import", "other.csv"]).ends(0);
    assert!(ran.stderr.contains("1 candidate not in this project"), "{}", ran.stderr);
}

/// A project in which four candidates wait, and their ids.
fn waited() -> (Project, Vec<String>) {
    let project = project();
    project.cafe(&["run"]).ends(75);
    project.cafe(&["review", "export", "-o", "list"]).ends(0);
    let ids = waiting(&project, "list");
    assert_eq!(ids.len(), 4);
    (project, ids)
}

/// Writes a list in which `who` accepts all of `ids`; gives the command that takes it.
fn listed(project: &Project, who: &str, ids: &[String]) -> [String; 3] {
    let name = format!("{who}.csv");
    project.write(&name, filled_in(ids, "accept").replace(",ann,", &format!(",{who},")).as_bytes());
    ["review".to_owned(), "import".to_owned(), name]
}

fn verdicts(project: &Project) -> String {
    std::fs::read_to_string(project.path("verdicts.csv")).unwrap()
}

/// Candidate and reviewer of each verdict.
fn reviewers(project: &Project) -> Vec<(String, String)> {
    let text = verdicts(project);
    let fields = |line: &str| line.split(',').map(ToOwned::to_owned).collect::<Vec<_>>();
    let rows = text.lines().skip(1).map(fields);
    rows.map(|fields| (fields[0].clone(), fields[3].clone())).collect()
}

/// What imports are writing, or have left.
fn partial(project: &Project) -> usize {
    let entries = std::fs::read_dir(project.dir.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(".verdicts.csv.cafe-data-")).count()
}

#[test]
fn a_killed_import_loses_nothing_and_the_same_command_takes_all_of_it() {
    let (project, ids) = waited();
    let ann = listed(&project, "ann", &ids[..2]);
    project.cafe(&ann.each_ref().map(String::as_str)).ends(0);
    let before = verdicts(&project);
    let bob = listed(&project, "bob", &ids);
    let bob = bob.each_ref().map(String::as_str);
    for point in ["file_writing=kill", "file_renaming=kill"] {
        assert_eq!(project.failing(point, &bob).code, None, "{point} was not reached");
        assert_eq!(verdicts(&project), before, "after {point}");
    }
    assert_eq!(partial(&project), 1, "the second kill left nothing to clear away");
    assert_eq!(project.failing("file_renamed=kill", &bob).code, None);
    let after = verdicts(&project);
    assert_eq!(reviewers(&project).len(), 2 + 4, "{after}");
    assert!(before.lines().all(|line| after.contains(line)), "{after}");
    let again = project.cafe(&bob).ends(0);
    assert!(again.stdout.ends_with("0 new, 0 changed\n"), "{}", again.stdout);
    assert_eq!((verdicts(&project), partial(&project)), (after, 0));
}

#[test]
fn imports_at_once_take_turns_and_lose_no_verdict() {
    let (project, ids) = waited();
    // The first stands still between what it has read and what it writes.
    let mut first = project.command(&listed(&project, "ann", &ids).each_ref().map(String::as_str));
    let first = first.env("CAFE_FAIL", "file_renaming=sleep:3000").stdout(Stdio::piped()).stderr(Stdio::piped());
    let first = first.spawn().unwrap();
    wait_for(|| partial(&project) == 1);
    kill_process(Pid::from_child(&first), Signal::STOP).unwrap();
    let mut second = project.command(&listed(&project, "bob", &ids).each_ref().map(String::as_str));
    let mut second = second.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // Without turns it would say nothing and end now, and its verdicts would be lost with the first one's.
    let mut told = BufReader::new(second.stderr.take().unwrap()).lines().map_while(Result::ok);
    let said = told.find(|line| line.contains("another import to") && line.contains("verdicts.csv is at work"));
    let is_there = project.path("verdicts.csv").try_exists().unwrap();
    kill_process(Pid::from_child(&first), Signal::CONT).unwrap();
    Ran::from(first.wait_with_output().unwrap()).ends(0);
    assert!(second.wait().unwrap().success());
    assert!(said.is_some() && !is_there, "the second did not wait");

    // Of any number at once, and of one that is killed among them.
    let names = ["eve", "kim", "lee", "max"];
    let start = |who: &str| {
        let list = listed(&project, who, &ids);
        project.command(&list.each_ref().map(String::as_str)).stdout(Stdio::null()).spawn().unwrap()
    };
    let mut killed = project.command(&["review", "import", "ann.csv"]);
    let mut killed = killed.env("CAFE_FAIL", "file_writing=kill").stdout(Stdio::null()).spawn().unwrap();
    for mut child in names.map(start) {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(killed.wait().unwrap().code(), None);
    let mut wanted: Vec<(String, String)> = Vec::new();
    for id in &ids {
        wanted.extend(["ann", "bob"].into_iter().chain(names).map(|who| (id.clone(), who.to_owned())));
    }
    wanted.sort();
    assert_eq!(reviewers(&project), wanted);
}
