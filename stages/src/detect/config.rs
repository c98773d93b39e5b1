//! What a detector's `config.json` says of its outputs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::objects::Scores;

/// What the outputs of a detector mean.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DetectorConfig {
    /// How its logits become scores.
    pub(super) scores: Scores,
    /// From which score on its documentation takes an object for found.
    pub(super) usual_score: f64,
    /// Names of classes.
    pub(super) labels: BTreeMap<usize, String>,
}

#[derive(Deserialize)]
struct File {
    model_type: String,
    #[serde(default)]
    id2label: BTreeMap<String, String>,
}

impl DetectorConfig {
    /// Reads it from the model's folder.
    pub(super) fn read(folder: &Path) -> Result<Self, String> {
        let path = folder.join("config.json");
        let bytes = fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Self::parse(&bytes).map_err(|fault| format!("{}: {fault}", path.display()))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let file: File = serde_json::from_slice(bytes).map_err(|error| format!("is not valid: {error}"))?;
        let (scores, usual_score) = match file.model_type.as_str() {
            "detr" | "yolos" => (Scores::Softmax, 0.9),
            "conditional_detr" => (Scores::Sigmoid, 0.5),
            other => {
                return Err(format!(
                    "model_type = \"{other}\" is not supported; supported are \"detr\", \"yolos\" and \"conditional_detr\""
                ));
            }
        };
        let mut labels = BTreeMap::new();
        for (id, label) in file.id2label {
            let number = id.parse().map_err(|_| format!("id2label has `{id}`, which is no number"))?;
            labels.insert(number, label);
        }
        if labels.is_empty() {
            return Err("has no id2label: what the detector finds would have no names".to_owned());
        }
        Ok(Self { scores, usual_score, labels })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_scores_are_made_depends_on_the_model() {
        let parse = |kind: &str| {
            let text = format!(r#"{{"model_type": "{kind}", "id2label": {{"0": "cat", "1": "dog"}}, "d_model": 256}}"#);
            DetectorConfig::parse(text.as_bytes())
        };
        let labels = BTreeMap::from([(0, "cat".to_owned()), (1, "dog".to_owned())]);
        let detr = DetectorConfig { scores: Scores::Softmax, usual_score: 0.9, labels };
        assert_eq!(parse("detr"), Ok(detr.clone()));
        assert_eq!(parse("yolos"), Ok(detr.clone()));
        let conditional = DetectorConfig { scores: Scores::Sigmoid, usual_score: 0.5, ..detr };
        assert_eq!(parse("conditional_detr"), Ok(conditional));
        assert!(
            parse("rt_detr").unwrap_err().contains("model_type = \"rt_detr\" is not supported; supported are \"detr\"")
        );
    }

    #[test]
    fn what_names_nothing_is_refused() {
        let refused = |text: &str| DetectorConfig::parse(text.as_bytes()).unwrap_err();
        assert!(refused("{").starts_with("is not valid: "));
        assert!(refused(r#"{"model_type": "detr"}"#).starts_with("has no id2label"));
        assert!(refused(r#"{"model_type": "detr", "id2label": {"one": "cat"}}"#).contains("has `one`"));
        let missing = DetectorConfig::read(Path::new("no/such/folder")).unwrap_err();
        assert!(missing.starts_with("cannot read no/such/folder"), "{missing}");
    }
}
