//! `profusion`, through the program, with the tiny models that the engine's goldens were made with.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use cafe_pipeline::frame;
use polars::prelude::*;

use crate::support::models::killed_at_work;
use crate::support::program::Project;

/// A project with `x.png` and the family `family`, made of the goldens' folders.
fn project() -> Project {
    let project = Project::new("");
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/goldens/profusion");
    project.write("x.png", &std::fs::read(goldens.join("x.png")).unwrap());
    let promptnet = project.path("family/promptnet");
    std::fs::create_dir_all(&promptnet).unwrap();
    symlink(&goldens, project.path("family/text_to_image")).unwrap();
    for name in ["config.json", "diffusion_pytorch_model.safetensors"] {
        symlink(goldens.join("promptnet").join(name), promptnet.join(name)).unwrap();
    }
    symlink(goldens.join("image_encoder"), promptnet.join("image_encoder")).unwrap();
    project
}

fn arguments<'a>(output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let subject =
        ["profusion", "--family", "family", "--image", "x.png", "--noun", "fox", "--steps", "3", "-o", output];
    let tuning = ["--augmentations", "2", "--batch-size", "2", "--learning-rate", "1e-3"];
    [&subject[..], &tuning, more].concat()
}

const PROMPT: [&str; 2] = ["--prompt", "a holder on the beach"];

#[test]
fn a_subject_is_tuned_to_once() {
    let project = project();
    let make = |output: &str, iterations: &str, more: &[&str]| {
        let args = arguments(output, &[&PROMPT[..], &["--cache", "cache", "--iterations", iterations], more].concat());
        let ran = project.cafe(&args).ends(0);
        let said: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        (std::fs::read(project.path(output)).unwrap(), said)
    };
    let (first, said) = make("first.png", "2", &[]);
    assert_eq!(said["weights_were_found"], false);
    let weights = project.path("cache").join(format!("{}.safetensors", said["weights"].as_str().unwrap()));
    assert!(weights.is_file(), "{}", weights.display());
    let (again, said) = make("again.png", "2", &[]);
    assert_eq!(said["weights_were_found"], true);
    assert!(again == first, "the same seed makes another picture");
    let (plain, said) = make("plain.png", "2", &["--preset", "plain"]);
    assert_eq!((&said["weights_were_found"], &said["fusion"]["n_refine"]), (&true.into(), &0.into()));
    assert!(plain != first, "fusion changes nothing");
    assert_eq!(make("other.png", "3", &[]).1["weights_were_found"], false);
    let (untuned, said) = make("untuned.png", "0", &[]);
    assert!(said["weights"].is_null() && untuned != first);
}

#[test]
fn what_cannot_be_made_is_said_before_anything_is_tuned() {
    let project = project();
    let refused = |more: &[&str]| {
        let ran = project.cafe(&arguments("out.png", &[more, &["--cache", "cache"]].concat())).ends(2);
        assert!(!project.path("cache").try_exists().unwrap());
        ran.stderr
    };
    assert!(refused(&["--prompt", "a fox on the beach"]).contains("holder"));
    let said = refused(&[&PROMPT[..], &["--mask", "none.png"]].concat());
    assert!(said.contains("none.png"), "{said}");
    std::fs::remove_file(project.path("family/promptnet/config.json")).unwrap();
    assert!(refused(&PROMPT).contains("promptnet/config.json"));
}

fn train<'a>(output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args =
        ["train", "promptnet", "--family", "family", "--pairs", "pictures.parquet", "-o", output, "--steps", "12"];
    let settings = ["--batch-size", "2", "--save-every", "1", "--learning-rate", "1e-3", "--ema", "0.5", "--seed", "4"];
    [&args[..], &settings, more].concat()
}

/// `reference_image` alone: what is trained on is pictures.
fn write_pictures(path: &Path) {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/goldens/profusion");
    let pictures = ["x.png", "y.png", "x.png"].map(|name| std::fs::read(goldens.join(name)).unwrap());
    let column = Column::new("reference_image".into(), pictures.each_ref().map(Vec::as_slice));
    let mut rows = DataFrame::new(3, vec![column]).unwrap();
    std::fs::write(path, frame::to_parquet(&mut rows, &[]).unwrap()).unwrap();
}

#[test]
fn a_pre_training_that_is_killed_goes_on_to_the_same_promptnet() {
    let project = project();
    write_pictures(&project.path("pictures.parquet"));
    let whole = project.cafe(&train("whole", &["--from-unet"])).ends(0);
    assert_eq!(whole.stdout.trim(), "whole/promptnet");
    let mut n_kills = 0;
    for n_points in [2, 4] {
        let mut command = project.command(&train("killed", &["--from-unet"]));
        let child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        n_kills += usize::from(killed_at_work(child, &project.path("killed/resume"), n_points));
    }
    assert!(n_kills > 0, "it was always faster than the kill: more steps are needed");
    project.cafe(&train("killed", &["--from-unet"])).ends(0);
    let file = "promptnet/diffusion_pytorch_model.safetensors";
    let weights = |output: &str| std::fs::read(project.path(output).join(file)).unwrap();
    assert!(weights("killed") == weights("whole"), "other weights after {n_kills} kills");

    // Without --from-unet, training goes on from the family's own.
    project.cafe(&train("own", &[])).ends(0);
    assert!(weights("own") != weights("whole"));
    let said = project.cafe(&train("own", &["--from-unet"])).ends(2).stderr;
    assert!(said.contains("own has another training: "), "{said}");

    // What was trained makes pictures.
    let before = {
        project.cafe(&arguments("before.png", &[&PROMPT[..], &["--iterations", "0"]].concat())).ends(0);
        std::fs::read(project.path("before.png")).unwrap()
    };
    for name in ["config.json", "diffusion_pytorch_model.safetensors"] {
        let to = project.path("family/promptnet").join(name);
        std::fs::remove_file(&to).unwrap();
        std::fs::copy(project.path("whole/promptnet").join(name), to).unwrap();
    }
    project.cafe(&arguments("after.png", &[&PROMPT[..], &["--iterations", "0"]].concat())).ends(0);
    assert!(before != std::fs::read(project.path("after.png")).unwrap());
}

#[test]
fn a_config_is_made_where_there_is_none() {
    let project = project();
    write_pictures(&project.path("pictures.parquet"));
    let expected = std::fs::read(project.path("family/promptnet/config.json")).unwrap();
    for name in ["config.json", "diffusion_pytorch_model.safetensors"] {
        std::fs::remove_file(project.path("family/promptnet").join(name)).unwrap();
    }
    assert!(project.cafe(&train("own", &[])).ends(2).stderr.contains("family/promptnet"));
    project.cafe(&train("made", &["--from-unet"])).ends(0);
    let config = |bytes: &[u8]| -> serde_json::Value { serde_json::from_slice(bytes).unwrap() };
    let made = config(&std::fs::read(project.path("made/promptnet/config.json")).unwrap());
    let expected = config(&expected);
    for key in ["block_out_channels", "cross_attention_dim", "region_kernel_size", "prompt_channel", "vision_dim"] {
        assert_eq!(made[key], expected[key], "{key}");
    }
    assert_eq!(made["text_states"], "last");
}
