//! A publication that was killed, damaged or overtaken is finished by the next attempt, with the same bytes.

use std::fs;

use cafe_pipeline::stage::WorkError;
use serde_json::json;

use super::*;

/// A finished release, and the node that makes it again.
fn finished(config: Value) -> (Bench, NodeDecl, Release) {
    let mut bench = bench(4);
    let release = publish(&mut bench, config.clone());
    let node = nodes(config).remove(1);
    (bench, node, release)
}

#[test]
fn twice_is_as_once() {
    let (bench, node, release) = finished(json!({"file_rows": 4}));
    let modified = |name: &str| fs::metadata(release.folder.join(name)).unwrap().modified().unwrap();
    let before: Vec<_> = release.files.keys().map(|name| modified(name)).collect();
    let again = bench.run(&node).unwrap();
    assert_eq!(again.effects, release.ran.effects);
    assert_eq!(again.tables, release.ran.tables);
    assert_eq!(files_below(&release.folder), release.files);
    // Whole files are kept.
    assert_eq!(release.files.keys().map(|name| modified(name)).collect::<Vec<_>>(), before);
}

#[test]
fn killed_after_any_file_the_next_attempt_ends_with_the_same_bytes() {
    let (bench, node, release) = finished(json!({"file_rows": 4}));
    let mut order: Vec<&String> = release.files.keys().filter(|name| name.starts_with("data/")).collect();
    let last = ["README.md".to_owned(), "release.json".to_owned()];
    order.extend(&last);
    for n_written in 0..=order.len() {
        for partial in [false, true] {
            for name in &order[n_written..] {
                let _ = fs::remove_file(release.folder.join(name));
            }
            if let (true, Some(name)) = (partial, order.get(n_written)) {
                // Under its name (a disk that lied about a sync), and under the temporary one of a dead attempt.
                let half = &release.files[*name][..release.files[*name].len() / 2];
                fs::write(release.folder.join(name), half).unwrap();
                let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
                fs::write(release.folder.join(folder).join(format!(".{file}.0123456789ab.tmp")), half).unwrap();
            }
            let again = bench.run(&node).unwrap();
            assert_eq!(files_below(&release.folder), release.files, "{n_written} {partial}");
            assert_eq!(again.effects, release.ran.effects);
        }
    }
}

#[test]
fn altered_files_are_written_again() {
    let (bench, node, release) = finished(json!({}));
    for name in release.files.keys() {
        let mut bytes = release.files[name].clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(release.folder.join(name), bytes).unwrap();
    }
    // release.json is still JSON with the same content digest, or no JSON at all: both are damage.
    fs::write(release.folder.join("release.json"), b"{").unwrap();
    bench.run(&node).unwrap();
    assert_eq!(files_below(&release.folder), release.files);
}

#[test]
fn another_release_in_the_folder_is_left_alone() {
    let (bench, node, release) = finished(json!({}));
    let mut other = release.json.clone();
    other["content_digest"] = json!("f".repeat(64));
    fs::write(release.folder.join("release.json"), other.to_string()).unwrap();
    fs::write(release.folder.join("README.md"), "theirs").unwrap();
    let error = bench.run(&node).unwrap_err();
    assert!(matches!(&error, WorkError::Systemic(text) if text.contains("another release")), "{error}");
    assert_eq!(fs::read_to_string(release.folder.join("README.md")).unwrap(), "theirs");
}

#[test]
fn a_damaged_input_is_named() {
    let (bench, node, _) = finished(json!({}));
    let shard = bench.context().inputs["quadruplets"][0].clone();
    let path = bench.dir.path().join("data").join(&shard.path);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
    let error = bench.run(&node).unwrap_err();
    assert!(matches!(&error, WorkError::Damaged { path, .. } if *path == shard.path), "{error}");

    let candidates = bench.context().inputs["candidates"][1].clone();
    let node = nodes(json!({})).remove(0);
    let (cafe_pipeline::stage::Bounds::Barrier(lister), cafe_pipeline::stage::Work::Rows(work)) =
        (&node.bounds, &node.work)
    else {
        panic!("{node:?}")
    };
    let context = bench.context();
    let listing = lister.list(&context).unwrap();
    fs::remove_file(bench.dir.path().join("data").join(&candidates.path)).unwrap();
    let error = work.process(&context, &listing).unwrap_err();
    assert!(matches!(&error, WorkError::Damaged { path, .. } if *path == candidates.path), "{error}");
}

#[test]
fn a_listing_of_other_rows_is_refused() {
    let mut bench = bench(4);
    let node = nodes(json!({})).remove(0);
    let (cafe_pipeline::stage::Bounds::Barrier(lister), cafe_pipeline::stage::Work::Rows(work)) =
        (&node.bounds, &node.work)
    else {
        panic!("{node:?}")
    };
    let listing = lister.list(&bench.context()).unwrap();
    bench.put("candidates", vec![candidates().reverse()]);
    let error = work.process(&bench.context(), &listing).unwrap_err().to_string();
    assert!(error.contains("`candidates`"), "{error}");
    bench.put("candidates", Vec::new());
    assert!(work.process(&bench.context(), &listing).is_err());
}

#[test]
fn a_stop_is_heeded() {
    let (bench, node, _) = finished(json!({}));
    let context = bench.context();
    context.cancel.cancel();
    let cafe_pipeline::stage::Work::Whole(work) = &node.work else { panic!("{node:?}") };
    assert!(matches!(work.run(&context), Err(WorkError::Cancelled)));
}

#[test]
fn attempts_at_the_same_time_do_not_disturb_each_other() {
    let (bench, node, release) = finished(json!({"file_rows": 2}));
    let cafe_pipeline::stage::Work::Whole(work) = &node.work else { panic!("{node:?}") };
    for _ in 0..5 {
        fs::remove_dir_all(&release.folder).unwrap();
        let done = std::thread::scope(|scope| {
            let attempts: Vec<_> = (0..4)
                .map(|attempt| {
                    let mut context = bench.context();
                    context.scratch = bench.dir.path().join(format!("scratch-{attempt}"));
                    scope.spawn(move || work.run(&context))
                })
                .collect();
            attempts.into_iter().map(|attempt| attempt.join().unwrap()).collect::<Vec<_>>()
        });
        // Who finds that another has cleaned up after itself tries again.
        assert!(done.iter().any(Result::is_ok));
        assert!(done.iter().all(|done| matches!(done, Ok(_) | Err(WorkError::Transient(_)))), "{done:?}");
        bench.run(&node).unwrap();
        assert_eq!(files_below(&release.folder), release.files);
    }
}
