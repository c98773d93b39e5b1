//! `chat`, `generate --assistant` and `train mllm`, through the program, with the tiny family that the engine's goldens were made
//! with. Its words mean nothing; how they are kept, and what is drawn by them, can be seen all the same.

use std::io::Cursor;
use std::path::Path;
use std::process::Stdio;

use cafe_pipeline::frame;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use polars::prelude::*;
use serde_json::Value;

use crate::support::models::{family, killed_at_work, project};
use crate::support::program::Project;

fn chat<'a>(output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args =
        ["chat", "--family", "family", "--image", "x.png", "-o", output, "--steps", "3", "--max-new-tokens", "9"];
    [&args[..], more].concat()
}

/// What was printed, a JSON value in each line.
fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn kept(project: &Project, output: &str) -> Value {
    serde_json::from_slice(&std::fs::read(project.path(output).join("chat.json")).unwrap()).unwrap()
}

#[test]
fn a_conversation_is_kept_and_goes_on() {
    let project = project();
    let both = project.cafe(&chat("both", &["--say", "a dog on the beach", "--say", "and in the snow"])).ends(0);
    let rounds = lines(&both.stdout);
    assert_eq!(rounds.len(), 2);
    assert_eq!(kept(&project, "both")["rounds"], Value::from(rounds.clone()));
    let picture = |output: &str, name: &str| std::fs::read(project.path(output).join(name)).unwrap();
    assert_eq!(rounds[1]["image"], "002.png");
    assert!(picture("both", "001.png") != picture("both", "002.png"), "what is said changes nothing");

    // Stopped between the rounds, and gone on with.
    project.cafe(&chat("one", &["--say", "a dog on the beach"])).ends(0);
    let second = project.cafe(&chat("one", &["--say", "and in the snow"])).ends(0);
    assert_eq!(lines(&second.stdout), rounds[1..]);
    assert_eq!(kept(&project, "one")["rounds"], kept(&project, "both")["rounds"]);
    assert!(picture("one", "002.png") == picture("both", "002.png"), "another picture after a pause");
    // The second reply depends on the first round.
    let alone = project.cafe(&chat("alone", &["--say", "and in the snow"])).ends(0);
    assert!(picture("alone", "001.png") != picture("both", "002.png") && lines(&alone.stdout)[0] != rounds[1]);
}

