//! What a release holds, and what it is named by.

use cafe_pipeline::catalog::Effect;
use cafe_pipeline::digest::Digest;
use serde_json::{Value, json};

use super::*;

#[test]
fn candidates_come_with_all_that_belongs_to_them() {
    let mut bench = bench(4);
    let release = publish(&mut bench, json!({}));
    assert_digests(&release);
    let rows = release.all_rows();
    // 24 candidates, every third rejected; train first, then val, each in the order of the table.
    assert_eq!(rows.height(), 16);
    let split = |row: usize| row / 2 % 3 == 2;
    let mut expected: Vec<usize> = (0..24).filter(|row| row % 3 != 2).collect();
    expected.sort_by_key(|row| split(*row));
    let ids: Vec<String> = expected.iter().map(|row| format!("c{row:02}")).collect();
    assert_eq!(column(&rows, "candidate_id"), ids);
    let of = |text: fn(usize) -> String| expected.iter().map(|row| text(*row)).collect::<Vec<String>>();
    assert_eq!(column(&rows, "pair_id"), of(|row| format!("p{row:02}")));
    assert_eq!(column(&rows, "reference_id"), of(|row| format!("r{:02}", row / 2)));
    assert_eq!(column(&rows, "subject_id"), of(|row| format!("s{}", row / 4)));
    assert_eq!(column(&rows, "y"), of(|row| format!("Put it on beach {row}: \"there\".")));
    assert_eq!(column(&rows, "y_tilde"), of(|_| "-".to_owned()));
    assert_eq!(column(&rows, "caption"), of(|row| format!("on beach {row}")));
    assert_eq!(column(&rows, "split"), of(|row| if row / 2 % 3 == 2 { "val" } else { "train" }.to_owned()));
    for (name, picture) in
        [("reference_image", (|row| png(row / 2)) as fn(usize) -> Vec<u8>), ("target_image", |row| png(100 + row))]
    {
        let images = rows.column(name).unwrap().struct_().unwrap().clone();
        let bytes = images.field_by_name("bytes").unwrap();
        let found: Vec<Vec<u8>> = bytes.binary().unwrap().iter().map(|bytes| bytes.unwrap().to_vec()).collect();
        assert_eq!(found, expected.iter().map(|row| picture(*row)).collect::<Vec<_>>());
        let paths = images.field_by_name("path").unwrap();
        assert!(paths.str().unwrap().iter().all(|path| !path.unwrap().contains('/')));
    }
    let numbers =
        |name: &str| rows.column(name).unwrap().f64().unwrap().iter().map(Option::unwrap).collect::<Vec<f64>>();
    assert_eq!(numbers("alpha"), expected.iter().map(|row| *row as f64 / 30.0).collect::<Vec<_>>());
    // To the last bit, although they went through a listing.
    assert_eq!(numbers("score_clip"), expected.iter().map(|row| *row as f64 / 70.0).collect::<Vec<_>>());
    let sharpness: Vec<f64> = expected.iter().map(|row| 1.0 / ((row / 2) as f64 + 3.0)).collect();
    assert_eq!(numbers("score_reference_sharpness"), sharpness);
    let seeds: Vec<u64> = rows.column("seed").unwrap().u64().unwrap().iter().map(Option::unwrap).collect();
    assert_eq!(seeds, expected.iter().map(|row| u64::MAX - *row as u64).collect::<Vec<_>>());
}

#[test]
fn release_json_says_what_was_counted() {
    let mut bench = bench(4);
    let release = publish(&mut bench, json!({"release": "cafe-mini", "card": {"title": "Cafe"}}));
    let json = &release.json;
    assert_eq!(json["format"], "cafe-data-release/v1");
    assert_eq!(json["name"], "cafe-mini");
    assert_eq!(json["n_rows"], 16);
    assert_eq!(json["warnings"], json!([]));
    assert_eq!(
        json["rows"],
        json!({"considered": 24, "accepted": 16, "published": 16, "quarantined": 0, "rejected": {"clip >= 0.3": 8}})
    );
    assert_eq!(json["splits"], json!({"train": 12, "val": 4}));
    assert_eq!(json["generators"], json!({"sid": 16}));
    assert_eq!(json["weights_digests"], json!({"wwwwwwww": 16}));
    assert_eq!(json["rounds"], json!({"1": 16}));
    assert_eq!(json["thresholds"], json!(["clip >= 0.3"]));
    assert_eq!(json["card"], json!({"title": "Cafe"}));
    assert_eq!(json["provenance"]["seed"], 7);
    assert_eq!(json["provenance"]["tables"]["pairs"]["n_rows"], 24);
    let licences = json["licences"].as_object().unwrap();
    assert_eq!(licences.values().map(|n| n.as_u64().unwrap()).sum::<u64>(), 16);
    assert!(licences.contains_key("(none)"));
    assert_eq!(json["scores"]["clip"]["max"], json!(22.0 / 70.0));
    let digest = json["content_digest"].as_str().unwrap();
    assert_eq!(release.id(), format!("cafe-mini-{}", &digest[..8]));
    assert!(release.folder.ends_with(format!("releases/{}", release.id())));
}

