//! Any number of workers, in any order, in any parts: the same bytes, each row once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cafe_pipeline::executor::{Ending, Event, Onlooker, RunOptions};
use cafe_pipeline::plan::explain;
use cafe_pipeline::stage::{BatchOutcome, Cancel};

use crate::support::lab::{Lab, manifest, options, sample, watch};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_workers_changes_no_byte() {
    let one = Lab::new(manifest(100, 7, ""));
    assert_eq!(one.run(options(1)).await.exit_code(), 0);
    let dataset = one.dataset().await;
    // 15 shards of count and square, those of 50 evens, one total.
    assert_eq!(dataset.len(), 15 + 15 + 8 + 1);
    assert_eq!(one.treated.take(), 100);

    let many = Lab::new(manifest(100, 7, "journal = true"));
    let (first, second) = tokio::join!(many.run(options(3)), many.run(options(2)));
    assert_eq!((first.exit_code(), second.exit_code()), (0, 0));
    assert_eq!(many.dataset().await, dataset);
    assert_eq!(many.treated.take(), 100, "a row was treated twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_and_stages_make_the_same_bytes() {
    let whole = Lab::new(manifest(60, 5, ""));
    whole.run(options(1)).await;

    let parts = Lab::new(manifest(60, 5, ""));
    let only = |stage: &str, part| RunOptions { stage: Some(stage.to_owned()), part, ..options(1) };
    let early = parts.run(only("square", None)).await;
    assert!(matches!(early.ending, Ending::Blocked(_)), "{early:?}");
    assert_eq!(early.exit_code(), 75);
    for part in [2, 0, 1] {
        let report = parts.run(only("count", Some((part, 3)))).await;
        assert_eq!(report.ending, Ending::Done);
    }
    let report = parts.run(only("count", Some((0, 3)))).await;
    assert_eq!(report.nodes[0].n_committed, 12);
    for stage in ["square", "even", "total"] {
        assert_eq!(parts.run(only(stage, None)).await.ending, Ending::Done);
    }
    assert_eq!(parts.dataset().await, whole.dataset().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_equally_deep_stages_the_one_with_more_to_come_goes_first() {
    // `side` is written down first, and nothing is made of what it makes.
    let lab = Lab::new(manifest(40, 4, "").replace(
        "[[stage]]\nkind = \"square\"",
        "[[stage]]\nkind = \"square\"\nname = \"side\"\nneeds = [\"count\"]\nplus = 1\n[[stage]]\nkind = \"square\"",
    ));
    let project = lab.local().await;
    let (report, events) = watch(&project, options(1), Cancel::default()).await;
    assert_eq!(report.unwrap().exit_code(), 0);
    project.catalog.close().await;
    // With one worker, rows are finished in the order in which shards were begun.
    let (mut n_side, mut n_square) = (0_u64, 0_u64);
    for event in &events {
        match event {
            Event::Rows { node, n_rows } if node == "side" => n_side += *n_rows,
            Event::Rows { node, n_rows } if node == "square" => n_square += *n_rows,
            _ => {}
        }
        assert!(n_side <= n_square, "{n_side} of side, {n_square} of square");
    }
    assert_eq!((n_side, n_square), (40, 40));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_setting_makes_again_what_depends_on_it_and_going_back_costs_nothing() {
    let mut lab = Lab::new(manifest(40, 5, "plus = 0"));
    lab.run(options(2)).await;
    let before = lab.dataset().await;
    lab.treated.take();

    lab.manifest = manifest(40, 5, "plus = 2");
    let project = lab.local().await;
    let last = project.catalog.current_plan().await.unwrap().unwrap();
    let explanation = explain(&project.plan, &last, &project.catalog.progress().await.unwrap());
    let changes: Vec<&str> = explanation.changes.iter().map(|change| change.pointer.as_str()).collect();
    assert_eq!(changes, ["/settings/plus"]);
    let stale: Vec<&str> = explanation.stale.iter().map(|stale| stale.node.as_str()).collect();
    assert_eq!(stale, ["square", "even", "total"]);
    project.catalog.close().await;

    assert_eq!(lab.run(options(2)).await.exit_code(), 0);
    assert_eq!(lab.treated.take(), 40);
    let after = lab.dataset().await;
    for (key, digest) in &before {
        assert_eq!(after.get(key) == Some(digest), key.0 == "numbers", "{key:?}");
    }

    lab.manifest = manifest(40, 5, "plus = 0");
    lab.run(options(2)).await;
    assert_eq!(lab.treated.take(), 0, "shards of the plan before were made again");
    assert_eq!(lab.dataset().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_added_make_new_shards_only() {
    let mut lab = Lab::new(manifest(40, 5, ""));
    lab.run(options(1)).await;
    lab.treated.take();
    lab.manifest = manifest(52, 5, "");
    assert_eq!(lab.run(options(1)).await.exit_code(), 0);
    assert_eq!(lab.treated.take(), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preview_goes_through_all_stages_and_its_costly_rows_are_kept() {
    let lab = Lab::new(manifest(100, 10, "journal = true"));
    let report = lab.run(sample(8)).await;
    assert_eq!(report.exit_code(), 0);
    assert_eq!(lab.treated.take(), 8);
    assert_eq!(report.nodes.last().unwrap().n_committed, 1);

    lab.run(options(1)).await;
    assert_eq!(lab.treated.take(), 92, "rows of the preview were treated again");
    let whole = Lab::new(manifest(100, 10, ""));
    whole.run(options(1)).await;
    assert_eq!(lab.dataset().await, whole.dataset().await);
    assert!(
        !lab.data().join("journal").is_dir()
            || std::fs::read_dir(lab.data().join("journal"))
                .unwrap()
                .all(|folder| { std::fs::read_dir(folder.unwrap().path()).unwrap().next().is_none() })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_at_fault_are_quarantined_and_too_many_stop_the_stage() {
    let lab = Lab::new(manifest(100, 10, "refuse = [3, 50, 51]"));
    let report = lab.run(options(2)).await;
    assert_eq!((report.exit_code(), report.n_quarantined()), (4, 3));
    let project = lab.local().await;
    let rows = project.catalog.quarantine().await.unwrap();
    let found: Vec<_> = rows.iter().map(|row| (row.shard_index, row.row.row, row.row.row_id.as_str())).collect();
    assert_eq!(found, [(0, 3, "r000003"), (5, 0, "r000050"), (5, 1, "r000051")]);
    assert_eq!(rows[0].row.message, "3 is refused");
    project.catalog.close().await;

    let all: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let lab = Lab::new(manifest(100, 10, &format!("refuse = [{}]", all.join(", "))));
    let report = lab.run(options(1)).await;
    assert_eq!(report.stopped[0].0, "square");
    assert!(report.stopped[0].1.contains("max_quarantine"), "{:?}", report.stopped);
    assert_eq!(report.exit_code(), 4);
    // What is left is not lost: with the fault repaired, it goes on.
    let lab = Lab { manifest: manifest(100, 10, ""), ..lab };
    assert_eq!(lab.run(options(1)).await.exit_code(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_run_goes_on_where_it_stood() {
    let lab = Lab::new(manifest(400, 4, ""));
    let project = lab.local().await;
    let cancel = Cancel::default();
    let stop = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(60)).await;
        stop.cancel();
    });
    let (report, events) = watch(&project, options(2), cancel).await;
    let report = report.unwrap();
    assert_eq!((report.ending.clone(), report.exit_code()), (Ending::Interrupted, 130));
    assert!(report.n_pending() > 0 && events.iter().any(|event| matches!(event, Event::Stopping { .. })));
    assert!(project.catalog.workers().await.unwrap().is_empty(), "a worker stayed registered");
    project.catalog.close().await;
    assert_eq!(lab.run(options(2)).await.exit_code(), 0);
    assert_eq!(lab.treated.take(), 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_made_again_when_it_is_met() {
    let lab = Lab::new(manifest(30, 5, ""));
    let only = |stage: &str| RunOptions { stage: Some(stage.to_owned()), ..options(1) };
    lab.run(only("count")).await;
    let project = lab.local().await;
    let file = project.catalog.files().await.unwrap().remove(2);
    std::fs::write(lab.data().join(&file.path), b"PAR1").unwrap();
    let (report, events) = watch(&project, options(1), Cancel::default()).await;
    assert_eq!(report.unwrap().exit_code(), 0);
    assert!(events.iter().any(|event| matches!(event, Event::Damaged { path, .. } if *path == file.path)));
    project.catalog.close().await;
    assert_eq!(Arc::new(lab.dataset().await).len(), 6 + 6 + 3 + 1);
}

/// Counts the rows that it is shown, and falls over.
#[derive(Debug, Default)]
struct Clumsy(Mutex<Vec<(String, usize)>>);

impl Onlooker for Clumsy {
    fn made(&self, node: &str, outcome: &BatchOutcome) {
        let n_rows = outcome.tables.values().map(|rows| rows.height()).sum();
        self.0.lock().unwrap().push((node.to_owned(), n_rows));
        panic!("the onlooker fell over");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_onlooker_sees_each_journaled_row_once_and_changes_nothing() {
    let alone = Lab::new(manifest(50, 7, "journal = true"));
    alone.run(options(2)).await;
    let watched = Lab::new(manifest(50, 7, "journal = true"));
    let clumsy = Arc::new(Clumsy::default());
    let watching = || RunOptions { onlooker: Some(clumsy.clone()), ..options(2) };
    assert_eq!(watched.run(watching()).await.exit_code(), 0);
    assert_eq!(watched.dataset().await, alone.dataset().await);
    // Batches of four, in shards of seven.
    let seen = std::mem::take(&mut *clumsy.0.lock().unwrap());
    assert!(seen.iter().all(|(node, n_rows)| node == "square" && *n_rows <= 4), "{seen:?}");
    assert_eq!(seen.iter().map(|(_, n_rows)| n_rows).sum::<usize>(), 50);
    // What is there is not made again, and not shown again.
    watched.run(watching()).await;
    assert!(clumsy.0.lock().unwrap().is_empty());
}
