//! Pairs from folders and Parquet files, good and bad.

mod unseen;

use std::io::Cursor;
use std::path::Path;

use cafe_pipeline::digest::{Digest, Seed};
use cafe_pipeline::frame;
use cafe_pipeline::stage::{CompileContext, ErrorClass, NodeDecl, StageDecl, StageKind, WorkError};
use image::{ImageFormat, Rgb, RgbImage};
use polars::prelude::*;
use serde_json::{Value, json};

use super::ImportKind;
use crate::picture::{Alpha, Limits, Picture};
use crate::source::image_bytes;
use crate::tables;
use crate::testing::{Bench, Ran};

fn encode(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn picture(hue: u8) -> RgbImage {
    RgbImage::from_fn(24, 20, |x, y| Rgb([hue, (x * 9) as u8, (y * 11) as u8]))
}

fn png(hue: u8) -> Vec<u8> {
    encode(&picture(hue))
}

/// Two pictures in one, with a white frame and bar.
fn side_by_side(left: u8, right: u8, padding: u32) -> Vec<u8> {
    let mut both = RgbImage::from_pixel(48 + 3 * padding, 20 + 2 * padding, Rgb([255; 3]));
    image::imageops::replace(&mut both, &picture(left), padding.into(), padding.into());
    image::imageops::replace(&mut both, &picture(right), (24 + 2 * padding).into(), padding.into());
    encode(&both)
}

fn put(bench: &Bench, path: &str, bytes: &[u8]) {
    let path = bench.dir.path().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn compile(folder: &Path, config: Value) -> Result<Vec<NodeDecl>, Vec<String>> {
    let context = CompileContext::new(folder, Seed(7));
    ImportKind
        .compile(&StageDecl { name: "import".to_owned(), config }, &context)
        .map_err(|issues| issues.into_iter().map(|issue| format!("{}: {}", issue.pointer, issue.message)).collect())
}

/// Runs both nodes.
fn import(bench: &mut Bench, config: Value) -> (Ran, Ran) {
    let nodes = compile(bench.dir.path(), config).unwrap();
    (bench.run_on(&nodes[0]), bench.run_on(&nodes[1]))
}

fn listing_error(bench: &Bench, config: Value) -> String {
    match bench.run(&compile(bench.dir.path(), config).unwrap()[0]) {
        Err(WorkError::Systemic(message)) => message,
        other => panic!("{other:?}"),
    }
}

fn texts(rows: &DataFrame, name: &str) -> Vec<String> {
    rows.column(name).unwrap().str().unwrap().iter().map(|text| text.unwrap_or("-").to_owned()).collect()
}

fn bytes(rows: &DataFrame) -> Vec<Vec<u8>> {
    let images = image_bytes(rows.column("image").unwrap()).unwrap();
    images.iter().map(|bytes| bytes.unwrap().to_vec()).collect()
}

fn id_of(bytes: &[u8]) -> String {
    Picture::decode(bytes, &Limits::default(), Alpha::Keep).ok().unwrap().reference_id()
}

fn folder() -> Value {
    json!({ "source": { "type": "folder", "path": "set" } })
}

/// A folder of four sound pairs over two references, one of them twice.
fn sound(bench: &Bench) {
    for hue in 1..=5 {
        put(bench, &format!("set/{hue}.png"), &png(hue));
    }
    put(bench, "set/copy-of-1.png", &png(1));
    put(
        bench,
        "set/metadata.csv",
        b"reference,target,instruction,caption,class,license\n\
          1.png,3.png,\"Put it on a beach, please\",a dog on a beach,dog,CC0\n\
          2.png,4.png,,a cat asleep,cat,\n\
          copy-of-1.png,5.png,Paint it,a painted dog,dog,CC0\n\
          1.png,3.png,\"Put it on a beach, please\",a dog on a beach,dog,CC0\n\
          1.png,4.png,\"Put it on a beach, please\",a dog on a beach,dog,CC0\n",
    );
}

#[test]
fn a_reference_stands_once_with_all_its_pairs() {
    let mut bench = Bench::new();
    sound(&bench);
    let (scanned, made) = import(&mut bench, folder());
    assert!(scanned.quarantined.is_empty(), "{:?}", scanned.quarantined);
    let [references, pairs, candidates, links] =
        ["references", "pairs", "candidates", "candidate_references"].map(|name| &made.tables[name]);
    assert_eq!(texts(references, "reference_id"), [id_of(&png(1)), id_of(&png(2))]);
    assert_eq!(bytes(references), [png(1), png(2)], "the files' own bytes are kept");
    assert_eq!(texts(references, "licence"), ["CC0", "-"]);
    // Two targets for the same words are one pair with two candidates.
    assert_eq!(texts(pairs, "caption"), ["a dog on a beach", "a painted dog", "a cat asleep"]);
    assert_eq!(texts(pairs, "instruction"), ["Put it on a beach, please", "Paint it", "a cat asleep"]);
    assert_eq!(bytes(candidates), [png(3), png(5), png(4), png(4)]);
    assert_eq!(texts(candidates, "generator"), ["import"; 4]);
    assert_eq!(texts(links, "candidate_id"), texts(candidates, "candidate_id"));
    let mut ids = texts(candidates, "candidate_id");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    // Every id leads to a row.
    for id in texts(candidates, "pair_id") {
        assert!(texts(pairs, "pair_id").contains(&id));
    }
    for id in texts(pairs, "reference_id").into_iter().chain(texts(links, "reference_id")) {
        assert!(texts(references, "reference_id").contains(&id));
    }
    assert_eq!(made.duplicates.len(), 1);
    assert_eq!(made.duplicates[0].of, "1.png:3.png:1");
}

#[test]
fn tables_have_the_columns_that_are_declared() {
    let mut bench = Bench::new();
    sound(&bench);
    let (_, made) = import(&mut bench, folder());
    for decl in [tables::references(), tables::pairs(), tables::candidates(), tables::candidate_references()] {
        let found = made.tables[&decl.name].schema().clone();
        for (name, dtype) in decl.columns.iter() {
            assert_eq!(found.get(name), Some(dtype), "{}.{name}", decl.name);
        }
    }
}

/// A change here makes all users' imports stale: raise OUTPUT_VERSION, and write the new digest down.
#[test]
fn bytes_do_not_change_without_a_new_version() {
    let mut bench = Bench::new();
    sound(&bench);
    let (_, made) = import(&mut bench, folder());
    let digests: String = made
        .tables
        .into_values()
        .map(|mut rows| Digest::of(&frame::to_parquet(&mut rows, &[]).unwrap()).to_hex())
        .collect();
    assert_eq!(
        (super::OUTPUT_VERSION, Digest::of(digests.as_bytes()).to_hex().as_str()),
        (1, "05f50e122a707c294691e3ffdb716b70fb47ae1fa2c4e491e896bc1e9c758337")
    );
}

#[test]
fn what_is_wrong_with_a_pair_is_named() {
    let mut bench = Bench::new();
    put(&bench, "secret.png", &png(9));
    put(&bench, "set/1.png", &png(1));
    put(&bench, "set/2.png", &png(2));
    put(&bench, "set/broken.png", &png(3)[..60]);
    put(&bench, "set/empty.png", b"");
    let rows: [(Value, Value, &str); 7] = [
        (json!("1.png"), json!("2.png"), "words"),
        (json!("../secret.png"), json!("2.png"), "words"),
        (json!("1.png"), json!("/etc/hostname"), "words"),
        (json!("1.png"), json!("gone.png"), "words"),
        (json!("1.png"), json!("broken.png"), "words"),
        (json!("empty.png"), json!("2.png"), "words"),
        (json!("1.png"), json!("2.png"), " "),
    ];
    let lines = rows.map(|(reference, target, caption)| {
        json!({ "reference": reference, "target": target, "caption": caption }).to_string()
    });
    put(&bench, "set/metadata.jsonl", lines.join("\n").as_bytes());
    let (scanned, made) = import(&mut bench, folder());
    let faults: Vec<_> = scanned.quarantined.iter().map(|row| (row.row, row.class)).collect();
    let (unreadable, corrupt) = (ErrorClass::Unreadable, ErrorClass::Corrupt);
    assert_eq!(
        faults,
        [(1, unreadable), (2, unreadable), (3, unreadable), (4, corrupt), (5, corrupt), (6, ErrorClass::Invalid)]
    );
    let message = |at: usize| scanned.quarantined[at].message.as_str();
    assert_eq!(message(0), "metadata.jsonl, line 2: `../secret.png` leads out of the folder");
    assert_eq!(message(1), "metadata.jsonl, line 3: `/etc/hostname` leads out of the folder");
    assert!(message(2).starts_with("metadata.jsonl, line 4: `gone.png` cannot be read"), "{}", message(2));
    assert!(message(3).starts_with("target broken.png: "), "{}", message(3));
    assert_eq!(message(4), "reference empty.png: the file is empty");
    assert_eq!(made.tables["candidates"].height(), 1);
}

#[test]
fn mistakes_in_the_table_of_pairs_are_placed() {
    let bench = Bench::new();
    put(&bench, "set/metadata.csv", b"reference,picture\na,b\n");
    assert!(
        listing_error(&bench, folder())
            .ends_with("set/metadata.csv: there is no column `target`, only reference, picture")
    );
    std::fs::remove_file(bench.dir.path().join("set/metadata.csv")).unwrap();
    put(&bench, "set/metadata.jsonl", b"{\"reference\": \"a\", \"target\": \"b\"}\n\n{\"reference\": \"a\"}\n");
    assert!(listing_error(&bench, folder()).ends_with("metadata.jsonl, line 3: there is no text `target`"));
    put(&bench, "set/metadata.jsonl", b"{\"reference\": \n");
    assert!(listing_error(&bench, folder()).contains("metadata.jsonl, line 1: EOF"));
    put(&bench, "set/metadata.jsonl", b"\n");
    assert_eq!(listing_error(&bench, folder()), "the source holds no pair");
}

fn images(name: &str, pictures: &[Option<Vec<u8>>]) -> Column {
    let bytes = BinaryChunked::from_iter_options("bytes".into(), pictures.iter().cloned()).into_series();
    let path = Series::full_null("path".into(), pictures.len(), &DataType::String);
    StructChunked::from_series(name.into(), pictures.len(), [bytes, path].iter()).unwrap().into_column()
}

fn subjects(bench: &Bench, pictures: &[Option<Vec<u8>>]) {
    let n = pictures.len();
    let texts = |name: &str| Series::new(name.into(), (0..n).map(|at| format!("{name} {at}")).collect::<Vec<_>>());
    let parts = [texts("item"), texts("description_0"), texts("description_1"), texts("category")];
    let description = StructChunked::from_series("description".into(), n, parts.iter()).unwrap().into_column();
    let mut rows = DataFrame::new(n, vec![images("image", pictures), description]).unwrap();
    put(bench, "set.parquet", &frame::to_parquet(&mut rows, &[]).unwrap());
}

fn subjects_config() -> Value {
    json!({
        "source": { "type": "parquet", "files": ["set.parquet"], "columns": {
            "caption": "description.description_1",
            "reference_caption": "description.description_0",
            "class": "description.category",
            "subject_id": "description.item",
        } },
        "layout": "side_by_side",
        "padding_px": 8,
    })
}

#[test]
fn halves_of_one_picture_are_cut_apart() {
    let mut bench = Bench::new();
    let pictures =
        [Some(side_by_side(1, 2, 8)), None, Some(side_by_side(1, 3, 8)), Some(encode(&RgbImage::new(75, 36)))];
    subjects(&bench, &pictures);
    let (scanned, made) = import(&mut bench, subjects_config());
    let faults: Vec<_> = scanned.quarantined.iter().map(|row| (row.row, row.class)).collect();
    assert_eq!(faults, [(1, ErrorClass::Invalid), (3, ErrorClass::Invalid)]);
    assert!(scanned.quarantined[1].message.contains("check padding_px"));
    let (references, candidates) = (&made.tables["references"], &made.tables["candidates"]);
    assert_eq!(texts(references, "reference_id"), [id_of(&png(1))]);
    assert_eq!(texts(references, "caption"), ["description_0 0"]);
    assert_eq!(texts(references, "subject_id"), ["item 0"]);
    let ids = |rows: &DataFrame| bytes(rows).iter().map(|bytes| id_of(bytes)).collect::<Vec<_>>();
    assert_eq!(ids(references), [id_of(&png(1))]);
    assert_eq!(ids(candidates), [id_of(&png(2)), id_of(&png(3))]);
    assert_eq!(texts(&made.tables["pairs"], "caption"), ["description_1 0", "description_1 2"]);
    assert_eq!(texts(&made.tables["pairs"], "class"), ["category 0", "category 2"]);
}

#[test]
fn columns_that_are_missing_or_of_another_type_are_named() {
    let bench = Bench::new();
    subjects(&bench, &[Some(side_by_side(1, 2, 8))]);
    let with = |key: &str, column: &str| {
        let mut config = subjects_config();
        config["source"]["columns"][key] = json!(column);
        listing_error(&bench, config)
    };
    assert!(with("reference", "img").contains("no column `img`, columns.reference: it has image, description"));
    assert!(with("reference", "description").contains("a struct with `bytes` or binary was expected"));
    assert!(with("class", "description.kind").contains("no column `description.kind`, columns.class"));
    assert!(with("class", "description").contains("a text or a number was expected"));
    put(&bench, "set.parquet", b"PAR1 and nonsense PAR1");
    assert!(with("class", "description.category").contains("set.parquet: is not a Parquet file"));
}

#[test]
fn two_columns_of_pictures_are_read_each_from_its_own() {
    let mut bench = Bench::new();
    let caption = Column::new("text".into(), ["one", "two"]);
    let (x, y) = (images("x", &[Some(png(1)), Some(png(2))]), images("y", &[Some(png(3)), Some(png(4))]));
    let mut rows = DataFrame::new(2, vec![x, y, caption]).unwrap();
    put(&bench, "set.parquet", &frame::to_parquet(&mut rows, &[]).unwrap());
    let config = |reference: &str, target: &str| {
        json!({ "source": { "type": "parquet", "files": ["set.parquet"],
            "columns": { "reference": reference, "target": target, "instruction": "text" } } })
    };
    let (_, made) = import(&mut bench, config("x", "y"));
    assert_eq!(bytes(&made.tables["references"]), [png(1), png(2)]);
    assert_eq!(bytes(&made.tables["candidates"]), [png(3), png(4)]);
    // The listing is the same: what tells the two stages apart are their settings.
    let settings = |reference: &str, target: &str| {
        let nodes = compile(bench.dir.path(), config(reference, target)).unwrap();
        (nodes[0].settings.clone(), nodes[1].settings.clone())
    };
    let (one, other) = (settings("x", "y"), settings("y", "x"));
    assert!(one.0 != other.0 && one.1 != other.1);
}

#[test]
fn a_changed_file_takes_its_reference_with_it() {
    let mut bench = Bench::new();
    sound(&bench);
    let nodes = compile(bench.dir.path(), folder()).unwrap();
    bench.run_on(&nodes[0]);
    // Another picture of the same size in bytes: only the digest tells.
    let bmp = |hue: u8| {
        let mut bytes = Cursor::new(Vec::new());
        picture(hue).write_to(&mut bytes, ImageFormat::Bmp).unwrap();
        bytes.into_inner()
    };
    put(&bench, "set/3.png", &bmp(3));
    let rescanned = compile(bench.dir.path(), folder()).unwrap();
    bench.run_on(&rescanned[0]);
    put(&bench, "set/3.png", &bmp(8));
    let made = bench.run_on(&rescanned[1]);
    assert_eq!(made.quarantined.len(), 1);
    assert!(made.quarantined[0].message.contains("changed after it was scanned"), "{:?}", made.quarantined);
    // The other reference stays; nothing points to a row that is not there.
    assert_eq!(texts(&made.tables["references"], "reference_id"), [id_of(&png(2))]);
    assert_eq!(texts(&made.tables["candidate_references"], "reference_id"), [id_of(&png(2))]);
}

#[test]
fn mistakes_in_the_manifest_are_found_before_anything_runs() {
    let bench = Bench::new();
    let issues = |config: Value| compile(bench.dir.path(), config).unwrap_err();
    let found = issues(json!({
        "source": { "type": "parquet", "files": ["no.parquet"], "columns": { "class": "c" } },
        "padding_px": 2,
        "splits": { "train": 0.5, "val": 0.1, "test": 0.1 },
    }));
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found[0].starts_with("/splits: the shares add up to 0.7"));
    assert!(found[1].starts_with("/padding_px: only pictures side by side"));
    assert!(found[2].starts_with("/source/files/0: there is no "));
    assert!(found[3].starts_with("/source/columns: names neither"));
    assert!(issues(folder())[0].starts_with("/source/path: there is no "));
    put(&bench, "set/a.png", &png(1));
    assert!(issues(folder())[0].contains("has no table of pairs"));
}

/// Whatever the bytes of a table of pairs or a Parquet file are: a result or an error, never a panic.
#[test]
fn mutated_sources_never_panic() {
    let bench = Bench::new();
    sound(&bench);
    subjects(&bench, &[Some(side_by_side(1, 2, 8)), Some(side_by_side(1, 3, 8))]);
    let mut state = 5_u64;
    let mut draw = move |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    for (path, config) in [("set/metadata.csv", folder()), ("set.parquet", subjects_config())] {
        let whole = std::fs::read(bench.dir.path().join(path)).unwrap();
        let node = compile(bench.dir.path(), config).unwrap().remove(0);
        for _ in 0..300 {
            let mut bytes = whole.clone();
            for _ in 0..=draw(3) {
                let at = draw(bytes.len());
                bytes[at] = draw(256) as u8;
            }
            bytes.truncate(bytes.len() - draw(bytes.len() / 4));
            put(&bench, path, &bytes);
            let _ = bench.run(&node);
        }
    }
}
