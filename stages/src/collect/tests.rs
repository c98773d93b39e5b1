//! Pictures of every source, good and bad.

mod unseen;

use std::io::Cursor;
use std::path::Path;

use cafe_pipeline::digest::Digest;
use cafe_pipeline::frame;
use cafe_pipeline::stage::{Bounds, CompileContext, ErrorClass, NodeDecl, StageDecl, StageKind, WorkError};
use image::{ImageFormat, Rgb, RgbImage};
use polars::prelude::*;
use serde_json::{Value, json};

use super::CollectKind;
use crate::source::image_bytes;
use crate::testing::{Bench, Ran};

fn png(hue: u8) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let image = RgbImage::from_fn(24, 20, |x, y| Rgb([hue, (x * 9) as u8, (y * 11) as u8]));
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn put(bench: &Bench, path: &str, bytes: &[u8]) {
    let path = bench.dir.path().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn compile(folder: &Path, config: Value) -> Result<Vec<NodeDecl>, Vec<String>> {
    let context = CompileContext::new(folder, cafe_pipeline::digest::Seed(7));
    CollectKind
        .compile(&StageDecl { name: "collect".to_owned(), config }, &context)
        .map_err(|issues| issues.into_iter().map(|issue| format!("{}: {}", issue.pointer, issue.message)).collect())
}

/// Runs both nodes.
fn collect(bench: &mut Bench, config: Value) -> (Ran, Ran) {
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

fn folder(more: Value) -> Value {
    let mut source = json!({ "type": "folder", "path": "pets" });
    source.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "source": source })
}

#[test]
fn a_folder_becomes_references_and_what_is_wrong_is_named() {
    let mut bench = Bench::new();
    for (name, bytes) in [
        ("cat/one.png", png(1)),
        ("cat/two.PNG", png(2)),
        ("dog/copy.png", png(1)),
        ("dog/three.png", png(3)),
        ("dog/broken.jpg", b"\xff\xd8\xff\xe0 and no more".to_vec()),
        ("dog/empty.png", Vec::new()),
        ("dog/notes.txt", b"not a picture".to_vec()),
        (".hidden/four.png", png(4)),
    ] {
        put(&bench, &format!("pets/{name}"), &bytes);
    }
    let (scanned, made) = collect(&mut bench, folder(json!({ "class_from_folder": true })));
    let faults: Vec<_> = scanned.quarantined.iter().map(|row| (row.row, row.class)).collect();
    assert_eq!(faults, [(2, ErrorClass::Corrupt), (4, ErrorClass::Corrupt)]);
    assert_eq!(scanned.quarantined[1].message, "the file is empty");
    assert_eq!(made.duplicates.len(), 1);
    assert_eq!(made.duplicates[0].of, "cat/one.png");

    let references = &made.tables["references"];
    assert_eq!(references.height(), 3);
    assert_eq!(texts(references, "class"), ["cat", "cat", "dog"]);
    assert_eq!(texts(references, "split"), ["train"; 3]);
    assert_eq!(texts(references, "subject_id"), texts(references, "reference_id"));
    let bytes = image_bytes(references.column("image").unwrap()).unwrap();
    assert_eq!(bytes.get(0).unwrap(), png(1), "the file's own bytes are kept");
}

/// A change here makes all users' references stale: raise OUTPUT_VERSION, and write the new digest down.
#[test]
fn bytes_do_not_change_without_a_new_version() {
    let mut bench = Bench::new();
    put(&bench, "pets/a.png", &png(1));
    put(&bench, "pets/b.png", &png(2));
    let (_, mut made) = collect(&mut bench, folder(json!({})));
    let bytes = frame::to_parquet(made.tables.get_mut("references").unwrap(), &[]).unwrap();
    assert_eq!(
        (super::OUTPUT_VERSION, Digest::of(&bytes).to_hex().as_str()),
        (1, "e691d6ddd11282a7d11569cce9d4ce9acf13495ab94a194d1b2cdf015e63877a")
    );
}

