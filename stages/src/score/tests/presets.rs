//! Presets of filters that meet scores: the plan warns where the weights are others.

use cafe_pipeline::manifest::Manifest;
use cafe_pipeline::plan;
use cafe_pipeline::stage::StageRegistry;

use super::*;
use crate::collect::CollectKind;
use crate::filter::{FilterKind, warnings};
use crate::import::ImportKind;

fn warned(family: &Path, stages: &str) -> Vec<String> {
    let text = format!(
        "version = 1\n[[stage]]\nkind = \"import\"\nname = \"import\"\nsource = {{ type = \"folder\", path = \"in\" }}\n{stages}"
    );
    let registry = StageRegistry::default()
        .with(CollectKind)
        .with(FilterKind)
        .with(ImportKind)
        .with(ScoreKind::new(Arc::new(Store(family.to_owned()))));
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    std::fs::write(folder.path().join("in/metadata.csv"), "reference_file_name,file_name\n").unwrap();
    let manifest = Manifest::parse(&folder.path().join("cafe.toml"), &text, &registry).unwrap();
    warnings(&plan::compile(&manifest, &registry, &[]).unwrap())
}

fn stages(score: &str, filter: &str) -> String {
    format!(
        "[[stage]]\nkind = \"score\"\nname = \"score\"\nneeds = [\"import\"]\n{score}\n\
         [[stage]]\nkind = \"filter\"\nname = \"filter\"\nneeds = [\"score\"]\n{filter}\n"
    )
}

#[test]
fn a_preset_fits_its_weights_and_no_others() {
    assert_eq!(warned(&mini(), &stages("", "preset = \"mini-1\"")), [""; 0]);
    let found = warned(&mini(), &stages("", "preset = \"cafe-2023\""));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("filter: `clip >= 0.3` of the preset cafe-2023 was found with OpenAI's CLIP ViT-B/32")
    );
    assert!(
        found[0].contains("`score` scores with another clip_filter: 4 layers of 128, patches of 8 px"),
        "{}",
        found[0]
    );
    assert!(found[1].contains("DINO ViT-S/16"));
    let rules = "rules = [{ column = \"clip\", min = 0.3 }]";
    assert_eq!(warned(&mini(), &stages("", rules)), [""; 0], "rules are the user's own");
}

#[test]
fn weights_of_the_published_architecture_are_taken_for_the_published() {
    let family = without_onnx();
    let clip = json!({"model_type": "clip", "vision_config": {"hidden_size": 768, "patch_size": 32}});
    let dino = json!({"model_type": "vit", "hidden_size": 384, "num_hidden_layers": 12, "patch_size": 16});
    for (role, config) in [("clip_filter", clip), ("dino_filter", dino)] {
        std::fs::write(family.path().join(role).join("config.json"), config.to_string()).unwrap();
    }
    assert_eq!(warned(family.path(), &stages("", "preset = \"cafe-2023\"")), [""; 0]);
    assert_eq!(warned(family.path(), &stages("", "preset = \"mini-1\"")).len(), 2);
}
