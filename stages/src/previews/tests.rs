//! Pictures that are shown, by one process and by several, and what goes wrong with them.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::time::Duration;

use polars::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::testing::world::{images, noise};

fn open(root: &TempDir, n: usize) -> Previews {
    Previews::open(root.path(), vec!["imagine".to_owned(), "draw".to_owned()], n)
}

/// References `rN` of a class.
fn outcome(numbers: Range<u32>, class: &str) -> BatchOutcome {
    let ids: Vec<String> = numbers.clone().map(|number| format!("r{number}")).collect();
    let mut rows = df!("reference_id" => &ids, "class" => vec![class; ids.len()]).unwrap();
    rows.with_column(images(numbers.map(|number| noise(300, number)).collect())).unwrap();
    BatchOutcome { tables: [(tables::REFERENCES.to_owned(), rows)].into(), ..BatchOutcome::default() }
}

fn html(previews: &Previews) -> String {
    fs::read_to_string(previews.page()).unwrap()
}

/// The files that the page shows, in its order; all of them are there.
fn shown(previews: &Previews) -> Vec<PathBuf> {
    let html = html(previews);
    let files = html.split("src=\"").skip(1).map(|rest| previews.folder.join(rest.split('"').next().unwrap()));
    let files: Vec<PathBuf> = files.collect();
    for file in &files {
        assert!(file.is_file(), "{} is not there", file.display());
    }
    files
}

/// The ids that the page shows, in its order.
fn ids(previews: &Previews) -> Vec<String> {
    let about = |file: PathBuf| fs::read_to_string(file.with_extension("txt")).unwrap();
    shown(previews).into_iter().map(|file| about(file).lines().next().unwrap().to_owned()).collect()
}

/// What lies in the folder of a node: the ends of names by their names.
fn files(previews: &Previews, node: &str) -> BTreeSet<(String, String)> {
    let names = fs::read_dir(previews.folder.join(node)).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.map(|name| name.split_once('.').map(|(name, end)| (name.to_owned(), end.to_owned())).unwrap()).collect()
}

#[test]
fn the_newest_are_shown_and_a_bounded_number_stays() {
    let root = TempDir::new().unwrap();
    let previews = open(&root, 3);
    assert_eq!((html(&previews).matches("Nothing yet").count(), shown(&previews).len()), (2, 0));
    previews.show("imagine", &outcome(0..2, "toy")).unwrap();
    assert_eq!(ids(&previews), ["r1", "r0"]);
    previews.show("imagine", &outcome(2..7, "toy")).unwrap();
    previews.show("imagine", &outcome(7..9, "toy")).unwrap();
    assert_eq!(ids(&previews), ["r8", "r7", "r6"]);
    // Of five only the last three were taken, and as many as are shown stay besides.
    let left = files(&previews, "imagine");
    let ends = |end: &str| left.iter().filter(|(_, other)| other == end).count();
    assert_eq!((left.len(), ends("jpg"), ends("txt")), (12, 6, 6), "{left:?}");
    let picture = image::open(&shown(&previews)[0]).unwrap();
    assert_eq!((picture.width(), picture.height()), (256, 256));
    // Another process goes on with what is there.
    assert_eq!(ids(&open(&root, 2)), ["r8", "r7"]);
}

#[test]
fn what_comes_from_data_is_escaped_and_no_path_is_told() {
    let root = TempDir::new().unwrap();
    let previews = open(&root, 3);
    previews.show("draw", &outcome(0..1, "</figure><script>alert(1)</script>{{ 7 * 7 }}")).unwrap();
    let html = html(&previews);
    assert!(html.contains("&lt;script&gt;") && !html.contains("<script") && html.contains("{{ 7 * 7 }}"), "{html}");
    assert!(html.contains("default-src 'none'") && html.contains("http-equiv=\"refresh\""), "{html}");
    assert!(!html.contains(root.path().to_str().unwrap()) && !html.contains("://"), "{html}");
}

#[test]
fn the_work_does_not_wait_for_long() {
    let root = TempDir::new().unwrap();
    let previews = open(&root, 3);
    let later = Instant::now() + Duration::from_secs(3600);
    previews.state.lock().unwrap().next.insert("imagine".to_owned(), later);
    previews.made("imagine", &outcome(0..1, "toy"));
    assert!(shown(&previews).is_empty(), "it was shown too early");
    previews.made("score", &outcome(0..1, "toy"));
    assert!(!previews.folder.join("score").is_dir(), "a node that nobody asked for");
    let began = Instant::now();
    previews.state.lock().unwrap().next.insert("imagine".to_owned(), began);
    previews.made("imagine", &outcome(1..2, "toy"));
    assert_eq!(ids(&previews), ["r1"]);
    assert!(previews.state.lock().unwrap().next["imagine"] > began, "there is no pause");
    // While another thread is at it.
    let state = previews.state.lock().unwrap();
    previews.made("draw", &outcome(2..3, "toy"));
    drop(state);
    assert_eq!(ids(&previews), ["r1"]);
}

#[test]
fn whatever_goes_wrong_harms_nobody() {
    let root = TempDir::new().unwrap();
    fs::write(root.path().join("previews"), "in the way").unwrap();
    let previews = open(&root, 3);
    previews.made("imagine", &outcome(0..1, "toy"));
    assert!(previews.state.lock().unwrap().has_failed);
    // Deleted while it runs: the next ones are shown again.
    fs::remove_file(root.path().join("previews")).unwrap();
    previews.show("imagine", &outcome(1..2, "toy")).unwrap();
    fs::remove_dir_all(&previews.folder).unwrap();
    previews.show("imagine", &outcome(2..3, "toy")).unwrap();
    assert_eq!(ids(&previews), ["r2"]);
    let mut rows = df!("reference_id" => ["a", "b"]).unwrap();
    rows.with_column(images(vec![b"not a picture".to_vec(), noise(20, 1)])).unwrap();
    let scores = df!("reference_id" => ["a"], "sharpness" => [1.0]).unwrap();
    let tables = [(tables::REFERENCES.to_owned(), rows), (tables::SCORES.to_owned(), scores)].into();
    previews.show("imagine", &BatchOutcome { tables, ..BatchOutcome::default() }).unwrap();
    assert_eq!(ids(&previews), ["b", "r2"]);
    // What a person puts there stays, and what a killed process left does not.
    let folder = previews.folder.join("imagine");
    fs::write(folder.join("mine.jpg"), "mine").unwrap();
    fs::write(folder.join("0000000000001-000000000-1.part"), "half").unwrap();
    previews.show("imagine", &outcome(3..6, "toy")).unwrap();
    previews.show("imagine", &outcome(6..9, "toy")).unwrap();
    let left = files(&previews, "imagine");
    assert!(left.iter().any(|(name, _)| name == "mine") && left.iter().all(|(_, end)| end != "part"), "{left:?}");
    assert_eq!(ids(&previews), ["r8", "r7", "r6"]);
}

#[test]
fn several_show_what_they_make_in_one_folder() {
    let root = TempDir::new().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let root = &root;
            scope.spawn(move || {
                let previews = open(root, 3);
                for batch in 0..8 {
                    let first = 100 * thread + 2 * batch;
                    previews.show("imagine", &outcome(first..first + 2, "toy")).unwrap();
                }
            });
        }
    });
    let left = files(&open(&root, 3), "imagine");
    let names: BTreeSet<&String> = left.iter().map(|(name, _)| name).collect();
    assert!((3..=6).contains(&names.len()), "{left:?}");
    assert_eq!(shown(&open(&root, 3)).len(), 3);
}