#[test]
fn metadata_is_found_and_its_mistakes_are_placed() {
    let mut bench = Bench::new();
    put(&bench, "pets/a.png", &png(1));
    put(&bench, "pets/sub/b.png", &png(2));
    put(
        &bench,
        "pets/metadata.csv",
        b"file_name,class,text,license,more\na.png,cat,\"a cat, asleep\",CC0,x\ngone.png,dog,,,\n",
    );
    let (scanned, made) = collect(&mut bench, folder(json!({})));
    assert_eq!(scanned.quarantined.len(), 1);
    assert_eq!(scanned.quarantined[0].message, "metadata.csv names it, but there is no such picture");
    let references = &made.tables["references"];
    assert_eq!(texts(references, "caption"), ["a cat, asleep", "-"]);
    assert_eq!(texts(references, "licence"), ["CC0", "-"]);

    for (text, wanted) in [
        ("class\ncat\n", "metadata.csv: there is no column `file_name`, only class"),
        ("file_name,class\na.png,cat,dog,bird\n", "metadata.csv: "),
        ("file_name\na.png\na.png\n", "metadata.csv: row 2: `a.png` is named a second time"),
        ("file_name,class\n,cat\n", "metadata.csv: row 1: `file_name` is empty"),
    ] {
        put(&bench, "pets/metadata.csv", text.as_bytes());
        let message = listing_error(&bench, folder(json!({})));
        assert!(message.contains(wanted), "{message}");
    }
    std::fs::remove_file(bench.dir.path().join("pets/metadata.csv")).unwrap();
    for (text, wanted) in [
        ("{\"file_name\": \"a.png\"}\n{\"file_name\": ", "metadata.jsonl, line 2: EOF while parsing"),
        ("[1]\n", "metadata.jsonl, line 1: a JSON object was expected"),
        ("\n{\"file_name\": 7}\n", "metadata.jsonl, line 2: there is no text `file_name`"),
    ] {
        put(&bench, "pets/metadata.jsonl", text.as_bytes());
        let message = listing_error(&bench, folder(json!({})));
        assert!(message.contains(wanted), "{message}");
    }
}

