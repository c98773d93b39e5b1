use cafe_pipeline::digest::Seed;
use cafe_pipeline::stage::{CompileContext, ConfigIssue, ErrorClass, NodeDecl};
use polars::prelude::*;
use serde_json::{Value, json};

use super::compile::compile;
use crate::tables;
use crate::testing::{Bench, Mini, Ran};

fn node(config: Value) -> Result<NodeDecl, Vec<ConfigIssue>> {
    let config = serde_json::from_value(config).unwrap();
    let context = CompileContext::new(std::path::Path::new("."), Seed(7));
    compile(&config, &Mini, &context).map(|mut nodes| nodes.remove(0))
}

fn sid() -> Value {
    json!({ "generator": { "type": "sid", "alphas": [0.3, 0.8], "sampling": { "steps": 3 } } })
}

fn picture(red: u8) -> Vec<u8> {
    let image = image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([red, (x * 4) as u8, (y * 4) as u8]));
    crate::picture::png(&image).unwrap()
}

fn images(files: &[Vec<u8>]) -> Column {
    tables::images(files.iter().map(|bytes| (bytes.as_slice(), "x.png".to_owned()))).unwrap()
}

/// Two references, a pair of each, a w for each pair.
fn bench(donors: &[Vec<u8>]) -> Bench {
    let mut bench = Bench::new();
    let references =
        DataFrame::new(2, vec![Column::new("reference_id".into(), ["r1", "r2"]), images(&[picture(200), picture(20)])]);
    let pairs = df!(
        "pair_id" => ["p1", "p2"], "reference_id" => ["r1", "r2"], "class" => ["toy", "plant"],
        "caption" => ["a toy on a red background", "a plant on a blue background"]
    );
    let ids: Vec<String> = (1..=donors.len()).map(|n| format!("w{n}")).collect();
    let of: Vec<String> = (1..=donors.len()).map(|n| format!("p{n}")).collect();
    let donors = DataFrame::new(
        donors.len(),
        vec![Column::new("w_id".into(), ids), Column::new("pair_id".into(), of), images(donors)],
    );
    bench.put(tables::REFERENCES, vec![references.unwrap()]);
    bench.put(tables::PAIRS, vec![pairs.unwrap()]);
    bench.put(tables::DONORS, vec![donors.unwrap()]);
    bench
}

fn column(ran: &Ran, name: &str) -> Vec<String> {
    let candidates = &ran.tables[tables::CANDIDATES];
    let column = candidates.column(name).unwrap().cast(&DataType::String).unwrap();
    column.str().unwrap().iter().map(|value| value.unwrap_or("null").to_owned()).collect()
}

fn pixels(ran: &Ran) -> Vec<Vec<u8>> {
    let images = ran.tables[tables::CANDIDATES].column("image").unwrap().struct_().unwrap().field_by_name("bytes");
    images.unwrap().binary().unwrap().iter().map(|bytes| bytes.unwrap().to_vec()).collect()
}

#[test]
fn a_row_is_the_same_alone_and_among_others() {
    let node = node(sid()).unwrap();
    let both = bench(&[picture(90), picture(150)]).run(&node).unwrap();
    assert_eq!(column(&both, "w_id"), ["w1", "w1", "w2", "w2"]);
    assert_eq!(column(&both, "alpha"), ["0.3", "0.8", "0.3", "0.8"]);
    assert_eq!(both.tables[tables::CANDIDATES].schema().len(), tables::candidates().columns.len());
    assert_eq!(both.tables[tables::CANDIDATE_REFERENCES].height(), 4);
    // In a sweep nothing changes but α; two rows share no noise.
    let seeds = column(&both, "seed");
    assert!(seeds[0] == seeds[1] && seeds[1] != seeds[2], "{seeds:?}");
    let all = pixels(&both);
    assert!(all[0] != all[1] && all[0] != all[2]);

    let alone = bench(&[picture(90)]).run(&node).unwrap();
    assert_eq!(pixels(&alone), all[..2]);
    assert_eq!(column(&alone, "candidate_id"), column(&both, "candidate_id")[..2]);
}

#[test]
fn a_damaged_w_is_one_row_at_fault() {
    let node = node(sid()).unwrap();
    let mut cut = picture(90);
    cut.truncate(cut.len() / 2);
    let ran = bench(&[cut, picture(150)]).run(&node).unwrap();
    assert_eq!(column(&ran, "w_id"), ["w2", "w2"]);
    let [fault] = ran.quarantined.as_slice() else { panic!("{:?}", ran.quarantined) };
    assert_eq!((fault.row, fault.class), (0, ErrorClass::Corrupt));
    assert!(fault.message.starts_with("w: "), "{}", fault.message);
}

#[test]
fn what_decides_the_images_is_in_the_settings_and_nothing_else() {
    let with = |key: &str, value: Value| {
        let mut config = sid();
        match config.pointer_mut(key.rsplit_once('/').unwrap().0) {
            Some(table) => table[key.rsplit_once('/').unwrap().1] = value,
            None => panic!("{key}"),
        }
        node(config).unwrap().settings
    };
    let usual = node(sid()).unwrap().settings;
    assert_eq!(with("/deadline_secs", json!(5)), usual);
    for (key, value) in [
        ("/samples", json!(2)),
        ("/round", json!(1)),
        ("/generator/alphas", json!([0.3])),
        ("/generator/guidance", json!({ "clip_scale": 3.0 })),
        ("/generator/sampling", json!({ "steps": 4 })),
    ] {
        assert_ne!(with(key, value), usual, "{key}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let config = json!({
        "family": "absent",
        "generator": { "type": "sid", "alphas": [1.5, 0.5, 0.5], "sampling": { "sampler": "dpm-solver++", "eta": 0.5 } }
    });
    let issues = node(config).unwrap_err();
    let places: Vec<&str> = issues.iter().map(|issue| issue.pointer.as_str()).collect();
    let wanted = ["/generator/alphas/0", "/generator/alphas/2", "/generator/sampling/eta", "/family"];
    assert_eq!(places, wanted);
    let none = node(json!({ "generator": { "type": "sid", "alphas": [] } })).unwrap_err();
    assert!(none[0].help.as_ref().unwrap().contains("alphas = ["));
}
