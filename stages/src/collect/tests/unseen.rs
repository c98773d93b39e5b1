//! Pictures of a benchmark among those that are collected.

use cafe_pipeline::catalog::{QuarantineEntry, QuarantineRow};
use image::imageops::{FilterType, resize};

use super::*;

fn bundled(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/pictures").join(name)).unwrap()
}

fn half(bytes: &[u8]) -> Vec<u8> {
    let picture = image::load_from_memory(bytes).unwrap().into_rgba8();
    let mut half = Cursor::new(Vec::new());
    resize(&picture, 32, 32, FilterType::Triangle).write_to(&mut half, ImageFormat::Png).unwrap();
    half.into_inner()
}

fn guarded(path: &str) -> Value {
    let mut config = folder(json!({}));
    config["benchmarks"] = json!([{ "name": "dreambench", "path": path }]);
    config
}

#[test]
fn a_copy_goes_no_further_and_its_original_is_named() {
    let mut bench = Bench::new();
    let elephant = bundled("animal/elephant.png");
    put(&bench, "bench/dog/00.png", &elephant);
    put(&bench, "bench/dog/01.png", &bundled("animal/penguin.png"));
    for (name, bytes) in [("a.png", half(&elephant)), ("b.png", bundled("animal/parrot.png")), ("c.png", elephant)] {
        put(&bench, &format!("pets/{name}"), &bytes);
    }
    let (scanned, made) = collect(&mut bench, guarded("bench"));
    let told: Vec<_> = scanned.quarantined.iter().map(|row| (row.row, row.class, row.message.as_str())).collect();
    let [(0, ErrorClass::Benchmark, near), (2, ErrorClass::Benchmark, same)] = told[..] else { panic!("{told:?}") };
    assert!(near.starts_with("nearly equals dog/00.png of the benchmark dreambench"), "{near}");
    assert!(same.starts_with("has the pixels of dog/00.png") && same.contains("distance 0, "), "{same}");
    assert_eq!(made.tables["references"].height(), 1);
}

#[test]
fn only_the_scan_depends_on_benchmarks_and_only_where_there_are_some() {
    let bench = Bench::new();
    put(&bench, "bench/00.png", &png(1));
    put(&bench, "pets/a.png", &png(2));
    let plain = compile(bench.dir.path(), folder(json!({}))).unwrap();
    let guarded = compile(bench.dir.path(), guarded("bench")).unwrap();
    assert_eq!(plain[0].settings.get("benchmarks"), None);
    assert_eq!(guarded[0].settings["benchmarks"]["distance"], 10);
    assert_eq!(plain[1].settings, guarded[1].settings);
}

#[test]
fn what_is_refused_keeps_the_barrier_closed_and_changes_no_settings() {
    let mut bench = Bench::new();
    let elephant = bundled("animal/elephant.png");
    put(&bench, "bench/00.png", &elephant);
    put(&bench, "pets/a.png", &half(&elephant));
    put(&bench, "pets/b.png", &bundled("animal/parrot.png"));
    let lenient = compile(bench.dir.path(), guarded("bench")).unwrap();
    let mut config = guarded("bench");
    config["benchmarks"][0]["on_match"] = json!("refuse");
    let strict = compile(bench.dir.path(), config).unwrap();
    assert_eq!((&lenient[0].settings, &lenient[1].settings), (&strict[0].settings, &strict[1].settings));

    let scanned = bench.run_on(&strict[0]);
    let [row] = &scanned.quarantined[..] else { panic!("{:?}", scanned.quarantined) };
    let row = QuarantineRow { row: 0, row_id: "a.png".to_owned(), class: row.class, message: row.message.clone() };
    let found = [QuarantineEntry { node: "collect.scan".to_owned(), shard_index: 0, row }];
    let objection = |node: &NodeDecl| {
        let Bounds::Barrier(lister) = &node.bounds else { panic!("{:?}", node.bounds) };
        lister.objection(&found)
    };
    assert_eq!(objection(&lenient[1]), None);
    let message = objection(&strict[1]).unwrap();
    assert!(message.starts_with("1 row kept out for the benchmark dreambench: a.png; take them out"), "{message}");
}

#[test]
fn a_benchmark_that_is_missing_or_collected_is_refused() {
    let bench = Bench::new();
    put(&bench, "pets/bench/00.png", &png(1));
    for (path, wanted) in [("nowhere", "there is no folder"), ("pets/bench", "has the pictures of dreambench")] {
        let issues = compile(bench.dir.path(), guarded(path)).unwrap_err();
        assert_eq!(issues.len(), 1, "{issues:?}");
        assert!(issues[0].starts_with("/benchmarks/0/path: ") && issues[0].contains(wanted), "{issues:?}");
    }
}
