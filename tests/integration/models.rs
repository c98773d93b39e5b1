//! `generate` and `train`, through the program, with the tiny family that the engine's goldens were made with.

use std::io::Cursor;
use std::path::Path;
use std::process::Stdio;

use cafe_pipeline::frame;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use polars::prelude::*;

use crate::support::models::{family, killed_at_work, project};
use crate::support::program::Project;

fn with_family<'a>(args: &[&'a str], family: &'a Path) -> Vec<&'a str> {
    [args, &["--family", family.to_str().unwrap()]].concat()
}

#[test]
fn a_picture_is_generated_from_two_and_a_seed_makes_it_again() {
    let (project, family) = (project(), family());
    let generate = |seed: &str, output: &str| {
        let args = [
            "generate", "--image", "x.png", "--like", "w.png", "--alpha", "0.4", "--seed", seed, "--steps", "4", "-o",
            output,
        ];
        let ran = project.cafe(&with_family(&args, &family)).ends(0);
        (std::fs::read(project.path(output)).unwrap(), ran.stdout)
    };
    let (one, said) = generate("7", "one.png");
    assert_eq!(generate("7", "again.png").0, one);
    assert_ne!(generate("8", "other.png").0, one);
    let picture = image::load_from_memory(&one).unwrap().into_rgb8();
    assert_eq!(picture.dimensions(), (32, 32));
    assert!(picture.pixels().any(|pixel| pixel != picture.get_pixel(0, 0)), "the picture is all of one colour");
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["seed"], &said["alpha"], &said["output"]), (&7.into(), &0.4.into(), &"one.png".into()));
}

#[test]
fn alpha_one_ignores_what_clip_sees_in_the_reference() {
    let (project, family) = (project(), family());
    let generate = |alpha: &str, like: &str| {
        let args = ["generate", "--image", "x.png", "--like", like, "--alpha", alpha, "--steps", "3", "-o", "out.png"];
        project.cafe(&with_family(&args, &family)).ends(0);
        std::fs::read(project.path("out.png")).unwrap()
    };
    assert_eq!(generate("0", "w.png"), generate("0", "x.png"));
    assert_ne!(generate("1", "w.png"), generate("1", "x.png"));
}

#[test]
fn a_picture_is_changed_where_the_mask_is_white() {
    let (project, family) = (project(), family());
    for (name, shade) in [("white.png", 255), ("black.png", 0)] {
        RgbImage::from_pixel(32, 32, Rgb([shade; 3])).save(project.path(name)).unwrap();
    }
    RgbImage::from_fn(32, 32, |x, _| Rgb([if x < 16 { 0 } else { 255 }; 3])).save(project.path("half.png")).unwrap();
    let edit = |more: &[&str]| {
        let args =
            ["generate", "--image", "x.png", "--like", "w.png", "--edit", "x.png", "--steps", "4", "-o", "e.png"];
        project.cafe(&with_family(&[&args[..], more].concat(), &family)).ends(0);
        std::fs::read(project.path("e.png")).unwrap()
    };
    let (kept, changed) = (edit(&["--strength", "0"]), edit(&["--strength", "0.9"]));
    assert!(changed != kept, "strength changes nothing");
    assert!(edit(&["--strength", "0.9", "--mask", "white.png"]) == changed, "a white mask keeps something");
    assert!(edit(&["--strength", "0.9", "--mask", "black.png"]) == kept, "a black mask does not keep all");
    let half = edit(&["--strength", "0.9", "--mask", "half.png"]);
    assert!(half != kept && half != changed, "half a mask is all or nothing");
}

#[test]
fn samplers_and_guidance_are_chosen() {
    let (project, family) = (project(), family());
    let mut pictures = std::collections::BTreeSet::new();
    for more in [
        &["--sampler", "ddim"][..],
        &["--sampler", "dpm-solver++"],
        &["--guidance", "independent"],
        &["--guidance", "normalised"],
        &["--guidance", "joint"],
        &["--guidance", "none"],
        &["--guidance-rescale", "0.7"],
    ] {
        let args = ["generate", "--image", "x.png", "--like", "w.png", "--steps", "3", "-o", "out.png"];
        project.cafe(&with_family(&[&args[..], more].concat(), &family)).ends(0);
        assert!(pictures.insert(std::fs::read(project.path("out.png")).unwrap()), "{more:?} changes nothing");
    }
    let args = ["generate", "--image", "x.png", "--like", "w.png", "-o", "out.png", "--strength", "0.5"];
    assert!(project.cafe(&with_family(&args, &family)).ends(2).stderr.contains("--edit"));
}

