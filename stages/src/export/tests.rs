//! Exports of small releases made by hand, which can be what no release of `publish` is.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;

use cafe_pipeline::digest::Digest;
use cafe_pipeline::frame;
use cafe_pipeline::storage::LocalStorage;
use polars::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::publish::{FORMAT, LOADING, ON_FILES};

const TABLE: &str = "data/train-00000-of-00001.parquet";
const N_ROWS: usize = 5;

/// A picture as far as its kind goes: nothing looks at pixels here.
fn picture(magic: &[u8], row: usize) -> Option<Vec<u8>> {
    let mut bytes = magic.to_vec();
    bytes.resize(2000, row as u8);
    Some(bytes)
}

fn images(name: &str, pictures: Vec<Option<Vec<u8>>>) -> Column {
    let n = pictures.len();
    let parts = [Series::new("bytes".into(), pictures), Series::full_null("path".into(), n, &DataType::String)];
    StructChunked::from_series(name.into(), n, parts.iter()).unwrap().into_series().into_column()
}

fn id(row: usize) -> String {
    format!("{row:032x}")
}

fn rows() -> DataFrame {
    let n = 0..N_ROWS;
    let columns = vec![
        Column::new("quadruplet_id".into(), n.clone().map(id).collect::<Vec<_>>()),
        Column::new("y".into(), n.clone().map(|row| format!("Put it on \"beach\" {row}.")).collect::<Vec<_>>()),
        Column::full_null("alpha".into(), N_ROWS, &DataType::Float64),
        Column::new("seed".into(), n.clone().map(|row| u64::MAX - row as u64).collect::<Vec<_>>()),
        images("reference_image", n.clone().map(|row| picture(b"\x89PNG\r\n\x1a\n", row)).collect()),
        images("target_image", n.map(|row| picture(&[0xff, 0xd8, 0xff], row)).collect()),
    ];
    DataFrame::new(N_ROWS, columns).unwrap()
}

/// A project with one release.
struct Made {
    dir: TempDir,
    storage: LocalStorage,
    release: ReleaseRecord,
    cancel: Cancel,
}

impl Made {
    fn new(rows: DataFrame) -> Self {
        Self::of(rows, TABLE)
    }

    /// With the table under the name that `release.json` gives it.
    fn of(mut rows: DataFrame, table: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let storage = LocalStorage::create(dir.path().join("data")).unwrap();
        let card =
            format!("---\nlicense: \"mit\"\nconfigs:\n- a\ndataset_info:\n  b\n---\n\n{ON_FILES}\n{LOADING}\"x\")\n");
        let n_rows = rows.height() as u64;
        let mut files = Vec::new();
        for (path, bytes) in [(table, frame::to_parquet(&mut rows, &[]).unwrap()), ("README.md", card.into_bytes())] {
            storage.write(&format!("releases/set/{path}"), &bytes).unwrap();
            let mut file = json!({ "path": path, "n_bytes": bytes.len(), "digest": Digest::of(&bytes) });
            if path == table {
                file["split"] = json!("train");
                file["n_rows"] = json!(n_rows);
            }
            files.push(file);
        }
        let json = json!({ "format": FORMAT, "content_digest": "c0ffee", "files": files }).to_string();
        storage.write("releases/set/release.json", json.as_bytes()).unwrap();
        let release = ReleaseRecord {
            release_id: "set-c0ffee".to_owned(),
            name: "set".to_owned(),
            path: "releases/set".to_owned(),
            digest: Digest::of(json.as_bytes()),
            n_rows,
            summary: Value::Null,
        };
        Self { dir, storage, release, cancel: Cancel::default() }
    }

    fn output(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn export(&self, format: Format) -> Result<(), ExportError> {
        let told = std::cell::Cell::new((0_u64, 0_u64));
        let on_bytes = |n_bytes: u64, total: u64| told.set((n_bytes, total));
        let (storage, release, cancel) = (&self.storage, &self.release, &self.cancel);
        export(&Export { storage, release, format, cancel, on_bytes: &on_bytes }, &self.output())?;
        let (n_bytes, total) = told.get();
        assert!(total > 0 && n_bytes.abs_diff(total) <= 1, "{n_bytes} of {total} bytes");
        Ok(())
    }

    /// What is said, of an export that leaves nothing behind.
    fn refused(&self, format: Format) -> String {
        let said = self.export(format).unwrap_err().to_string();
        let left: Vec<_> = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["data"], "{said}");
        said
    }
}

const TARS: Format = Format::WebDataset { shard_bytes: 14 << 10 };

fn members(tar: &Path) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(File::open(tar).unwrap());
    let read = |mut entry: tar::Entry<'_, File>| {
        let header = entry.header();
        let of = (header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap());
        assert_eq!(of, (0o644, 0, 0, 0));
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().display().to_string(), bytes)
    };
    archive.entries().unwrap().map(|entry| read(entry.unwrap())).collect()
}

