//! Previews through the program: pictures that can be looked at while they are made, and that change nothing.

use std::fs;
use std::path::PathBuf;

use crate::support::program::Project;

/// Twelve pictures of the bundled model, in three shards.
const MANIFEST: &str = r#"
version = 1
seed = 7
[[stage]]
kind = "imagine"
name = "imagine"
classes = ["toy", "plant"]
prompts = ["a {class} on a red background"]
samples = 6
sampling = { steps = 2 }
wrong_class = "keep"
shard_rows = 4
"#;

/// What `run` says of the page.
const TOLD: &str = "data/previews/index.html";

/// The files that the page shows; all of them are there, and pictures.
fn shown(project: &Project) -> Vec<PathBuf> {
    let folder = project.path("data/previews");
    let html = fs::read_to_string(folder.join("index.html")).unwrap();
    assert!(html.contains("<h2 id=\"imagine\">") && !html.contains(project.dir.path().to_str().unwrap()), "{html}");
    let files = html.split("src=\"").skip(1).map(|rest| folder.join(rest.split('"').next().unwrap()));
    let files: Vec<PathBuf> = files.collect();
    for file in &files {
        assert!(fs::read(file).unwrap().starts_with(b"\xff\xd8"), "{} is no JPEG file", file.display());
    }
    files
}

/// How many pictures there are.
fn n_pictures(project: &Project) -> usize {
    let files = fs::read_dir(project.path("data/previews/imagine")).unwrap();
    files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|end| end == "jpg")).count()
}

/// A project that was run without previews.
fn without() -> Project {
    let project = Project::new(MANIFEST);
    let ran = project.cafe(&["run", "--previews", "0"]).ends(0);
    assert!(!ran.stderr.contains("previews") && !project.path("data/previews").is_dir(), "{}", ran.stderr);
    project
}

#[test]
fn pictures_can_be_looked_at_while_they_are_made_and_change_nothing() {
    let wanted = without().dataset();
    let project = Project::new(MANIFEST);
    // Stopped in the middle: the page is there, whatever is on it.
    assert_eq!(project.failing("journal_synced=kill@2", &["run", "--previews", "3"]).code, None);
    shown(&project);
    let ran = project.cafe(&["run", "--previews", "3", "--progress", "plain"]).ends(0);
    assert_eq!(ran.stderr.matches(TOLD).count(), 1, "{}", ran.stderr);
    assert_eq!(project.dataset(), wanted);
    let files = shown(&project);
    assert!((1..=3).contains(&files.len()) && n_pictures(&project) <= 6, "{files:?}");
    let about = fs::read_to_string(files[0].with_extension("txt")).unwrap();
    assert!(about.contains("class ") && about.contains("caption a "), "{about}");
    project.cafe(&["audit", "--verify"]).ends(0);
    // Nothing is left to be made, so nothing is said; what is there stays.
    let again = project.cafe(&["run", "--previews", "3"]).ends(0);
    assert!(!again.stderr.contains(TOLD), "{}", again.stderr);
    assert_eq!(shown(&project), files);
    assert!(project.cafe(&["run", "--previews", "201"]).ends(2).stderr.contains("201"));
}

#[test]
fn several_processes_show_what_they_make() {
    let wanted = without().dataset();
    let project = Project::new(MANIFEST);
    let start = || project.command(&["run", "--previews", "2", "--workers", "1"]).spawn().unwrap();
    for mut child in [start(), start(), start()] {
        let code = child.wait().unwrap().code();
        // It may have ended before another's plan was in place.
        assert!(matches!(code, Some(0 | 75)), "{code:?}");
    }
    project.cafe(&["run", "--previews", "2"]).ends(0);
    assert_eq!(project.dataset(), wanted);
    assert!((1..=2).contains(&shown(&project).len()) && n_pictures(&project) <= 4);
}

#[test]
fn a_run_does_not_fail_of_previews() {
    let wanted = without().dataset();
    let project = Project::new(MANIFEST);
    project.write("data/previews", b"in the way");
    let ran = project.cafe(&["run"]).ends(0);
    assert_eq!(ran.stderr.matches("previews cannot be shown").count(), 1, "{}", ran.stderr);
    assert!(!ran.stderr.contains(TOLD), "{}", ran.stderr);
    assert_eq!(project.dataset(), wanted);
    assert_eq!(fs::read(project.path("data/previews")).unwrap(), b"in the way");
}
