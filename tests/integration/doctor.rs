//! `doctor --scorers`: the row "Real Images" of DreamBench, through the program.

use std::path::Path;

use serde_json::Value;

use crate::support::program::Project;

/// A folder `dreambench` in the layout of DreamBench, with two subjects to compare and one that has one picture.
fn project() -> Project {
    let project = Project::new("");
    std::fs::remove_file(project.path("cafe.toml")).unwrap();
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/pictures");
    for (path, name) in [
        ("cat2/00.png", "animal/black_cat.png"),
        ("cat2/01.png", "animal/zebra_face.png"),
        ("cat2/02.png", "animal/turtle.png"),
        ("dog/00.png", "animal/service_dog.png"),
        ("dog/01.png", "animal/penguin.png"),
        ("vase/00.png", "food/pizza.png"),
    ] {
        project.write(&format!("dreambench/dataset/{path}"), &std::fs::read(pictures.join(name)).unwrap());
    }
    project.write("dreambench/dataset/prompts_and_classes.txt", b"Classes");
    project
}

#[test]
fn without_weights_it_says_what_is_missing_and_how_to_get_it() {
    let ran = project().cafe(&["doctor", "--scorers", "dreambench"]).ends(3);
    assert!(ran.stdout.is_empty(), "{}", ran.stdout);
    for part in [
        "there is no model for clip_filter and dino_filter",
        "cafe-data models fetch clip-vit-base-patch32 --allow-unpinned",
        "facebook/dino-vits16",
        "--family filters",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    let ran = project().cafe(&["doctor", "--scorers", "dreambench", "--family", "nowhere"]).ends(3);
    assert!(ran.stderr.contains("there is no family nowhere"), "{}", ran.stderr);
    project().cafe(&["doctor", "--family", "mini"]).ends(2);
}

#[test]
fn a_folder_that_is_not_the_benchmark_is_refused() {
    let project = project();
    let told = |folder: &str| project.cafe(&["doctor", "--scorers", folder, "--family", "mini"]).ends(2).stderr;
    assert!(told("nowhere").contains("there is no folder nowhere"));
    project.write("empty/dataset/README.md", b"nothing to see");
    let empty = told("empty");
    assert!(empty.contains("holds no pictures of subjects") && empty.contains("google/dreambooth"), "{empty}");
}

#[test]
fn the_mini_family_s_numbers_are_said_not_to_be_comparable() {
    let project = project();
    let args = ["doctor", "--scorers", "dreambench", "--family", "mini"];
    let text = project.cafe(&args).ends(0).stdout;
    for part in [
        "0.774",
        "0.885",
        "not comparable with the published row",
        "DINO belongs to the weights of DINO ViT-S/16; dino_filter is another model: 4 layers of 160",
        "CLIP-I belongs to the weights of OpenAI's CLIP ViT-B/32",
        "DreamBench has 158 pictures of 30 subjects; here are 5 of 2",
        "5 pictures of 2 subjects, 1 file ignored",
        "skipped, since one picture is like no other: vase",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    // The folder `dataset` itself will do, and one thread.
    let more = ["doctor", "--scorers", "dreambench/dataset", "--family", "mini", "--json", "--threads", "1"];
    let json: Value = serde_json::from_str(&project.cafe(&more).ends(0).stdout).unwrap();
    assert_eq!(json["verdict"], "not_comparable");
    assert_eq!(json["skipped"], serde_json::json!(["vase"]));
    let subjects = json["subjects"].as_array().unwrap();
    for (score, key) in json["scores"].as_array().unwrap().iter().zip(["dino", "clip_i"]) {
        let of = |row: &Value, key: &str| row[key].as_f64().unwrap();
        let mean = subjects.iter().map(|row| of(row, key)).sum::<f64>() / 2.0;
        assert!((mean - of(score, "here")).abs() < 1e-9 && mean.abs() <= 1.0, "{json}");
        assert!((of(score, "here") - of(score, "published") - of(score, "difference")).abs() < 1e-9);
        assert_eq!(score["model"]["role"], if key == "dino" { "dino_filter" } else { "clip_filter" });
    }
}
