//! Rows that are broken, panic, abort, eat the memory or hang: each ends in quarantine, the others go on.

use cafe_pipeline::digest::Digest;

use crate::support::program::{PROGRAM, Project, Ran};

/// Many pictures made of one: a PNG with a comment of its own.
fn pictures(project: &Project, n: usize, broken: &[usize]) {
    let png = {
        let image = image::RgbImage::from_fn(16, 16, |x, y| image::Rgb([(x * 16) as u8, (y * 16) as u8, 7]));
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Bmp).unwrap();
        bytes.into_inner()
    };
    for number in 0..n {
        let mut bytes = png.clone();
        // The last pixels make it another picture.
        let end = bytes.len();
        bytes[end - 8..].copy_from_slice(&(number as u64).to_le_bytes());
        if broken.contains(&number) {
            bytes.truncate(60);
        }
        project.write(&format!("pictures/{:02}/{number:05}.bmp", number / 500), &bytes);
    }
}

fn manifest(shard_rows: u32, more: &str) -> String {
    format!(
        r#"
version = 1
[[stage]]
kind = "collect"
name = "collect"
source = {{ type = "folder", path = "pictures" }}
class = "square"
shard_rows = {shard_rows}
{more}
"#
    )
}

fn quarantine(project: &Project) -> Vec<String> {
    let sql = "SELECT node || ' ' || row_id || ' ' || class AS row FROM quarantine ORDER BY row";
    let ran = project.cafe(&["query", sql, "--format", "csv"]).ends(0);
    ran.stdout.lines().skip(1).map(ToOwned::to_owned).collect()
}

#[test]
fn one_corrupt_picture_among_ten_thousand() {
    let project = Project::new(&manifest(1000, ""));
    pictures(&project, 10_000, &[4321]);
    let ran = project.cafe(&["run", "--progress", "plain"]).ends(4);
    assert!(ran.stderr.contains("1 rows are in quarantine"), "{}", ran.stderr);
    assert_eq!(quarantine(&project), ["collect.scan 08/04321.bmp corrupt"]);
    let count = project.cafe(&["query", "SELECT count(*) AS n FROM references", "--format", "json"]).ends(0);
    assert!(count.stdout.contains("9999"), "{}", count.stdout);
    project.cafe(&["audit", "--verify"]).ends(0);
}

/// Runs again and again, as a person or a batch system would, until no process dies any more.
fn until_it_lives(project: &Project, points: &str) -> (Ran, u32) {
    for n_deaths in 0..20 {
        let ran = project.failing(points, &["run", "--progress", "plain", "--workers", "1"]);
        if ran.code.is_some() {
            return (ran, n_deaths);
        }
    }
    panic!("it dies for ever");
}

/// Row 7 of a shard of `collect.scan` and of `collect` is at fault; 60 pictures are 3 shards.
fn check(action: &str, class: &str, more: &str, kills: bool) {
    let project = Project::new(&manifest(20, more));
    pictures(&project, 60, &[]);
    let (ran, n_deaths) = until_it_lives(&project, &format!("row={action}@#7"));
    assert_eq!((ran.code, n_deaths > 0), (Some(4), kills), "{}", ran.stderr);
    let found = quarantine(&project);
    // In each shard its eighth row; those of the second node have lost one row each before.
    let scan: Vec<&String> = found.iter().filter(|row| row.starts_with("collect.scan ")).collect();
    let wanted: Vec<String> = [7, 27, 47].map(|row| format!("collect.scan 00/{row:05}.bmp {class}")).into();
    assert_eq!(scan, wanted.iter().collect::<Vec<_>>());
    project.cafe(&["audit", "--verify"]).ends(0);
    // Without the fault, the rows stay where they are: quarantine is a result, not a state of mind.
    let again = project.cafe(&["run", "--progress", "plain"]).ends(4);
    assert!(again.stderr.contains("plan: 0 shards to make"), "{}", again.stderr);
}

#[test]
fn a_row_that_panics() {
    check("panic", "panic", "", false);
}

#[test]
fn a_row_that_aborts() {
    check("abort", "death", "", true);
}

#[test]
fn a_row_that_is_killed_for_its_memory() {
    check("kill", "out_of_memory", "", true);
}

/// It allocates until the system says no: here at 3 GB, so that the machine of the test is not the one that gives in.
#[test]
fn a_row_that_eats_the_memory() {
    let project = Project::new(&manifest(20, ""));
    pictures(&project, 20, &[]);
    let limited = || {
        let script = format!("ulimit -v 3000000; exec '{PROGRAM}' run --progress plain --workers 1");
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", &script]).current_dir(project.dir.path()).env("CAFE_FAIL", "row=exhaust@#7");
        Ran::from(command.env("XDG_STATE_HOME", project.path("state")).output().unwrap())
    };
    let ended = (0..20).map(|_| limited()).find(|ran| ran.code.is_some()).unwrap();
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    let found = quarantine(&project);
    assert!(found.contains(&"collect.scan 00/00007.bmp out_of_memory".to_owned()), "{found:?}");
    project.cafe(&["audit", "--verify"]).ends(0);
}

#[test]
fn a_row_that_hangs() {
    check("hang", "hang", "hang_secs = 1", false);
}

/// The bytes of all other rows are those of a run without any fault.
#[test]
fn the_rows_beside_a_deadly_one_are_what_they_would_be() {
    let calm = Project::new(&manifest(20, ""));
    pictures(&calm, 20, &[]);
    calm.cafe(&["run", "--progress", "none"]).ends(0);
    let deadly = Project::new(&manifest(20, ""));
    pictures(&deadly, 20, &[]);
    until_it_lives(&deadly, "row=abort@#7");
    let rows = |project: &Project| {
        let sql = "SELECT key, reference_id, file_digest FROM scanned WHERE key <> '00/00007.bmp' ORDER BY key";
        Digest::of(project.cafe(&["query", sql, "--format", "csv"]).ends(0).stdout.as_bytes())
    };
    assert_eq!(rows(&calm), rows(&deadly));
}
