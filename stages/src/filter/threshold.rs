//! Changing a threshold in the keys of a stage: what `recut` does.

use serde::Deserialize;
use serde_json::Value;

use super::config::RuleConfig;
use super::preset::Preset;

/// Sets `min`, `max` or both of the rule for `column` in `config`, the keys of a `filter` stage; what is `None` stays
/// as it was. A preset is written out as rules when one of them changes. Says whether this filter has a rule for the
/// column; when it has none, nothing is changed. Conditions (`expr`) are left alone, and so is `select`: the best is then
/// chosen anew, among those that pass the changed rules.
///
/// # Errors
/// When `config` is not the table of a filter, or no row could pass the changed rule. `config` is then unchanged.
pub fn set_threshold(config: &mut Value, column: &str, min: Option<f64>, max: Option<f64>) -> Result<bool, String> {
    for (name, bound) in [("min", min), ("max", max)] {
        if bound.is_some_and(|bound| !bound.is_finite()) {
            return Err(format!("`{name}` of `{column}` must be a finite number"));
        }
    }
    let Some(keys) = config.as_object_mut() else {
        return Err("the keys of a filter must be a table".to_owned());
    };
    let preset = match keys.get("preset") {
        None | Some(Value::Null) => Vec::new(),
        Some(preset) => Preset::deserialize(preset).map_err(|error| format!("preset: {error}"))?.rules(),
    };
    let written: Vec<RuleConfig> = match keys.get("rules") {
        None => Vec::new(),
        Some(rules) => Vec::deserialize(rules).map_err(|error| format!("rules: {error}"))?,
    };
    let in_preset = preset.iter().any(|rule| rule.column.as_deref() == Some(column));
    let (mut rules, expanded) =
        if in_preset { (preset.into_iter().chain(written).collect(), true) } else { (written, false) };
    let Some(rule) = rules.iter_mut().find(|rule: &&mut RuleConfig| rule.column.as_deref() == Some(column)) else {
        return Ok(false);
    };
    if min.is_none_or(|min| rule.min == Some(min)) && max.is_none_or(|max| rule.max == Some(max)) {
        return Ok(true);
    }
    rule.min = min.or(rule.min);
    rule.max = max.or(rule.max);
    if let (Some(min), Some(max)) = (rule.min, rule.max)
        && min > max
    {
        return Err(format!("`min` ({min}) of `{column}` is above its `max` ({max}): no row could pass"));
    }
    let rules = serde_json::to_value(rules).map_err(|error| format!("rules: {error}"))?;
    if expanded {
        keys.remove("preset");
    }
    keys.insert("rules".to_owned(), rules);
    Ok(true)
}
