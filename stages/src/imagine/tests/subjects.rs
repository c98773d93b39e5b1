//! The check that an image shows one subject, by detectors that can be seen through.

use std::path::PathBuf;

use cafe_pipeline::manifest::ModelRole;
use cafe_pipeline::stage::{ErrorClass, Work};
use image::RgbImage;

use super::*;
use crate::detect::tests::{folder, quarters};
use crate::models::{ModelStore, NoModel};
use crate::picture;

const RED: [u8; 3] = [255, 0, 0];
const GREEN: [u8; 3] = [0, 255, 0];
const WHITE: [u8; 3] = [255; 3];

/// The mini family, and detectors by the names of their folders.
struct Store;

impl ModelStore for Store {
    fn folder(&self, named: &str, role: ModelRole, context: &CompileContext<'_>) -> Result<PathBuf, NoModel> {
        if role == ModelRole::Detector && named != "absent" {
            return Ok(folder(named));
        }
        Mini.folder(named, role, context)
    }
}

fn nodes(single_subject: Value) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
    let mut config = config(&["ball", "leaf", "sky"], 1);
    config["single_subject"] = single_subject;
    compile(&serde_json::from_value(config).unwrap(), &Store, &CompileContext::new(Path::new("."), Seed(7)))
}

/// A row that was drawn: its class, and the colours of its quarters.
type Drawn = (&'static str, [[u8; 3]; 4]);

const ROWS: [Drawn; 5] = [
    ("ball", [WHITE, RED, WHITE, WHITE]),
    ("ball", [RED, GREEN, WHITE, WHITE]),
    ("leaf", [WHITE, GREEN, GREEN, RED]),
    ("leaf", [WHITE; 4]),
    ("sky", [WHITE; 4]),
];

/// What the last node makes of `rows`.
fn looked(single_subject: Value, rows: &[Drawn]) -> (DataFrame, DataFrame, Vec<(u32, String)>) {
    let node = nodes(single_subject).unwrap().remove(1);
    let n = rows.len();
    let files: Vec<Vec<u8>> = rows.iter().map(|(_, colours)| picture::png(&quarters(*colours)).unwrap()).collect();
    let ids: Vec<String> = (0..n).map(|row| format!("r{row}")).collect();
    let mut drawn = df!(
        "reference_id" => &ids, "file_digest" => &ids, "subject_id" => &ids,
        "class" => rows.iter().map(|(class, _)| *class).collect::<Vec<_>>(),
        "caption" => &ids, "source" => &ids, "licence" => vec![None::<&str>; n], "split" => vec!["train"; n],
        "width_px" => vec![64_u32; n], "height_px" => vec![64_u32; n],
    )
    .unwrap();
    drawn.with_column(tables::images(files.iter().map(Vec::as_slice).zip(ids.iter().cloned())).unwrap()).unwrap();
    let mut bench = Bench::new();
    bench.put("drawn", vec![drawn]);
    let mut ran = bench.run(&node).unwrap();
    assert!(ran.quarantined.iter().all(|row| row.class == ErrorClass::Invalid));
    let mut table = |name: &str| ran.tables.remove(name).unwrap();
    let (references, subjects) = (table(tables::REFERENCES), table(tables::SUBJECTS));
    assert_eq!(**references.schema(), *tables::references().columns);
    assert_eq!(**subjects.schema(), *node.writes[1].columns);
    (references, subjects, ran.quarantined.into_iter().map(|row| (row.row, row.message)).collect())
}

fn ids(rows: &DataFrame) -> Vec<&str> {
    rows.column("reference_id").unwrap().str().unwrap().iter().flatten().collect()
}

#[test]
fn images_are_drawn_by_a_node_of_their_own_and_then_looked_at() {
    let nodes = nodes(json!({ "detector": "detr" })).unwrap();
    let parts: Vec<Option<&str>> = nodes.iter().map(|node| node.part).collect();
    assert_eq!(parts, [Some("draw"), None]);
    let tables: Vec<&str> = nodes.iter().flat_map(|node| &node.writes).map(|table| table.name.as_str()).collect();
    assert_eq!(tables, ["drawn", "references", "subjects"]);
    let alone = node(config(&["ball", "leaf", "sky"], 1)).unwrap();
    assert_eq!((alone.part, &alone.settings), (None, &nodes[0].settings), "what is drawn depends on no detector");
    let Work::Rows(work) = &nodes[1].work else { panic!("images are rows") };
    // Which of the two depends on what the tests were started with.
    assert!(["tract", "onnxruntime"].contains(&work.backend().as_str()));
    // What was drawn is what the other node wants.
    let mut bench = Bench::new();
    bench.run_on(&nodes[0]);
    let ran = bench.run(&nodes[1]).unwrap();
    assert_eq!(ran.tables.get(tables::REFERENCES).map_or(0, DataFrame::height) + ran.quarantined.len(), 3);
}

#[test]
fn an_image_shows_exactly_one_subject() {
    let (references, subjects, quarantined) = looked(json!({ "detector": "detr", "except": ["sky"] }), &ROWS);
    assert_eq!((ids(&references), ids(&subjects)), (vec!["r0", "r4"], vec!["r0", "r4"]));
    let messages = [
        (1, "where one object should be, the detector finds 2: "),
        (2, "where one object should be, the detector finds 3: "),
        (3, "where one object should be, the detector finds nothing"),
    ];
    assert_eq!(quarantined.len(), messages.len(), "{quarantined:?}");
    assert!(quarantined[0].1.contains("red thing 1.00") && quarantined[0].1.contains("green thing 1.00"));
    for ((row, message), (at, wanted)) in quarantined.iter().zip(messages) {
        assert!(*row == at && message.starts_with(wanted), "{row}: {message}");
        assert!(message.ends_with("(single_subject.otherwise = \"keep\" would keep it)"), "{message}");
    }
    let seen = subjects.column("n_subjects").unwrap().u32().unwrap().iter().collect::<Vec<_>>();
    assert_eq!(seen, [Some(1), None], "nobody looks for subjects in the sky");
    let share = subjects.column("largest_share").unwrap().f32().unwrap().get(0).unwrap();
    // The box of the upper right quarter is as wide as the quarter, and 0.4 of the picture high.
    assert!((share - 0.2).abs() < 1e-3, "{share}");
    assert_eq!(subjects.column("largest_label").unwrap().str().unwrap().get(0), Some("red thing"));
    assert!(subjects.column("largest_score").unwrap().f32().unwrap().get(0).unwrap() > 0.99);
}

#[test]
fn only_what_is_called_as_the_class_counts() {
    let keys = json!({
        "detector": "fixed_mask", "labels": { "ball": "red thing", "leaf": "green thing" }, "except": ["sky"]
    });
    let (references, subjects, quarantined) = looked(keys, &ROWS);
    assert_eq!(ids(&references), ["r0", "r1", "r4"], "a leaf beside the ball is no second ball");
    assert_eq!(subjects.column("largest_label").unwrap().str().unwrap().get(1), Some("red thing"));
    assert_eq!(quarantined.len(), 2);
    let several = "where one `green thing` should be, the detector finds 2 among ";
    assert!(quarantined[0].1.starts_with(several), "{quarantined:?}");
    assert!(quarantined[1].1.starts_with("where one `green thing` should be, the detector finds nothing"));
    let swapped = json!({ "detector": "detr", "labels": { "ball": "green thing" } });
    let (_, _, quarantined) = looked(swapped, &ROWS[..1]);
    assert!(quarantined[0].1.contains("`green thing` should be, the detector finds none among red thing 1.00"));
}

#[test]
fn what_is_kept_is_counted() {
    let (references, subjects, quarantined) = looked(json!({ "detector": "detr", "otherwise": "keep" }), &ROWS);
    assert_eq!((references.height(), quarantined.len()), (5, 0));
    let seen: Vec<u32> = subjects.column("n_subjects").unwrap().u32().unwrap().iter().flatten().collect();
    assert_eq!(seen, [1, 2, 3, 0, 0]);
    // The last box is the largest, also without what of it lies beyond the border.
    let share = subjects.column("largest_share").unwrap().f32().unwrap();
    assert!((share.get(2).unwrap() - 0.55 * 0.5).abs() < 1e-3);
    assert_eq!(share.get(3), None);
}

#[test]
fn the_score_that_counts_is_the_models_unless_it_is_named() {
    let pale = [("ball", [WHITE, [255, 100, 100], WHITE, WHITE])];
    let n_kept = |keys: Value| looked(keys, &pale).0.height();
    assert_eq!(n_kept(json!({ "detector": "detr" })), 0, "0.9");
    assert_eq!(n_kept(json!({ "detector": "detr", "min_score": 0.6 })), 1);
    assert_eq!(n_kept(json!({ "detector": "conditional_detr" })), 1, "0.5");
}

#[test]
fn a_row_is_judged_alone_as_among_others() {
    let keys = json!({ "detector": "detr", "otherwise": "keep" });
    let all = looked(keys.clone(), &ROWS).1;
    for (at, row) in ROWS.iter().enumerate() {
        let alone = looked(keys.clone(), std::slice::from_ref(row)).1.drop("reference_id").unwrap();
        assert!(alone.equals_missing(&all.slice(at as i64, 1).drop("reference_id").unwrap()), "{row:?}");
    }
}

#[test]
fn a_damaged_image_is_quarantined() {
    let node = nodes(json!({ "detector": "detr" })).unwrap().remove(1);
    let mut bench = Bench::new();
    let mut drawn = df!("reference_id" => ["r0"], "class" => ["ball"]).unwrap();
    let whole = picture::png(&RgbImage::new(64, 64)).unwrap();
    drawn.with_column(tables::images([(&whole[..whole.len() / 2], "a.png".to_owned())].into_iter()).unwrap()).unwrap();
    let empty = DataFrame::empty_with_schema(&tables::references().columns);
    for name in empty.get_column_names().into_iter().filter(|name| drawn.column(name).is_err()).collect::<Vec<_>>() {
        let dtype = empty.column(name).unwrap().dtype().clone();
        drawn.with_column(Column::full_null(name.clone(), 1, &dtype)).unwrap();
    }
    bench.put("drawn", vec![drawn]);
    let ran = bench.run(&node).unwrap();
    assert_eq!((ran.quarantined[0].class, ran.tables[tables::REFERENCES].height()), (ErrorClass::Corrupt, 0));
}

#[test]
fn settings_hold_what_decides_and_nothing_else() {
    let settings = |keys: Value| nodes(keys).unwrap().remove(1).settings;
    let plain = settings(json!({ "detector": "detr" }));
    assert_eq!(plain, settings(json!({ "detector": "detr", "min_score": 0.9 })), "defaults are filled in");
    for other in [
        json!({ "detector": "fixed_mask" }),
        json!({ "detector": "detr", "min_score": 0.8 }),
        json!({ "detector": "detr", "labels": { "ball": "red thing" } }),
        json!({ "detector": "detr", "except": ["sky"] }),
        json!({ "detector": "detr", "otherwise": "keep" }),
    ] {
        assert_ne!(plain, settings(other.clone()), "{other}");
    }
}

#[test]
fn mistakes_are_told_with_those_of_other_keys() {
    let pointers = |issues: &[ConfigIssue]| issues.iter().map(|issue| issue.pointer.clone()).collect::<Vec<_>>();
    let keys = json!({
        "detector": "detr", "except": ["sky", "sea"], "labels": { "sky": "red thing", "a/b": "red thing", "ball": "cup" }
    });
    let issues = nodes(keys).unwrap_err();
    let wanted =
        ["/except/1", "/labels/a~1b", "/labels/sky", "/labels/ball"].map(|end| format!("/single_subject{end}"));
    assert_eq!(pointers(&issues), wanted);
    let told = issues.last().unwrap();
    assert_eq!(told.message, "the detector has no label `cup`");
    assert!(told.help.as_ref().unwrap().contains("`red thing` and `green thing`"), "{told:?}");
    let mut config = config(&["ball", "ball"], 1);
    config["single_subject"] = json!({ "detector": "absent" });
    let config = serde_json::from_value(config).unwrap();
    let issues = compile(&config, &Store, &CompileContext::new(Path::new("."), Seed(7))).unwrap_err();
    assert_eq!(pointers(&issues), ["/classes/1", "/single_subject/detector"]);
}
