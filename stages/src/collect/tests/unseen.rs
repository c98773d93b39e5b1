//! Pictures of a benchmark among those that are collected.

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
fn a_benchmark_that_is_missing_or_collected_is_refused() {
    let bench = Bench::new();
    put(&bench, "pets/bench/00.png", &png(1));
    for (path, wanted) in [("nowhere", "there is no folder"), ("pets/bench", "has the pictures of dreambench")] {
        let issues = compile(bench.dir.path(), guarded(path)).unwrap_err();
        assert_eq!(issues.len(), 1, "{issues:?}");
        assert!(issues[0].starts_with("/benchmarks/0/path: ") && issues[0].contains(wanted), "{issues:?}");
    }
}