#[test]
fn tars_hold_whole_samples_in_order_and_no_more_bytes_than_they_may() {
    let made = Made::new(rows());
    made.export(TARS).unwrap();
    let mut found = Vec::new();
    for (number, n_samples) in [2, 2, 1].into_iter().enumerate() {
        let tar = made.output().join(format!("train-{number:06}.tar"));
        assert!(fs::metadata(&tar).unwrap().len() <= 14 << 10);
        let members = members(&tar);
        assert_eq!(members.len(), 3 * n_samples);
        found.extend(members);
    }
    let wanted: Vec<String> = (0..N_ROWS)
        .flat_map(|row| ["reference.png", "target.jpg", "json"].map(|part| format!("{}.{part}", id(row))))
        .collect();
    assert_eq!(found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), wanted);
    let parts: BTreeMap<String, Vec<u8>> = found.into_iter().collect();
    assert_eq!(parts[&wanted[3]], picture(b"\x89PNG\r\n\x1a\n", 1).unwrap());
    let said: Value = serde_json::from_slice(&parts[&wanted[5]]).unwrap();
    let expected =
        json!({ "quadruplet_id": id(1), "y": "Put it on \"beach\" 1.", "alpha": null, "seed": u64::MAX - 1 });
    assert_eq!(said, expected);

    let card = fs::read_to_string(made.output().join("README.md")).unwrap();
    let loading = "rows = load_dataset(\"webdataset\", data_files={\"train\": \"path/to/this/folder/train-*.tar\"})\n";
    assert!(card.starts_with("---\nlicense: \"mit\"\n---\n") && card.ends_with(loading), "{card}");
    assert_eq!(fs::read_to_string(made.output().join("SHA256SUMS")).unwrap().lines().count(), 4);
}

#[test]
fn a_sample_that_is_larger_than_a_tar_has_one_of_its_own() {
    let made = Made::new(rows());
    made.export(Format::WebDataset { shard_bytes: 1 }).unwrap();
    for row in 0..N_ROWS {
        assert_eq!(members(&made.output().join(format!("train-{row:06}.tar"))).len(), 3);
    }
    assert!(!made.output().join(format!("train-{N_ROWS:06}.tar")).is_file());
}

#[test]
fn a_release_without_rows_is_exported_too() {
    let made = Made::new(rows().clear());
    let (storage, release, cancel) = (&made.storage, &made.release, &made.cancel);
    let empty = Export { storage, release, format: TARS, cancel, on_bytes: &|_, _| {} };
    export(&empty, &made.output()).unwrap();
    assert!(members(&made.output().join("train-000000.tar")).is_empty());
}

#[test]
fn rows_that_are_no_samples_are_named() {
    let mut lacking = rows();
    let pictures = (0..N_ROWS).map(|row| picture(b"BM", row).filter(|_| row != 3)).collect();
    lacking.replace("target_image", images("target_image", pictures)).unwrap();
    let made = Made::new(lacking);
    for format in [TARS, Format::Hf] {
        let said = made.refused(format);
        let wanted = format!("{TABLE}, row 3 (quadruplet_id \"{}\"): has no picture in `target_image`", id(3));
        assert!(said.contains(&wanted), "{said}");
    }
    let said = Made::new(rows().drop_many(["reference_image", "target_image"])).refused(Format::Hf);
    assert!(said.contains("there is no column of them"), "{said}");

    let mut unknown = rows();
    let pictures = (0..N_ROWS).map(|_| Some(b"<html>".to_vec())).collect();
    unknown.replace("reference_image", images("reference_image", pictures)).unwrap();
    let said = Made::new(unknown).refused(TARS);
    assert!(said.contains("row 0") && said.contains("`reference_image` that is no known kind of picture"), "{said}");
}

#[test]
fn no_name_leads_out_of_the_folder() {
    for hostile in ["../../x", "/x", "", "a.b", "é", &"a".repeat(65)] {
        let mut ids: Vec<String> = (0..N_ROWS).map(id).collect();
        ids[2] = hostile.to_owned();
        let mut rows = rows();
        rows.replace("quadruplet_id", Column::new("quadruplet_id".into(), ids)).unwrap();
        let said = Made::new(rows).refused(TARS);
        assert!(said.contains("row 2 (") && said.contains("has an id that is not hexadecimal"), "{said}");
    }
    for format in [TARS, Format::Hf, Format::Parquet] {
        let said = Made::of(rows(), "../other.parquet").refused(format);
        assert!(said.contains("release.json lists `../other.parquet`, which is no file of"), "{said}");
    }
}

#[test]
fn what_is_not_as_it_was_published_is_not_exported() {
    let made = Made::new(rows());
    let table = made.dir.path().join("data/releases/set").join(TABLE);
    let mut bytes = fs::read(&table).unwrap();
    bytes[10] ^= 1;
    fs::write(&table, bytes).unwrap();
    for format in [TARS, Format::Parquet] {
        let said = made.refused(format);
        assert!(said.contains(&format!("{TABLE} has other bytes than were published")), "{said}");
    }
    fs::remove_file(&table).unwrap();
    assert!(made.refused(Format::Hf).contains(&format!("{TABLE} cannot be read")));
    fs::write(made.dir.path().join("data/releases/set/release.json"), "{}").unwrap();
    assert!(made.refused(TARS).contains("release.json has other bytes"));
}

#[test]
fn a_stop_leaves_nothing_behind() {
    let made = Made::new(rows());
    made.cancel.cancel();
    for format in [TARS, Format::Hf, Format::Parquet] {
        assert_eq!(made.refused(format), "stopped");
    }
}
