//! Copies of pictures, and pictures that are none.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use cafe_pipeline::digest::Seed;
use cafe_pipeline::stage::{CompileContext, ConfigIssue, ErrorClass, WorkError};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, crop_imm, flip_horizontal, resize};
use image::{ImageFormat, RgbImage};
use tempfile::TempDir;

use super::config::DISTANCE;
use super::*;
use crate::picture::{Alpha, Limits, Picture};

fn pool() -> Vec<(String, RgbImage)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/mini/pool");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "png"));
    paths.sort();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    paths.iter().take(12).map(|path| (name(path), image::open(path).unwrap().into_rgb8())).collect()
}

fn png(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn decoded(bytes: &[u8]) -> Picture {
    Picture::decode(bytes, &Limits::default(), Alpha::Keep).ok().unwrap()
}

/// A benchmark `bench/` with these files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (name, bytes) in files {
        let path = dir.path().join("bench").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    dir
}

fn named(names: &[(&str, &str)]) -> Vec<Benchmark> {
    names
        .iter()
        .map(|(name, path)| Benchmark { name: (*name).to_owned(), path: path.into(), on_match: OnMatch::default() })
        .collect()
}

fn compile(dir: &TempDir, benchmarks: &[Benchmark], distance: Option<u32>) -> (Guard, Vec<ConfigIssue>) {
    let mut issues = Vec::new();
    let context = CompileContext::new(dir.path(), Seed(7));
    let guard = Guard::compile(benchmarks, distance, Alpha::Keep, &context, &mut issues);
    (guard, issues)
}

/// A guard of one benchmark, which is right.
fn guard(dir: &TempDir, distance: Option<u32>) -> Guard {
    let (guard, issues) = compile(dir, &named(&[("dreambench", "bench")]), distance);
    assert_eq!(issues, []);
    guard
}

fn refused(guard: &Guard, bytes: &[u8]) -> Option<String> {
    let fault = guard.marks().unwrap().check(&decoded(bytes)).err()?;
    assert_eq!(fault.class, ErrorClass::Benchmark);
    Some(fault.message)
}

#[test]
fn copies_are_caught_and_other_pictures_are_not() {
    let pool = pool();
    assert_eq!(pool.len(), 12);
    for (name, image) in &pool {
        let dir = folder(&[(name, &png(image))]);
        let guard = guard(&dir, None);
        let (width, height) = image.dimensions();
        let mut jpeg = Vec::new();
        JpegEncoder::new_with_quality(&mut jpeg, 60).encode_image(image).unwrap();
        // 64 pixels: one at two of the borders is as near to 2 % as it gets.
        let (less_x, less_y) = (width.div_ceil(64), height.div_ceil(64));
        let cropped = crop_imm(image, less_x, less_y, width - less_x, height - less_y).to_image();
        let half = resize(image, width / 2, height / 2, FilterType::Triangle);
        let copies = [("half", png(&half)), ("JPEG", jpeg), ("cropped", png(&cropped))];
        for (how, copy) in copies {
            let message = refused(&guard, &copy).unwrap_or_else(|| panic!("{name}, {how}, was not caught"));
            let begin = format!("nearly equals {name} of the benchmark dreambench, which must stay unseen: distance ");
            assert!(message.starts_with(&begin), "{message}");
        }
        let same = refused(&guard, &png(image)).unwrap();
        assert!(same.starts_with("has the pixels of ") && same.contains("distance 0, "), "{same}");
        for (other, image) in pool.iter().filter(|(other, _)| other != name) {
            assert_eq!(refused(&guard, &png(image)), None, "{other} was taken for {name}");
        }
    }
}

#[test]
fn a_mirrored_copy_is_caught_and_said_to_be_one() {
    let (name, image) = pool().swap_remove(0);
    let dir = folder(&[(&name, &png(&image))]);
    let mirrored = resize(&flip_horizontal(&image), 48, 48, FilterType::Triangle);
    let message = refused(&guard(&dir, None), &png(&mirrored)).unwrap();
    assert!(message.starts_with(&format!("is mirrored, and so nearly equals {name} of ")), "{message}");
}