fn tar_of(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn a_webdataset_tar_is_read_by_offset() {
    let mut bench = Bench::new();
    let long = format!("{}/000002.png", "long-folder-name/".repeat(9).trim_end_matches('/'));
    let tar = tar_of(&[
        ("000001.txt", b"a red square".to_vec()),
        ("000001.png", png(200)),
        ("000001.cls", b"square\n".to_vec()),
        (&long, png(3)),
        ("000003.json", br#"{"class": "circle", "subject_id": "s3", "size": 3, "tags": ["x"]}"#.to_vec()),
        ("000003.jpg", b"broken".to_vec()),
        ("README", b"no extension".to_vec()),
    ]);
    put(&bench, "set/train.tar", &tar);
    let config = json!({ "source": { "type": "webdataset", "files": ["set/train.tar"] } });
    let (scanned, made) = collect(&mut bench, config.clone());
    assert_eq!(scanned.quarantined.len(), 1);
    let references = &made.tables["references"];
    assert_eq!(texts(references, "caption"), ["a red square", "-"]);
    assert_eq!(texts(references, "class"), ["square", "-"]);
    assert!(texts(references, "file_digest").contains(&Digest::of(&png(3)).to_hex()));

    put(&bench, "set/train.tar", &tar[..tar.len() / 2]);
    let message = listing_error(&bench, config.clone());
    assert!(message.contains("set/train.tar") && message.contains("fetch it again"), "{message}");
    put(&bench, "set/train.tar", &tar_of(&[("a.json", b"{".to_vec()), ("a.png", png(1))]));
    assert!(listing_error(&bench, config).contains("a.json: EOF"));
}

#[test]
fn a_parquet_file_is_read_row_by_row() {
    let mut bench = Bench::new();
    let pictures: Vec<Option<Vec<u8>>> = vec![Some(png(1)), None, Some(b"broken".to_vec()), Some(png(2))];
    let bytes = BinaryChunked::from_iter_options("bytes".into(), pictures.into_iter()).into_series();
    let path = Series::new("path".into(), [None::<&str>, None, None, None]);
    let image = StructChunked::from_series("picture".into(), 4, [bytes, path].iter()).unwrap();
    let label = Column::new("label".into(), [3_i64, 4, 5, 6]);
    let mut rows = DataFrame::new_infer_height(vec![image.into_column(), label]).unwrap();
    put(&bench, "set.parquet", &frame::to_parquet(&mut rows, &[]).unwrap());
    let config = |image: &str, class: &str| json!({ "source": { "type": "parquet", "files": ["set.parquet"], "image": image, "columns": { "class": class } } });
    let (scanned, made) = collect(&mut bench, config("picture", "label"));
    let faults: Vec<_> = scanned.quarantined.iter().map(|row| (row.row, row.class)).collect();
    assert_eq!(faults, [(1, ErrorClass::Invalid), (2, ErrorClass::Corrupt)]);
    assert_eq!(texts(&made.tables["references"], "class"), ["3", "6"]);

    // Another file with as many rows is another source.
    let listed = || match &compile(bench.dir.path(), config("picture", "label")).unwrap()[0].bounds {
        Bounds::Source(lister) => lister.list(&bench.context()).unwrap(),
        other => panic!("{other:?}"),
    };
    let before = listed();
    assert!(before.equals_missing(&listed()));
    let mut other = rows.clone();
    other.with_column(rows.column("picture").unwrap().new_from_index(0, 4)).unwrap();
    put(&bench, "set.parquet", &frame::to_parquet(&mut other, &[]).unwrap());
    assert!(!before.equals_missing(&listed()));

    assert!(
        listing_error(&bench, config("image", "label"))
            .contains("no column `image` of pictures: it has picture, label")
    );
    assert!(listing_error(&bench, config("label", "label")).contains("a struct with `bytes` or binary was expected"));
    assert!(listing_error(&bench, config("picture", "class")).contains("no column `class`, named as columns.class"));
    put(&bench, "set.parquet", b"PAR1 and nonsense PAR1");
    assert!(listing_error(&bench, config("picture", "label")).contains("is not a Parquet file"));
}

#[test]
fn a_subject_is_in_one_split_only() {
    let mut bench = Bench::new();
    for subject in 0..40_u8 {
        for view in 0..2_u8 {
            put(&bench, &format!("pets/{subject:02}/{view}.png"), &png(subject * 2 + view));
        }
    }
    let mut config = folder(json!({ "subject_from_folder": true }));
    config["splits"] = json!({ "train": 0.5, "val": 0.25, "test": 0.25 });
    let (_, made) = collect(&mut bench, config);
    let references = &made.tables["references"];
    let splits = texts(references, "split");
    for pair in splits.chunks(2) {
        assert_eq!(pair[0], pair[1]);
    }
    for split in ["train", "val", "test"] {
        assert!(splits.iter().any(|found| found == split), "no subject in {split}");
    }
}

#[test]
fn a_changed_file_is_not_taken_for_the_one_that_was_scanned() {
    let mut bench = Bench::new();
    put(&bench, "pets/a.png", &png(1));
    let nodes = compile(bench.dir.path(), folder(json!({}))).unwrap();
    bench.run_on(&nodes[0]);
    let mut other = png(1);
    let last = other.len() - 1;
    other[last] ^= 1;
    put(&bench, "pets/a.png", &other);
    let made = bench.run_on(&nodes[1]);
    assert!(made.quarantined[0].message.contains("changed after it was scanned"));
}

#[test]
fn mistakes_in_the_manifest_are_found_before_anything_runs() {
    let bench = Bench::new();
    let mut config = folder(json!({ "metadata": "labels.csv" }));
    config["splits"] = json!({ "train": 0.9, "val": 0.2, "test": 0.0 });
    let issues = compile(bench.dir.path(), config).unwrap_err();
    assert_eq!(issues.len(), 3);
    assert!(issues[0].starts_with("/splits: the shares add up to 1.1"), "{issues:?}");
    assert!(issues[1].starts_with("/source/path: there is no "), "{issues:?}");
    assert!(issues[2].starts_with("/source/metadata: there is no "), "{issues:?}");
}

/// Whatever the bytes of a tar are: a listing or an error, never a panic.
#[test]
fn mutated_tars_never_panic() {
    let whole = tar_of(&[("a.png", png(1)), ("a.json", b"{\"class\": \"x\"}".to_vec()), ("b.png", png(2))]);
    let mut state = 11_u64;
    let mut draw = move |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let bench = Bench::new();
    let config = json!({ "source": { "type": "webdataset", "files": ["t.tar"] } });
    put(&bench, "t.tar", &whole);
    let node = compile(bench.dir.path(), config).unwrap().remove(0);
    for _ in 0..1500 {
        let mut bytes = whole.clone();
        for _ in 0..=draw(3) {
            // Headers are what decides.
            let at = draw(3) * 1536 + draw(512);
            let at = at.min(bytes.len() - 1);
            bytes[at] = draw(256) as u8;
        }
        bytes.truncate(bytes.len() - draw(bytes.len() / 3));
        put(&bench, "t.tar", &bytes);
        let _ = bench.run(&node);
    }
}