#[test]
fn a_prompt_makes_the_second_picture() {
    let (project, family) = (project(), family());
    let prompt = "a fox on the beach";
    let args = [
        "generate",
        "--image",
        "x.png",
        "--prompt",
        prompt,
        "--keep-donor",
        "donor.png",
        "--steps",
        "3",
        "-o",
        "out.png",
    ];
    project.cafe(&with_family(&args, &family)).ends(0);
    let args = ["generate", "--image", "x.png", "--like", "donor.png", "--steps", "3", "-o", "same.png"];
    project.cafe(&with_family(&args, &family)).ends(0);
    let read = |name: &str| std::fs::read(project.path(name)).unwrap();
    assert_eq!(read("out.png"), read("same.png"));
}

#[test]
fn what_cannot_be_generated_is_said_before_anything_is_computed() {
    let (project, family) = (project(), family());
    let refused = |args: &[&str]| {
        let ran = project.cafe(&[&["generate"], args].concat()).ends(2);
        assert!(!project.path("out.png").try_exists().unwrap());
        ran.stderr
    };
    let family = family.to_str().unwrap();
    let both = ["--image", "x.png", "--like", "w.png", "--family", family];
    assert!(refused(&[&both[..], &["-o", "out.tiff"]].concat()).contains("images are written as PNG"));
    assert!(refused(&[&both[..], &["-o", "out.png", "--alpha", "1.5"]].concat()).contains("a number from 0 to 1"));
    assert!(refused(&[&both[..], &["-o", "out.png", "--prompt", "a fox"]].concat()).contains("cannot be used with"));
    assert!(refused(&[&both[..], &["-o", "out.png", "--size", "30x32"]].concat()).contains("multiples of 16"));
    assert!(refused(&["--image", "x.png", "--family", family, "-o", "out.png"]).contains("--like"));
    assert!(
        refused(&["--image", "none.png", "--like", "w.png", "--family", family, "-o", "out.png"]).contains("none.png")
    );
    project.write("text.png", b"no picture");
    assert!(
        refused(&["--image", "text.png", "--like", "w.png", "--family", family, "-o", "out.png"])
            .contains("text.png: is not a picture")
    );
    let said = refused(&["--image", "x.png", "--like", "w.png", "--family", ".", "-o", "out.png"]);
    assert!(said.contains("clip_condition/config.json"), "{said}");
}

#[test]
fn what_cannot_be_converted_is_refused() {
    let project = project();
    let convert = |gguf: &str, output: &str| {
        let ran = project.cafe(&["convert", "--gguf", gguf, "-o", output]).ends(2);
        assert!(!project.path("made").try_exists().unwrap());
        ran.stderr
    };
    assert!(convert("none.gguf", "made").contains("none.gguf"));
    assert!(convert("x.png", "made").contains("x.png: "), "{}", convert("x.png", "made"));
    std::fs::create_dir(project.path("there")).unwrap();
    assert!(convert("x.png", "there").contains("there is there already"));
}

/// Coloured squares, larger in x~ than in x.
fn write_pairs(path: &Path, n_rows: u8) {
    write_columns(path, n_rows, &["reference_image", "target_image", "caption"]);
}

fn write_columns(path: &Path, n_rows: u8, wanted: &[&str]) {
    let png = |shade: u8, side: u32| {
        let mut bytes = Cursor::new(Vec::new());
        let square =
            |x: u32, y: u32| if x < side && y < side { Rgb([shade, 255 - shade, 90]) } else { Rgb([240, 240, 240]) };
        DynamicImage::ImageRgb8(RgbImage::from_fn(40, 32, square)).write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    };
    let column = |name: &str, side: u32| {
        let pictures: Vec<Vec<u8>> = (0..n_rows).map(|row| png(row.wrapping_mul(37), side)).collect();
        let pictures: Vec<&[u8]> = pictures.iter().map(Vec::as_slice).collect();
        Column::new(name.into(), pictures)
    };
    let captions: Vec<String> = (0..n_rows).map(|row| format!("a square of shade {row} on grey")).collect();
    let captions = Column::new("caption".into(), captions);
    let columns = vec![column("reference_image", 12), column("target_image", 24), captions];
    let columns = columns.into_iter().filter(|column| wanted.contains(&column.name().as_str())).collect();
    let mut rows = DataFrame::new(n_rows.into(), columns).unwrap();
    std::fs::write(path, frame::to_parquet(&mut rows, &[]).unwrap()).unwrap();
}

const STEPS: &str = "30";

fn train<'a>(output: &'a str, family: &'a Path) -> Vec<&'a str> {
    let args = ["train", "diffusion", "--pairs", "pairs.parquet", "-o", output, "--steps", STEPS, "--batch-size", "3"];
    let settings = ["--learning-rate", "1e-3", "--accumulate", "2", "--save-every", "1", "--ema", "0.5", "--seed", "5"];
    with_family(&[&args[..], &settings].concat(), family)
}

fn weights(project: &Project, output: &str) -> Vec<u8> {
    std::fs::read(project.path(output).join("cafe_unet/diffusion_pytorch_model.safetensors")).unwrap()
}