#[test]
fn the_distance_is_what_the_manifest_says() {
    let pool = pool();
    let (name, image) = &pool[0];
    let dir = folder(&[(name, &png(image))]);
    let none = guard(&dir, Some(0));
    assert!(refused(&none, &png(image)).unwrap().ends_with("benchmark_distance is 0"));
    let all = guard(&dir, Some(64));
    assert!(refused(&all, &png(&pool[5].1)).is_some(), "64 bits are all of them");
}

#[test]
fn settings_tell_pictures_and_distance_but_no_names() {
    let (one, other) = (png(&pool()[0].1), png(&pool()[1].1));
    let settings = |files: &[(&str, &[u8])], distance| guard(&folder(files), distance).settings().unwrap();
    let first = settings(&[("a/0.png", &one), ("b/0.png", &other)], None);
    assert_eq!(first, settings(&[("b.png", &one), ("a.png", &other), (".hidden.png", b"")], Some(DISTANCE)));
    assert_ne!(first, settings(&[("a/0.png", &one)], None));
    assert_ne!(first, settings(&[("a/0.png", &one), ("b/0.png", &other)], Some(9)));
    let (nobody, issues) = compile(&TempDir::new().unwrap(), &[], None);
    assert_eq!((nobody.settings(), issues), (None, vec![]));
    assert!(nobody.marks().unwrap().check(&decoded(&one)).is_ok());
}

#[test]
fn mistakes_are_found_by_the_plan() {
    let dir = folder(&[("good.png", &png(&pool()[0].1)), ("bad/0.jpg", b"not a picture"), ("text/README.md", b"x")]);
    let benchmarks =
        named(&[("absent", "nowhere"), ("empty", "bench/text"), ("damaged", "bench/bad"), ("absent", "bench")]);
    let (_, issues) = compile(&dir, &benchmarks, None);
    let told: Vec<(&str, &str)> = issues.iter().map(|issue| (issue.pointer.as_str(), issue.message.as_str())).collect();
    let wanted = [
        ("/benchmarks/0/path", "there is no folder "),
        ("/benchmarks/1/path", "holds no picture (1 other file)"),
        ("/benchmarks/2/path", "0.jpg: "),
        ("/benchmarks/3/name", "names `absent` a second time"),
        ("/benchmarks/3/path", "0.jpg: "),
    ];
    assert_eq!(told.len(), wanted.len(), "{told:?}");
    for ((pointer, message), (at, part)) in told.iter().zip(wanted) {
        assert!(*pointer == at && message.contains(part), "{pointer}: {message}");
    }
    let (_, issues) = compile(&dir, &[], Some(3));
    assert_eq!(issues[0].pointer, "/benchmark_distance");
}

#[test]
fn a_benchmark_in_the_source_s_folder_is_refused() {
    let dir = folder(&[("0.png", &png(&pool()[0].1))]);
    let context = CompileContext::new(dir.path(), Seed(7));
    let found = |path: &str, source: &str| overlaps(&named(&[("b", path)]), &dir.path().join(source), &context).len();
    std::fs::create_dir(dir.path().join("bench-too")).unwrap();
    assert_eq!([found("bench", "."), found("bench", "bench"), found(".", "bench")], [1, 1, 1]);
    assert_eq!([found("bench", "bench-too"), found("absent", "bench"), found("bench", "absent")], [0, 0, 0]);
}

#[test]
fn a_picture_that_was_changed_after_the_plan_stops_the_stage() {
    let dir = folder(&[("0.png", &png(&pool()[0].1))]);
    let guard = guard(&dir, None);
    std::fs::write(dir.path().join("bench/0.png"), png(&pool()[1].1)).unwrap();
    let Err(WorkError::Systemic(message)) = guard.marks() else { panic!("it was taken") };
    assert_eq!(
        message,
        "the picture 0.png of the benchmark dreambench was changed after the plan was made: run it again"
    );
}
