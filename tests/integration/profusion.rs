//! `profusion`, through the program, with the tiny models that the engine's goldens were made with.

use std::os::unix::fs::symlink;
use std::path::Path;

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