#[test]
fn a_training_that_is_killed_goes_on_to_the_same_weights() {
    let (project, family) = (project(), family());
    write_pairs(&project.path("pairs.parquet"), 7);
    let whole = project.cafe(&train("whole", &family)).ends(0);
    assert_eq!(whole.stdout.trim(), "whole/cafe_unet");
    let mut n_kills = 0;
    for n_points in [2, 5] {
        let child =
            project.command(&train("killed", &family)).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        n_kills += usize::from(killed_at_work(child, &project.path("killed/resume"), n_points));
    }
    assert!(n_kills > 0, "it was always faster than the kill: more steps are needed");
    project.cafe(&train("killed", &family)).ends(0);
    assert!(weights(&project, "killed") == weights(&project, "whole"), "other weights after {n_kills} kills");
    let curve = |output: &str| std::fs::read_to_string(project.path(output).join("loss.csv")).unwrap();
    assert_eq!(curve("killed"), curve("whole"));
    assert_eq!(curve("whole").lines().count(), 31);
    assert!(curve("whole").starts_with("step,loss,gradient_norm,learning_rate\n1,"));

    // What was trained is a model of the family's kind.
    let trained = project.path("trained");
    std::fs::create_dir(&trained).unwrap();
    for role in ["clip_condition", "dino_condition", "text_to_image"] {
        std::os::unix::fs::symlink(family.join(role), trained.join(role)).unwrap();
    }
    std::os::unix::fs::symlink(project.path("whole/cafe_unet"), trained.join("cafe_unet")).unwrap();
    let args = ["generate", "--image", "x.png", "--like", "w.png", "--steps", "2", "-o", "out.png"];
    project.cafe(&with_family(&args, &trained)).ends(0);
}

#[test]
fn new_keys_and_values_are_fitted_to_captions() {
    let (project, family) = (project(), family());
    write_pairs(&project.path("pairs.parquet"), 5);
    let train = |output: &str, init: &str| {
        let args =
            ["train", "diffusion", "--pairs", "pairs.parquet", "-o", output, "--steps", "1", "--batch-size", "2"];
        let more = ["--from-base", "--init", init, "--learning-rate", "0", "--ema", "0"];
        project.cafe(&with_family(&[&args[..], &more].concat(), &family))
    };
    for (output, init) in [("fitted", "ridge"), ("again", "ridge"), ("random", "orthogonal")] {
        train(output, init).ends(0);
    }
    assert!(weights(&project, "fitted") == weights(&project, "again"), "one fit, two results");
    assert!(weights(&project, "fitted") != weights(&project, "random"), "nothing was fitted");
    // One that goes on does not fit again, unless what was fitted is damaged.
    let (kept, before) = (project.path("fitted/fitted.safetensors"), weights(&project, "fitted"));
    let written = || kept.metadata().unwrap().modified().unwrap();
    let first = written();
    train("fitted", "ridge").ends(0);
    assert_eq!(written(), first);
    std::fs::write(&kept, b"damaged").unwrap();
    train("fitted", "ridge").ends(0);
    assert!(written() != first && weights(&project, "fitted") == before);
    write_columns(&project.path("pairs.parquet"), 5, &["reference_image", "target_image"]);
    let said = train("without", "ridge").ends(2).stderr;
    assert!(said.contains("row 0 of the pairs has no `caption`") && said.contains("begin with `orthogonal`"), "{said}");
}

#[test]
fn a_training_is_not_mixed_with_another() {
    let (project, family) = (project(), family());
    write_pairs(&project.path("pairs.parquet"), 3);
    let train = |more: &[&str]| {
        let args = ["train", "diffusion", "--pairs", "pairs.parquet", "-o", "out", "--steps", "2", "--batch-size", "2"];
        project.cafe(&with_family(&[&args[..], more].concat(), &family))
    };
    train(&["--from-base", "--clip-tokens", "2", "--trainable", "new_kv"]).ends(0);
    let said = train(&["--from-base", "--clip-tokens", "2", "--trainable", "all"]).ends(2).stderr;
    assert!(said.contains("out has another training: trainable was \"new_kv\", and is \"all\""), "{said}");
    write_pairs(&project.path("pairs.parquet"), 4);
    let said = train(&["--from-base", "--clip-tokens", "2", "--trainable", "new_kv"]).ends(2).stderr;
    assert!(said.contains("n_pairs was 3, and is 4"), "{said}");
}

#[test]
fn pairs_that_cannot_be_trained_on_are_named() {
    let (project, family) = (project(), family());
    let said = project.cafe(&train("out", &family)).ends(2).stderr;
    assert!(said.contains("pairs.parquet: "), "{said}");
    project.write("pairs.parquet", b"no Parquet");
    let said = project.cafe(&train("out", &family)).ends(2).stderr;
    assert!(said.contains("pairs.parquet: is not a Parquet file"), "{said}");
}
