//! The dataset card and the features in the Parquet footers.

use std::io::Cursor;

use polars::prelude::*;
use serde_json::json;

use super::*;

fn card_of(release: &Release) -> String {
    String::from_utf8(release.files["README.md"].clone()).unwrap()
}

#[test]
fn the_card_says_what_is_known() {
    let config = json!({
        "release": "cafe-mini",
        "of": "candidates",
        "card": {
            "title": "Cafe: \"mini\" | set",
            "description": "Pairs of pictures.\n",
            "languages": ["en"],
            "tags": ["image-to-image"],
            "citation": "@misc{cafe}",
        },
    });
    let release = publish(&mut bench(4), config);
    let card = card_of(&release);
    let start = "---\npretty_name: \"Cafe: \\\"mini\\\" | set\"\nlicense: \"other\"\nlanguage:\n- \"en\"\ntags:\n\
                 - \"image-to-image\"\nsize_categories:\n- n<1K\nconfigs:\n- config_name: default\n  data_files:\n  \
                 - split: \"train\"\n    path: \"data/train-*.parquet\"\n  - split: \"val\"\n";
    assert!(card.starts_with(start), "{card}");
    for part in [
        "  - name: \"reference_image\"\n    dtype: image\n",
        "  - name: \"seed\"\n    dtype: uint64\n",
        "  - name: \"score_clip\"\n    dtype: float64\n",
        "    num_examples: 12\n",
        "\n# Cafe: \"mini\" | set\n\nPairs of pictures.\n",
        "## Splits\n\n| | rows |\n|---|---:|\n| train | 12 |\n| val | 4 |\n",
        "## Rows left out\n\n| | rows |\n|---|---:|\n| clip >= 0.3 | 8 |\n",
        "## Citation\n\n```\n@misc{cafe}\n```\n",
        release.id(),
    ] {
        assert!(card.contains(part), "no {part:?} in\n{card}");
    }
}

#[test]
fn one_licence_of_all_rows_is_the_licence_of_the_release() {
    let mut bench = bench(4);
    let release = publish(&mut bench, json!({"licences": {"allow": ["CC0-1.0"]}}));
    assert!(card_of(&release).contains("license: \"cc0-1.0\"\n"));
    let release = publish(&mut bench, json!({"card": {"licence": "cc-by-4.0"}}));
    assert!(card_of(&release).contains("license: \"cc-by-4.0\"\n"));
}

#[test]
fn footers_tell_the_features() {
    let release = publish(&mut bench(4), json!({}));
    let bytes = release.files["data/val-00000-of-00001.parquet"].clone();
    let metadata = ParquetReader::new(Cursor::new(bytes)).get_metadata().unwrap().clone();
    let pairs = metadata.key_value_metadata().as_ref().unwrap();
    let text = pairs.iter().find(|pair| pair.key == "huggingface").unwrap().value.as_deref().unwrap();
    let features: Value = serde_json::from_str(text).unwrap();
    let features = features["info"]["features"].as_object().unwrap();
    assert_eq!(features["target_image"], json!({"_type": "Image"}));
    assert_eq!(features["score_clip"], json!({"dtype": "float64", "_type": "Value"}));
    assert_eq!(features["round"], json!({"dtype": "uint32", "_type": "Value"}));
    let rows = release.all_rows();
    let names: std::collections::BTreeSet<&str> =
        rows.get_column_names().into_iter().map(|name| name.as_str()).collect();
    assert_eq!(features.keys().map(String::as_str).collect::<std::collections::BTreeSet<_>>(), names);
}
