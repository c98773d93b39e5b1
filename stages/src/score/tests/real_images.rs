//! The row "Real Images", on pictures that are none of DreamBench's.

use cafe_engine::Device;

use super::super::real_images::{RealImages, RealImagesError, real_images};
use super::super::rows::decode;
use super::super::towers::{ImageTower, Kind};
use super::*;
use crate::onnx::Library;

/// `DIR/dataset` with three subjects, one of them with one picture, and what is to be ignored.
fn dataset() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let put = |path: &str, bytes: &[u8]| {
        let path = dir.path().join("dataset").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    for (path, name) in [
        ("alone/00.png", "food/pizza.png"),
        ("cat2/00.png", "animal/elephant.png"),
        ("cat2/01.png", "animal/parrot.png"),
        ("cat2/02.png", "animal/penguin.png"),
        ("dog/00.png", "vehicle/taxi.png"),
        ("dog/01.png", "gradient"),
        ("stray.png", "food/pizza.png"),
        ("dog/deeper/02.png", "food/pizza.png"),
    ] {
        put(path, &picture(name));
    }
    put("prompts_and_classes.txt", b"Classes");
    put("dog/.DS_Store", b"");
    dir
}

fn compute(folder: &Path) -> Result<RealImages, RealImagesError> {
    let context = CompileContext::new(Path::new("."), Seed(7));
    let (clip, dino) = (mini().join("clip_filter"), mini().join("dino_filter"));
    real_images(folder, (&clip, &dino), &Store(mini()), &context)
}

/// One picture after another, without batches.
fn alone(kind: Kind, role: &str, name: &str) -> Vec<f64> {
    let tower = ImageTower::load(&mini().join(role), kind, &Library::None).unwrap();
    let image = decode(&picture(name), &Default::default()).unwrap();
    let pixels = tower.processor.process(&image, &Device::Cpu).unwrap();
    tower.embed(&[pixels]).unwrap()[0].iter().map(|number| f64::from(*number)).collect()
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

#[test]
fn it_is_the_mean_over_subjects_of_the_mean_over_pairs() {
    let dir = dataset();
    let found = compute(dir.path()).unwrap();
    let names: Vec<(&str, usize)> =
        found.subjects.iter().map(|subject| (subject.name.as_str(), subject.n_pictures)).collect();
    assert_eq!(names, [("cat2", 3), ("dog", 2)]);
    assert_eq!((found.skipped.as_slice(), found.n_pictures()), (&["alone".to_owned()][..], 5));
    // The stray picture, the one that lies deeper, the text and the hidden file.
    assert_eq!(found.n_ignored, 4);
    let wanted = |kind: Kind, role: &str| {
        let [a, b, c, d, e] =
            ["animal/elephant.png", "animal/parrot.png", "animal/penguin.png", "vehicle/taxi.png", "gradient"]
                .map(|name| alone(kind, role, name));
        [(dot(&a, &b) + dot(&a, &c) + dot(&b, &c)) / 3.0, dot(&d, &e)]
    };
    let (clip, dino) = (wanted(Kind::Clip, "clip_filter"), wanted(Kind::Dino, "dino_filter"));
    for (at, subject) in found.subjects.iter().enumerate() {
        assert!((subject.clip_i - clip[at]).abs() < 1e-4, "{subject:?}, not {clip:?}");
        assert!((subject.dino - dino[at]).abs() < 1e-4, "{subject:?}, not {dino:?}");
    }
    assert!((found.mean(|subject| subject.dino) - (dino[0] + dino[1]) / 2.0).abs() < 1e-4);
    assert_eq!(found.clip.model.role, "clip_filter");
    assert!(!found.dino.has_usual_preprocessing, "the mini family takes pictures of 64 px");
    // The folder `dataset` itself will do.
    let inner = compute(&dir.path().join("dataset")).unwrap();
    assert_eq!(inner.subjects, found.subjects);
}

#[test]
fn what_is_no_benchmark_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let told = |dir: &Path| match compute(dir) {
        Err(RealImagesError::Folder(message)) => message,
        other => panic!("{other:?}"),
    };
    assert!(told(&dir.path().join("absent")).starts_with("there is no folder "));
    std::fs::write(dir.path().join("README"), "").unwrap();
    assert!(told(dir.path()).contains("holds no pictures of subjects"));
    std::fs::create_dir(dir.path().join("dog")).unwrap();
    std::fs::write(dir.path().join("dog/00.png"), picture("animal/penguin.png")).unwrap();
    assert!(told(dir.path()).contains("has two pictures"));
    std::fs::write(dir.path().join("dog/01.jpg"), "damaged").unwrap();
    let damaged = told(dir.path());
    assert!(damaged.contains("dog/01.jpg: ") && damaged.contains("is not a picture"), "{damaged}");
    let context = CompileContext::new(Path::new("."), Seed(7));
    let absent = dir.path().join("no-model");
    let failed = real_images(dir.path(), (&absent, &absent), &Store(mini()), &context);
    assert!(matches!(failed, Err(RealImagesError::Model(message)) if message.contains("no-model")));
}