#[test]
fn lines_are_read_from_a_program_too() {
    let project = project();
    let input = "hello\n\n/seed 5\nhello\n/like w.png 1\nhello\n/like none.png\n/what\n/quit\nnever said\n";
    project.write("input", input.as_bytes());
    let stdin = std::fs::File::open(project.path("input")).unwrap();
    let ran = project.command(&chat("out", &[])).stdin(Stdio::from(stdin)).output().unwrap();
    assert!(ran.status.success());
    let rounds = lines(&String::from_utf8(ran.stdout).unwrap());
    let of = |key: &str| rounds.iter().map(|round| round[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("user"), ["hello"; 3]);
    assert_eq!(of("seed"), [0, 5, 5]);
    assert_eq!(of("alpha"), [Value::Null, Value::Null, 1.0.into()]);
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(said.contains("none.png") && said.contains("/like FILE [ALPHA]"), "{said}");
}

#[test]
fn another_picture_is_another_conversation() {
    let project = project();
    project.cafe(&chat("out", &["--say", "hello", "--text-only"])).ends(0);
    assert_eq!(kept(&project, "out")["rounds"][0]["image"], Value::Null);
    std::fs::copy(project.path("w.png"), project.path("x.png")).unwrap();
    let said = project.cafe(&chat("out", &["--say", "hello"])).ends(2).stderr;
    assert!(said.contains("was another image") && said.contains("--output"), "{said}");
    project.write("out/chat.json", b"{");
    assert!(project.cafe(&chat("out", &["--say", "hello"])).ends(2).stderr.contains("chat.json"));
}

#[test]
fn what_the_assistant_understands_is_drawn() {
    let project = project();
    let generate = |more: &[&str]| {
        let args = ["generate", "--family", "family", "--image", "x.png", "--prompt", "a dog on the beach"];
        let settings = ["--steps", "3", "--max-new-tokens", "9", "-o", "out.png"];
        let ran = project.cafe(&[&args[..], &settings, more].concat()).ends(0);
        let said: Value = serde_json::from_str(&ran.stdout).unwrap();
        (std::fs::read(project.path("out.png")).unwrap(), said)
    };
    let words = ["--temperature", "1", "--seed", "3"];
    let (one, said) = generate(&[&["--assistant"][..], &words].concat());
    project.cafe(&chat("chat", &[&["--say", "a dog on the beach"][..], &words].concat())).ends(0);
    assert!(one == std::fs::read(project.path("chat/001.png")).unwrap(), "chat draws another picture");
    assert_eq!(said["reply"], kept(&project, "chat")["rounds"][0]["assistant"]);
    let (plain, said) = generate(&[]);
    assert!(plain != one && said["reply"].is_null());
    let mixed = |alpha: &str| generate(&[&["--assistant", "--like", "w.png", "--alpha", alpha][..], &words].concat()).0;
    assert!(mixed("0") == one, "with alpha 0, w counts");
    assert!(mixed("0.5") != one && mixed("0.5") != mixed("1"));
    let edited = generate(&[&["--assistant", "--edit", "w.png", "--strength", "0.4"][..], &words].concat()).0;
    assert!(edited != one, "the picture to be edited changes nothing");
}

#[test]
fn an_assistant_that_does_not_fit_is_refused() {
    let project = project();
    let refused = |args: &[&str]| project.cafe(args).ends(2).stderr;
    let args = ["generate", "--family", "family", "--image", "x.png", "-o", "out.png"];
    assert!(refused(&[&args[..], &["--assistant", "--like", "w.png"]].concat()).contains("--prompt"));
    let said = refused(&[&args[..], &["--like", "w.png", "--prompt", "a dog"]].concat());
    assert!(said.contains("--like cannot be used with --prompt"), "{said}");
    let said = refused(&chat("out", &["--say", "hello", "--llm", "./none"]));
    assert!(said.contains("none"), "{said}");

    // Another language model, of the same shape.
    let other = project.path("other");
    std::fs::create_dir(&other).unwrap();
    for entry in std::fs::read_dir(family().join("mllm/base")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, other.join(path.file_name().unwrap())).unwrap();
    }
    let file = other.join("model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let said = refused(&chat("out", &["--say", "hello", "--llm", "other"]));
    assert!(said.contains("mllm/config.json: key `base_digest`") && said.contains("train mllm"), "{said}");
}

/// Squares of a colour, on white in x and on another colour in x~; what was said of each, where anything was.
fn write_pairs(path: &Path, replies: &[Option<&str>]) {
    let png = |row: usize, ground: [u8; 3]| {
        let mut bytes = Cursor::new(Vec::new());
        let shade = (row as u8).wrapping_mul(37);
        let square = |x: u32, y: u32| if x.max(y) < 20 { Rgb([shade, 255 - shade, 90]) } else { Rgb(ground) };
        DynamicImage::ImageRgb8(RgbImage::from_fn(40, 32, square)).write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    };
    let pictures = |name: &str, ground: [u8; 3]| {
        let pictures: Vec<Vec<u8>> = (0..replies.len()).map(|row| png(row, ground)).collect();
        Column::new(name.into(), pictures.iter().map(Vec::as_slice).collect::<Vec<&[u8]>>())
    };
    let said: Vec<String> = (0..replies.len()).map(|row| format!("number {row}, please")).collect();
    let columns = vec![
        pictures("reference_image", [255; 3]),
        pictures("target_image", [20, 60, 200]),
        Column::new("y".into(), said),
        Column::new("y_tilde".into(), replies),
    ];
    let mut rows = DataFrame::new(replies.len(), columns).unwrap();
    std::fs::write(path, frame::to_parquet(&mut rows, &[]).unwrap()).unwrap();
}

const REPLIES: [Option<&str>; 5] =
    [Some("Here is one."), None, Some("It is blue now."), Some("On blue, as asked."), Some("Done.")];

fn train<'a>(output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = ["train", "mllm", "--family", "family", "--pairs", "pairs.parquet", "-o", output, "--steps", "20"];
    let settings = ["--batch-size", "2", "--accumulate", "2", "--save-every", "1", "--seed", "5", "--from-scratch"];
    [&args[..], &settings, more].concat()
}

