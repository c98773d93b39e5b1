//! `review` through the program: a list is written, filled in, taken, and decides what is published.

use std::collections::BTreeMap;

use crate::support::program::Project;

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
