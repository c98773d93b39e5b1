//! `export` through the program: each format read back, refusals, kills.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use cafe_pipeline::frame;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::program::{Project, measured};

/// Behind what is measured.
const STAGES: &str = r#"
[[stage]]
kind = "filter"
name = "filter"
needs = ["measure"]
rules = [{ column = "sharpness", min = 0.0 }]
[[stage]]
kind = "publish"
name = "publish"
needs = ["filter"]
release = "set"
file_rows = 2
"#;

fn project() -> Project {
    let project = Project::new(&measured(STAGES));
    project.pictures(&["animal"]);
    let names = project.names("animal");
    let mut table = "reference,target,instruction,caption,class,license\n".to_owned();
    for (at, reference) in names.iter().enumerate() {
        let target = &names[(at + 1) % names.len()];
        table += &format!("{reference},{target},Put it on beach {at}.,a beach {at},animal,CC0-1.0\n");
    }
    project.write("pictures/metadata.csv", table.as_bytes());
    project
}

/// A project that was run.
fn published() -> Project {
    let project = project();
    project.cafe(&["run"]).ends(0);
    project
}

/// Name → bytes, of all files below a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            found.extend(files(&entry.path()).into_iter().map(|(path, bytes)| (format!("{name}/{path}"), bytes)));
        } else {
            found.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    found
}

/// The files of the only release.
fn release(project: &Project) -> BTreeMap<String, Vec<u8>> {
    let folder = project.path("data/releases");
    let found: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    files(&found[0])
}

/// Exports to `output`; gives its files, `SHA256SUMS` checked and taken away.
fn exported(project: &Project, format: &str, output: &str) -> BTreeMap<String, Vec<u8>> {
    let ran = project.cafe(&["export", "--format", format, "-o", output]).ends(0);
    assert_eq!(ran.stdout, format!("{output}\n"));
    let mut files = files(&project.path(output));
    let sums = String::from_utf8(files.remove("SHA256SUMS").unwrap()).unwrap();
    let wanted: String = files
        .iter()
        .map(|(path, bytes)| {
            let sum: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{sum}  {path}\n")
        })
        .collect();
    assert_eq!(sums, wanted);
    files
}

fn is_table(name: &str) -> bool {
    name.ends_with(".parquet")
}

#[test]
fn parquet_is_the_release_as_it_is() {
    let project = published();
    assert_eq!(exported(&project, "parquet", "out"), release(&project));
}

#[test]
fn hf_is_what_datasets_opens() {
    let project = published();
    let mut found = exported(&project, "hf", "deep/out");
    let mut wanted = release(&project);
    let card = String::from_utf8(found.remove("README.md").unwrap()).unwrap();
    wanted.retain(|name, _| is_table(name));
    assert!(wanted.len() > 1 && found == wanted, "{:?}", found.keys());
    for name in wanted.keys() {
        let (split, part) = name.strip_prefix("data/").unwrap().split_once('-').unwrap();
        assert!(part.contains("-of-"), "{name}");
        assert!(card.contains(&format!("  - split: \"{split}\"\n    path: \"data/{split}-*.parquet\"\n")), "{card}");
    }
    assert!(card.starts_with("---\n") && card.contains("\n  - name: \"target_image\"\n    dtype: image\n"), "{card}");
    assert!(card.contains("load_dataset(\"path/to/this/folder\")") && card.contains("SHA256SUMS"), "{card}");
    assert!(!card.contains("release.json"), "{card}");
}

#[test]
fn webdataset_has_a_sample_for_each_row() {
    let project = published();
    let mut found = exported(&project, "webdataset", "out");
    let card = String::from_utf8(found.remove("README.md").unwrap()).unwrap();
    assert!(card.contains("license: \"cc0-1.0\"") && !card.contains("configs:"), "{card}");
    let mut tables: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for (name, bytes) in release(&project).into_iter().filter(|(name, _)| is_table(name)) {
        let split = name.strip_prefix("data/").unwrap().split_once('-').unwrap().0.to_owned();
        tables.entry(split).or_default().push(bytes);
    }
    let tars: Vec<String> = tables.keys().map(|split| format!("{split}-000000.tar")).collect();
    assert_eq!(found.keys().cloned().collect::<Vec<_>>(), tars);
    let mut n_samples = 0;
    for (tables, tar) in tables.values().zip(found.values()) {
        let mut archive = tar::Archive::new(tar.as_slice());
        let mut members = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            assert_eq!((entry.header().mtime().unwrap(), entry.header().mode().unwrap()), (0, 0o644));
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes)
        });
        for rows in tables.iter().map(|bytes| frame::from_parquet(bytes.clone()).unwrap()) {
            let text =
                |column: &str, row: usize| rows.column(column).unwrap().str().unwrap().get(row).unwrap().to_owned();
            for row in 0..rows.height() {
                let id = text("quadruplet_id", row);
                for part in ["reference", "target"] {
                    let images = rows.column(&format!("{part}_image")).unwrap().struct_().unwrap();
                    let bytes = images.field_by_name("bytes").unwrap();
                    let bytes = bytes.binary().unwrap().get(row).unwrap().to_vec();
                    assert_eq!(members.next().unwrap(), (format!("{id}.{part}.png"), bytes));
                }
                let (name, json) = members.next().unwrap();
                assert_eq!(name, format!("{id}.json"));
                let said: Value = serde_json::from_slice(&json).unwrap();
                assert_eq!(said["y"], text("y", row));
                assert_eq!(said["licence"], "CC0-1.0");
                let sharpness = rows.column("score_sharpness").unwrap().f64().unwrap().get(row).unwrap();
                assert!((said["score_sharpness"].as_f64().unwrap() - sharpness).abs() < 1e-9, "{said}");
                assert_eq!(said.as_object().unwrap().len(), rows.width() - 2);
                n_samples += 1;
            }
        }
        assert!(members.next().is_none(), "more than the release's rows");
    }
    let count = project.cafe(&["query", "SELECT COUNT(*) FROM quadruplets", "--format", "csv"]).ends(0).stdout;
    assert_eq!(count.lines().last(), Some(n_samples.to_string().as_str()));
    assert!(n_samples > 2);
}