fn weights(project: &Project, output: &str) -> Vec<u8> {
    std::fs::read(project.path(output).join("mllm/model.safetensors")).unwrap()
}

#[test]
fn a_training_that_is_killed_goes_on_to_the_same_assistant() {
    let project = project();
    write_pairs(&project.path("pairs.parquet"), &REPLIES);
    let whole = project.cafe(&train("whole", &[])).ends(0);
    assert_eq!(whole.stdout.trim(), "whole/mllm");
    assert!(whole.stderr.contains("1 of 5 pairs have no reply, and are left out"), "{}", whole.stderr);
    let mut n_kills = 0;
    for n_points in [2, 5] {
        let mut command = project.command(&train("killed", &[]));
        let child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        n_kills += usize::from(killed_at_work(child, &project.path("killed/resume"), n_points));
    }
    assert!(n_kills > 0, "it was always faster than the kill: more steps are needed");
    project.cafe(&train("killed", &[])).ends(0);
    assert!(weights(&project, "killed") == weights(&project, "whole"), "other weights after {n_kills} kills");
    let curve = std::fs::read_to_string(project.path("whole/loss.csv")).unwrap();
    let losses: Vec<f64> = curve.lines().skip(1).map(|line| line.split(',').nth(1).unwrap().parse().unwrap()).collect();
    assert_eq!(losses.len(), 20);
    assert!(losses[19] < losses[0], "{losses:?}");

    // What was trained speaks.
    let trained = project.path("trained");
    std::fs::create_dir_all(trained.join("mllm")).unwrap();
    for role in ["clip_condition", "dino_condition", "text_to_image", "cafe_unet"] {
        std::os::unix::fs::symlink(family().join(role), trained.join(role)).unwrap();
    }
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(project.path("whole/mllm").join(name), trained.join("mllm").join(name)).unwrap();
    }
    let chat = ["chat", "--family", "trained", "--image", "x.png", "--say", "number 2, please", "--steps", "2"];
    // Its language model was not fetched yet. Names of models may stand in a manifest: here is none.
    std::fs::remove_file(project.path("cafe.toml")).unwrap();
    let said = project.cafe(&chat).ends(2).stderr;
    assert!(said.contains("trained/mllm/base") && said.contains("cafe-data models fetch"), "{said}");
    std::os::unix::fs::symlink(family().join("mllm/base"), trained.join("mllm/base")).unwrap();
    project.cafe(&chat).ends(0);
}

#[test]
fn an_assistant_is_made_as_asked() {
    let project = project();
    write_pairs(&project.path("pairs.parquet"), &REPLIES);
    let more = ["--distance", "cosine", "--token-after", "prompt", "--image-pool", "2", "--system", "Be brief."];
    project.cafe(&train("made", &more)).ends(0);
    let config: Value = serde_json::from_slice(&std::fs::read(project.path("made/mllm/config.json")).unwrap()).unwrap();
    assert_eq!((&config["distance"], &config["token_after"]), (&"cosine".into(), &"prompt".into()));
    assert_eq!((&config["image_pool"], &config["system"]), (&2.into(), &"Be brief.".into()));
    assert!(config["condition_norm"].as_f64().unwrap() > 0.0);
    let said = project.cafe(&train("made", &[])).ends(2).stderr;
    assert!(said.contains("made has another training: mllm was"), "{said}");
}

#[test]
fn pairs_without_words_are_named() {
    let project = project();
    write_pairs(&project.path("pairs.parquet"), &[None, None]);
    let said = project.cafe(&train("out", &[])).ends(2).stderr;
    assert!(said.contains("none of 2 pairs has a reply"), "{said}");
    let long = "word ".repeat(300);
    write_pairs(&project.path("pairs.parquet"), &[Some("short"), Some(&long)]);
    let said = project.cafe(&train("out", &[])).ends(2).stderr;
    assert!(said.contains("row 1: ") && said.contains("the language model reads 256"), "{said}");
    let rows = frame::read_slice(std::fs::File::open(project.path("pairs.parquet")).unwrap(), 0, 2, None).unwrap();
    let mut rows = rows.drop("y_tilde").unwrap();
    project.write("pairs.parquet", &frame::to_parquet(&mut rows, &[]).unwrap());
    let said = project.cafe(&train("out", &[])).ends(2).stderr;
    assert!(said.contains("y_tilde"), "{said}");
}
