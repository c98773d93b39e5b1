//! `report` and `audit --trace` through the program, on a project with candidates.

use serde_json::Value;

use crate::support::program::{Project, measured};

/// Behind what is measured.
const STAGES: &str = r#"
[[stage]]
kind = "filter"
name = "filter"
needs = ["measure"]
rules = [{ column = "colourfulness", min = 20.0 }, { column = "sharpness", min = 1.0 }]
[[stage]]
kind = "publish"
name = "publish"
needs = ["filter"]
release = "set"
[stage.licences]
allow = ["CC0-1.0"]
"#;

/// Pairs of bundled pictures, one of them without its target.
fn project() -> Project {
    let project = Project::new(&measured(STAGES));
    project.pictures(&["animal", "food"]);
    let mut table = "reference,target,instruction,caption,class,license\n".to_owned();
    let pictures =
        [("elephant", "octopus"), ("parrot", "penguin"), ("turtle", "black_cat"), ("zebra_face", "service_dog")];
    for (at, (reference, target)) in pictures.iter().enumerate() {
        table.push_str(&format!(
            "animal/{reference}.png,animal/{target}.png,Make it {at},<script>alert({at})</script>,animal,CC0-1.0\n"
        ));
    }
    project.write("pictures/broken.png", b"not a picture");
    table.push_str("animal/elephant.png,broken.png,Break it,a broken one,animal,CC0-1.0\n");
    project.write("pictures/metadata.csv", table.as_bytes());
    project
}

fn first(project: &Project, column: &str, table: &str) -> String {
    let sql = format!("SELECT {column} FROM {table} ORDER BY {column} LIMIT 1");
    project.cafe(&["query", &sql, "--format", "csv"]).ends(0).stdout.lines().nth(1).unwrap().to_owned()
}

#[test]
fn a_report_is_one_file_that_needs_nothing_else() {
    let project = project();
    let early = project.cafe(&["report"]).ends(2);
    assert!(early.stderr.contains("nothing was run yet"), "{}", early.stderr);
    project.cafe(&["run"]).ends(4);
    assert_eq!(project.cafe(&["report"]).ends(0).stdout, "report.html\n");
    let page = std::fs::read_to_string(project.path("report.html")).unwrap();
    assert!(page.contains("&lt;script&gt;alert(") && !page.contains("<script"), "a caption became markup");
    assert!(page.matches("src=\"data:image/jpeg;base64,").count() >= 4, "pictures are missing");
    assert!(!page.contains("http://") && !page.contains("https://"), "something is elsewhere");
    assert!(!page.contains(project.dir.path().to_str().unwrap()), "a path of this machine is on the page");
    assert_eq!(project.cafe(&["report", "-o", "-"]).ends(0).stdout, page, "another page of the same state");

    let figures: Value = serde_json::from_str(&project.cafe(&["report", "--json"]).ends(0).stdout).unwrap();
    let steps: Vec<&str> =
        figures["funnel"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert!(steps.contains(&"generated") && steps.contains(&"colourfulness >= 20"), "{steps:?}");
    assert!(steps.last().unwrap().starts_with("published (set-"), "{steps:?}");
    assert_eq!(figures["faults"]["n_rows"], 1);
    let ran = project.cafe(&["report", "-o", "no/such/folder/x.html"]).ends(2);
    assert!(ran.stderr.contains("no/such/folder") && ran.stderr.contains("-o"), "{}", ran.stderr);
}

#[test]
fn a_quadruplet_is_traced_to_its_reference_and_its_releases() {
    let project = project();
    project.cafe(&["run"]).ends(4);
    project.cafe(&["recut", "--min", "sharpness=0.5"]).ends(4);
    let id = first(&project, "quadruplet_id", "quadruplets");
    let trace: Value =
        serde_json::from_str(&project.cafe(&["audit", "--trace", &id, "--json"]).ends(0).stdout).unwrap();
    let kinds: Vec<&str> =
        trace["chain"].as_array().unwrap().iter().map(|link| link["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["reference", "pair", "candidate", "quadruplet"]);
    assert_eq!(trace["chain"][0]["rows"][0]["values"]["licence"], "CC0-1.0");
    let releases = trace["releases"].as_array().unwrap();
    assert!(!releases.is_empty() && releases.iter().all(|id| id.as_str().unwrap().starts_with("set-")), "{trace}");
    assert!(trace["attempts"].as_array().unwrap().iter().any(|attempt| attempt["node"] == "measure"), "{trace}");

    let candidate = first(&project, "candidate_id", "candidates");
    let text = project.cafe(&["audit", "--trace", &candidate[..20]]).ends(0).stdout;
    assert!(text.contains(&format!("candidate {candidate}  (asked for)")) && text.contains("sharpness"), "{text}");
    let ran = project.cafe(&["audit", "--trace", "0123"]).ends(2);
    assert!(ran.stderr.contains("no row of this project has the id `0123`"), "{}", ran.stderr);
    project.cafe(&["audit", "--trace", &id, "--verify"]).ends(2);
}