#[test]
fn the_catalog_is_told_of_release_and_units() {
    let mut bench = bench(4);
    let release = publish(&mut bench, json!({}));
    let [Effect::Release(record), Effect::Quadruplets(units)] = release.ran.effects.as_slice() else {
        panic!("{:?}", release.ran.effects)
    };
    assert_eq!(record.release_id, release.id());
    assert_eq!(record.digest, Digest::of(&release.files["release.json"]));
    assert_eq!(record.n_rows, 16);
    assert_eq!(record.summary["rows"], release.json["rows"]);
    let ids = column(&release.packed.tables["quadruplets"], "quadruplet_id");
    assert_eq!(units.iter().map(|unit| unit.quadruplet_id.clone()).collect::<Vec<_>>(), ids);
    assert!(units.iter().all(|unit| unit.release_id == release.id() && unit.round == 1));
    let row = &release.ran.tables["releases"];
    assert_eq!(column(row, "digest"), [record.digest.to_hex()]);
    let inputs: Value = serde_json::from_str(&column(row, "inputs")[0]).unwrap();
    assert_eq!(inputs["candidates"].as_array().unwrap().len(), 3);
    assert_eq!(row.schema().as_ref(), nodes(json!({}))[1].writes[0].columns.as_ref());
}

#[test]
fn the_cut_into_shards_changes_no_byte() {
    let releases: Vec<Release> = [1, 3, 5, 12]
        .into_iter()
        .map(|k| {
            let mut bench = bench(k);
            let nodes = nodes(json!({"file_rows": 4}));
            let packed = bench.run_on(&nodes[0]);
            bench.put("quadruplets", shards(&packed.tables["quadruplets"], 2 * k));
            let ran = bench.run(&nodes[1]).unwrap();
            Release::read(&bench, packed, ran)
        })
        .collect();
    for release in &releases {
        assert_eq!(release.files, releases[0].files);
        assert_eq!(release.packed.tables, releases[0].packed.tables);
        assert_digests(release);
    }
}

#[test]
fn packed_rows_have_the_declared_columns_and_depend_on_themselves_only() {
    let bench = bench(4);
    let node = &nodes(json!({}))[0];
    let whole = bench.run(node).unwrap().tables.remove("quadruplets").unwrap();
    assert_eq!(whole.schema().as_ref(), node.writes[0].columns.as_ref());
    let (cafe_pipeline::stage::Bounds::Barrier(lister), cafe_pipeline::stage::Work::Rows(work)) =
        (&node.bounds, &node.work)
    else {
        panic!("{node:?}")
    };
    let context = bench.context();
    let listing = lister.list(&context).unwrap();
    for row in [0, 7, 15] {
        let made = work.process(&context, &listing.slice(row, 1)).unwrap();
        let made = made.tables["quadruplets"].drop(cafe_pipeline::stage::ROW).unwrap();
        assert!(made.equals_missing(&whole.slice(row, 1)), "{row}");
    }
}

#[test]
fn splits_and_limits_make_files() {
    let mut bench = bench(4);
    let release = publish(&mut bench, json!({"file_rows": 3}));
    let names: Vec<&str> = release.files.keys().map(String::as_str).collect();
    let expected = [
        "README.md",
        "data/train-00000-of-00004.parquet",
        "data/train-00001-of-00004.parquet",
        "data/train-00002-of-00004.parquet",
        "data/train-00003-of-00004.parquet",
        "data/val-00000-of-00002.parquet",
        "data/val-00001-of-00002.parquet",
        "release.json",
    ];
    assert_eq!(names, expected);
    assert_eq!(release.rows("data/train-00003-of-00004.parquet").height(), 3);
    assert_eq!(column(&release.rows("data/val-00001-of-00002.parquet"), "split"), ["val"]);
    // Other files, another release.
    let other = publish(&mut bench, json!({"max_file_bytes": 1}));
    assert_eq!(other.files.len(), 16 + 2);
    assert_ne!(other.id(), release.id());
    assert_digests(&other);
}

#[test]
fn the_same_rows_make_the_same_bytes_as_in_earlier_versions() {
    // When this fails, raise the output version: releases that are out there must not be made anew under their names.
    let release = publish(&mut bench(4), json!({"card": {"title": "golden"}}));
    let digests: Vec<&str> =
        release.json["files"].as_array().unwrap().iter().map(|file| file["digest"].as_str().unwrap()).collect();
    let found: Vec<&str> = digests
        .into_iter()
        .chain([release.json["content_digest"].as_str().unwrap()])
        .map(|digest| &digest[..16])
        .collect();
    assert_eq!(found, ["795e49fb7b12f35d", "af0114f85ceee213", "b1638c05bbdfa3a0", "3c49773a45f1a4ea"]);
}

#[test]
fn what_a_release_says_decides_its_name() {
    let mut bench = bench(4);
    let ids: Vec<String> = [
        json!({}),
        json!({"card": {"description": "other words"}}),
        json!({"scores": false}),
        json!({"scores": ["clip"]}),
        json!({"require_licence": true}),
    ]
    .into_iter()
    .map(|config| publish(&mut bench, config).id().to_owned())
    .collect();
    let distinct: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len());
    assert_eq!(publish(&mut bench, json!({})).id(), ids[0]);
}
