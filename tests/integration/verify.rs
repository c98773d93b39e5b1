//! `models verify`, and models that other commands know by name.

use std::path::Path;

use serde_json::Value;

use crate::support::hub::{Hub, bytes, fetch, listed, pinned, project as with_models, sha256};
use crate::support::models::{family, project as with_family};
use crate::support::program::{Project, Ran};

/// The rows of a table.
fn rows(ran: &Ran) -> Vec<Value> {
    serde_json::from_str(&ran.stdout).unwrap()
}

fn result<'a>(rows: &'a [Value], model: &str) -> Vec<&'a str> {
    rows.iter().filter(|row| row["model"] == model).map(|row| row["result"].as_str().unwrap()).collect()
}

/// A model `eye`, which is the family's `dino_condition`, in a folder of the project.
fn with_eye(dims: &str) -> Project {
    let from = family().join("dino_condition");
    let read = |name: &str| std::fs::read(from.join(name)).unwrap();
    let names = ["config.json", "model.safetensors", "preprocessor_config.json"];
    let file = |name: &&str| format!("{{ path = \"{name}\", sha256 = \"{}\" }}", sha256(&read(name)));
    let files: Vec<String> = names.iter().map(file).collect();
    let project = with_models(&format!(
        "[models.eye]\nrole = \"dino_condition\"\nfiles = [{}]\n{dims}\nsources = [{{ type = \"path\", path = \"eye\" }}]",
        files.join(", ")
    ));
    for name in names {
        project.write(&format!("eye/{name}"), &read(name));
    }
    project
}

#[test]
fn a_family_is_verified_role_by_role() {
    let project = with_family();
    let ran = project.cafe(&["models", "verify", "--family", "family", "--json"]).ends(0);
    let rows = rows(&ran);
    for role in ["clip_condition", "dino_condition", "text_to_image", "cafe_unet", "mllm"] {
        let results = result(&rows, role);
        assert!(!results.is_empty() && results.iter().all(|result| *result == "ok"), "{role}: {}", ran.stdout);
    }
    assert_eq!(result(&rows, "clip_judge"), ["absent"]);
    let table = project.cafe(&["models", "verify", "--family", "family"]).ends(0).stdout;
    assert!(table.contains("vae decode") && table.contains("absent"), "{table}");
    let said = project.cafe(&["models", "verify", "--family", "."]).ends(2).stderr;
    assert!(said.contains("no folder of any role"), "{said}");
}

#[test]
fn a_family_with_a_damaged_model_fails() {
    let project = Project::new("");
    let link = |role: &str| {
        std::fs::create_dir_all(project.path("broken")).unwrap();
        std::os::unix::fs::symlink(family().join(role), project.path("broken").join(role)).unwrap();
    };
    ["clip_condition", "cafe_unet"].into_iter().for_each(link);
    for name in ["config.json", "preprocessor_config.json"] {
        let bytes = std::fs::read(family().join("dino_condition").join(name)).unwrap();
        project.write(&format!("broken/dino_condition/{name}"), &bytes);
    }
    let ran = project.cafe(&["models", "verify", "--family", "broken", "--json"]).ends(4);
    let rows = rows(&ran);
    assert_eq!(result(&rows, "dino_condition"), ["failed"]);
    assert_eq!(result(&rows, "clip_condition"), ["ok"]);
    assert!(ran.stdout.contains("model.safetensors"), "{}", ran.stdout);
}

#[test]
fn a_model_is_compared_with_its_digests_and_its_numbers() {
    let project = with_eye("dims = { hidden_size = 20 }");
    let ran = project.cafe(&["models", "verify", "eye"]).ends(0);
    assert!(ran.stdout.contains("3 files") && ran.stdout.contains("hidden_size 20"), "{}", ran.stdout);
    // All that are there, which is this one.
    assert_eq!(rows(&project.cafe(&["models", "verify", "--json"]).ends(0)).len(), 3);
    let said = with_eye("dims = { hidden_size = 21 }").cafe(&["models", "verify", "eye"]).ends(4).stdout;
    assert!(said.contains("`hidden_size` is 20, where 21 is wanted"), "{said}");

    let path = project.path("eye/model.safetensors");
    let mut weights = std::fs::read(&path).unwrap();
    *weights.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &weights).unwrap();
    let said = project.cafe(&["models", "verify", "eye"]).ends(4).stdout;
    assert!(said.contains("model.safetensors is another file"), "{said}");
    let said = project.cafe(&["models", "verify", "smollm2-135m"]).ends(4).stdout;
    assert!(said.contains("run `cafe-data models fetch smollm2-135m`"), "{said}");
    assert!(with_models("").cafe(&["models", "verify"]).ends(2).stderr.contains("no model was fetched yet"));
}

#[test]
fn what_is_damaged_in_the_cache_is_fetched_again() {
    let body = bytes(3000);
    let (hub, project) = (Hub::of(&body), pinned(&body));
    let fetched = || Ran::from(fetch(&project, &hub, &["tiny"]).output().unwrap()).ends(0).stdout;
    let folder = fetched();
    project.cafe(&["models", "verify", "tiny"]).ends(0);
    let path = Path::new(folder.trim()).join("a.bin");
    std::fs::write(&path, &bytes(3001)[1..]).unwrap();
    let said = project.cafe(&["models", "verify", "tiny"]).ends(4).stdout;
    assert!(said.contains("a.bin is another file") && said.contains("the next fetch brings it again"), "{said}");
    assert!(listed(&project, "tiny").contains("not fetched"));
    assert_eq!(fetched(), folder);
    assert!(std::fs::read(&path).unwrap() == body);
    project.cafe(&["models", "verify", "tiny"]).ends(0);
}

#[test]
fn models_are_known_by_name_to_other_commands() {
    let project = with_models(
        "[models.mine]\nrole = \"family\"\nsources = [{ type = \"path\", path = \"family\" }]\n[models.words]\nrole = \"llm\"\nsources = [{ type = \"path\", path = \"family/mllm/base\" }]",
    );
    for name in ["x.png", "w.png"] {
        project.write(name, &std::fs::read(family().join(name)).unwrap());
    }
    std::os::unix::fs::symlink(family(), project.path("family")).unwrap();
    let generate = |llm: &str| {
        let args =
            ["generate", "--family", "mine", "--image", "x.png", "--assistant", "--prompt", "a dog", "--llm", llm];
        project.cafe(&[&args[..], &["--steps", "2", "--max-new-tokens", "4", "-o", "out.png"]].concat())
    };
    generate("words").ends(0);
    let said = generate("smollm2-135m").ends(2).stderr;
    assert!(said.contains("run `cafe-data models fetch smollm2-135m`"), "{said}");
    assert!(generate("mine").ends(2).stderr.contains("has the role family"));
    let rows = rows(&project.cafe(&["models", "verify", "mine", "--json"]).ends(0));
    assert_eq!(result(&rows, "mine/dino_condition"), ["ok"]);
}
