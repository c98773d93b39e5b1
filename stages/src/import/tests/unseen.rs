//! Pictures of a benchmark among pairs.

use super::*;

fn bundled(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/pictures").join(name)).unwrap()
}

#[test]
fn a_pair_with_a_picture_of_a_benchmark_goes_no_further() {
    let mut bench = Bench::new();
    for name in ["elephant", "parrot", "penguin"] {
        put(&bench, &format!("set/{name}.png"), &bundled(&format!("animal/{name}.png")));
    }
    put(&bench, "bench/00.png", &bundled("animal/elephant.png"));
    put(
        &bench,
        "set/metadata.csv",
        b"reference,target,caption\n\
          elephant.png,parrot.png,a parrot\n\
          parrot.png,penguin.png,a penguin\n\
          parrot.png,elephant.png,an elephant\n",
    );
    let mut config = folder();
    config["benchmarks"] = json!([{ "name": "dreambench", "path": "bench" }]);
    let (scanned, made) = import(&mut bench, config);
    let told: Vec<_> = scanned.quarantined.iter().map(|row| (row.row, row.class, row.message.as_str())).collect();
    let [(0, ErrorClass::Benchmark, reference), (2, ErrorClass::Benchmark, target)] = told[..] else {
        panic!("{told:?}")
    };
    assert!(reference.starts_with("reference elephant.png: has the pixels of 00.png of the benchmark"), "{reference}");
    assert!(target.starts_with("target elephant.png: has the pixels of 00.png of the benchmark"), "{target}");
    assert_eq!(made.tables[tables::CANDIDATES].height(), 1);
}

#[test]
fn each_half_of_a_picture_is_looked_at() {
    let mut bench = Bench::new();
    let side = |name: &str| image::load_from_memory(&bundled(name)).unwrap().into_rgb8();
    let mut both = RgbImage::new(128, 64);
    image::imageops::replace(&mut both, &side("animal/parrot.png"), 0, 0);
    image::imageops::replace(&mut both, &side("animal/elephant.png"), 64, 0);
    put(&bench, "set/both.png", &encode(&both));
    put(&bench, "bench/00.png", &encode(&side("animal/elephant.png")));
    put(&bench, "set/metadata.csv", b"reference,caption\nboth.png,an elephant\n");
    let mut config = folder();
    config["layout"] = json!("side_by_side");
    config["benchmarks"] = json!([{ "name": "dreambench", "path": "bench" }]);
    let nodes = compile(bench.dir.path(), config).unwrap();
    let scanned = bench.run_on(&nodes[0]);
    let [row] = &scanned.quarantined[..] else { panic!("{:?}", scanned.quarantined) };
    assert!(row.message.starts_with("target both.png: has the pixels of 00.png"), "{}", row.message);
}

#[test]
fn a_benchmark_that_is_missing_is_refused() {
    let bench = Bench::new();
    sound(&bench);
    let mut config = folder();
    config["benchmarks"] = json!([{ "name": "dreambench", "path": "nowhere" }]);
    let issues = compile(bench.dir.path(), config).unwrap_err();
    assert!(issues.len() == 1 && issues[0].starts_with("/benchmarks/0/path: there is no folder "), "{issues:?}");
}
