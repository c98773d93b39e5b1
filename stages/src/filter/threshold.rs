//! Changes a threshold in the keys of a filter, for a new cut of a dataset.

use serde::Deserialize;
use serde_json::Value;

use super::config::{Preset, RuleConfig};

/// Sets the bounds given in every rule of `config` for `column`; a preset is written out first. `false` when there is
/// no such rule.
///
/// # Errors
/// When `config` is not that of a filter.
pub fn set_threshold(config: &mut Value, column: &str, min: Option<f64>, max: Option<f64>) -> Result<bool, String> {
    let keys = config.as_object_mut().ok_or("its keys are not a table")?;
    let mut rules: Vec<RuleConfig> = Vec::new();
    if let Some(preset) = keys.get("preset").filter(|preset| !preset.is_null()) {
        rules.extend(Preset::deserialize(preset).map_err(|error| error.to_string())?.rules());
    }
    if let Some(written) = keys.get("rules").filter(|rules| !rules.is_null()) {
        rules.extend(Vec::<RuleConfig>::deserialize(written).map_err(|error| error.to_string())?);
    }
    let mut is_set = false;
    for rule in &mut rules {
        if let RuleConfig::Bounds { column: name, min: least, max: greatest } = rule
            && name == column
        {
            *least = min.or(*least);
            *greatest = max.or(*greatest);
            is_set = true;
        }
    }
    if is_set {
        keys.remove("preset");
        keys.insert("rules".to_owned(), serde_json::to_value(rules).map_err(|error| error.to_string())?);
    }
    Ok(is_set)
}
