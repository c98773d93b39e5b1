//! Which licences may be published.

use super::config::PublishConfig;

/// Why a row with this licence may not be published; `None` where it may.
pub(super) fn refusal(config: &PublishConfig, licence: Option<&str>) -> Option<String> {
    let licence = licence.map(str::trim).filter(|licence| !licence.is_empty());
    let allow = config.licences.as_ref().and_then(|licences| licences.allow.as_ref());
    let deny = config.licences.as_ref().and_then(|licences| licences.deny.as_ref());
    let Some(licence) = licence else {
        // What is not known to be allowed is not allowed.
        return (config.require_licence || allow.is_some()).then(|| "licence unknown".to_owned());
    };
    let named = |names: &Vec<String>| names.iter().any(|name| name.trim().eq_ignore_ascii_case(licence));
    if allow.is_some_and(|allow| !named(allow)) {
        Some(format!("licence not allowed: {licence}"))
    } else if deny.is_some_and(named) {
        Some(format!("licence denied: {licence}"))
    } else {
        None
    }
}