#[test]
fn the_same_release_makes_the_same_bytes() {
    let project = published();
    for format in ["parquet", "hf", "webdataset"] {
        let first = exported(&project, format, &format!("{format}/first"));
        fs::create_dir(project.path(&format!("{format}/second"))).unwrap();
        assert_eq!(exported(&project, format, &format!("{format}/second")), first);
    }
}

#[test]
fn what_cannot_be_exported_is_refused_with_what_can() {
    let project = project();
    let export = |more: &[&str]| {
        let args = [["export", "--format", "hf"].as_slice(), more].concat();
        project.cafe(&args)
    };
    assert!(export(&["-o", "out"]).ends(2).stderr.contains("nothing was run yet"));
    project.cafe(&["run"]).ends(0);
    project.cafe(&["recut", "--min", "sharpness=1.0"]).ends(0);
    let said = export(&["-o", "out", "--release", "7"]).ends(2).stderr;
    assert!(said.contains("there is no release 7") && said.contains("1 (set-") && said.contains("2 (set-"), "{said}");
    let said = export(&["-o", "out", "--stage", "measure"]).ends(2).stderr;
    assert!(said.contains("no stage `measure` publishes") && said.contains("there are: publish"), "{said}");
    assert!(export(&["-o", "out", "--shard-mib", "1"]).ends(2).stderr.contains("--format webdataset"));
    assert!(!project.path("out").is_dir());

    project.write("full/mine", b"mine");
    let said = export(&["-o", "full"]).ends(2).stderr;
    assert!(said.contains("cannot export to full: it is not empty"), "{said}");
    assert_eq!(files(&project.path("full")), BTreeMap::from([("mine".to_owned(), b"mine".to_vec())]));

    // Without a number it is the release that the project stands at, which need not be the last one that was made.
    assert!(export(&["-o", "second"]).ends(0).stderr.contains("(2 of 2)"));
    project.cafe(&["run"]).ends(0);
    assert!(export(&["-o", "first"]).ends(0).stderr.contains("(1 of 2)"));
    assert!(export(&["-o", "named", "--stage", "publish", "--release", "2"]).ends(0).stderr.contains("(2 of 2)"));
    assert_eq!(files(&project.path("named")), files(&project.path("second")));
}

#[test]
fn a_killed_export_leaves_nothing_that_looks_whole() {
    let project = published();
    let args = ["export", "--format", "webdataset", "-o", "out"];
    for point in ["export_writing=kill@1", "export_writing=kill@2", "export_renaming=kill"] {
        assert_eq!(project.failing(point, &args).code, None, "{point} was not reached");
        assert!(!project.path("out").is_dir(), "{point}");
    }
    let full = project.failing("export_writing=enospc@2", &args).ends(75);
    assert!(full.stderr.contains("cannot write ") && full.stdout.is_empty(), "{}", full.stderr);
    assert!(!project.path("out").is_dir() && !project.path(".out.cafe-export").is_dir());
    assert_eq!(project.failing("export_renamed=kill", &args).code, None);
    let killed = files(&project.path("out"));
    fs::remove_dir_all(project.path("out")).unwrap();
    project.cafe(&args).ends(0);
    assert_eq!(files(&project.path("out")), killed);
}

#[test]
fn a_damaged_release_is_not_exported() {
    let project = published();
    let folder = fs::read_dir(project.path("data/releases")).unwrap().next().unwrap().unwrap().path();
    let table = fs::read_dir(folder.join("data")).unwrap().next().unwrap().unwrap().path();
    let n_bytes = fs::metadata(&table).unwrap().len();
    File::options().write(true).open(&table).unwrap().set_len(n_bytes - 1).unwrap();
    let said = project.cafe(&["export", "--format", "parquet", "-o", "out"]).ends(3).stderr;
    assert!(said.contains("has other bytes than were published") && said.contains("audit --verify"), "{said}");
    assert!(!project.path("out").is_dir());
}
