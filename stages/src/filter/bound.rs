//! Rules read back from their text, as it stands in plans and verdicts: for whoever shows them.

/// A rule that keeps a score between bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// The score column.
    pub column: String,
    /// The least value accepted.
    pub min: Option<f64>,
    /// The greatest value accepted.
    pub max: Option<f64>,
}

/// The bound that the text of a rule sets (`clip >= 0.3`, `brightness >= 0.05 and brightness <= 0.97`); `None` for a
/// condition.
#[must_use]
pub fn bound(rule: &str) -> Option<Bound> {
    let mut bound: Option<Bound> = None;
    for part in rule.split(" and ") {
        let least = part.rsplit_once(" >= ").map(|(column, value)| (column, value, true));
        let (column, value, is_min) =
            least.or(part.rsplit_once(" <= ").map(|(column, value)| (column, value, false)))?;
        let value: f64 = value.trim().parse().ok()?;
        let known = bound.get_or_insert(Bound { column: column.to_owned(), min: None, max: None });
        if known.column != column {
            return None;
        }
        let side = if is_min { &mut known.min } else { &mut known.max };
        *side = Some(value);
    }
    bound
}

/// Whether `reason`, of a verdict, says that a row failed `rule`.
#[must_use]
pub fn explains(rule: &str, reason: &str) -> bool {
    // The best of several: `not the best of its pair`, of `the best of its pair by clip`.
    let is_not = |of: &str| rule.strip_prefix(of).is_some_and(|by| by.starts_with(" by "));
    if rule == reason || reason.strip_prefix("not ").is_some_and(is_not) {
        return true;
    }
    match (bound(rule), reason.strip_suffix(" is missing")) {
        (Some(bound), Some(column)) => bound.column == column,
        (Some(_), None) => rule.split(" and ").any(|part| part == reason),
        (None, Some(column)) => rule.contains(column),
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule::Rule;
    use super::*;

    #[test]
    fn bounds_are_read_from_what_rules_say() {
        for (min, max) in [(Some(0.3), None), (None, Some(1e-9)), (Some(-2.5), Some(250.0))] {
            let rule = Rule::Range { column: "a score".to_owned(), min, max };
            assert_eq!(bound(&rule.text()), Some(Bound { column: "a score".to_owned(), min, max }));
        }
        for text in ["a >= 0.3 and b <= 2", "sharpness > 10 AND brightness < 250", "clip >= x", ""] {
            assert_eq!(bound(text), None, "{text}");
        }
    }

    #[test]
    fn reasons_belong_to_their_rules() {
        let both = "clip >= 0.3 and clip <= 0.9";
        assert!(explains(both, "clip >= 0.3") && explains(both, "clip <= 0.9") && explains(both, "clip is missing"));
        assert!(!explains(both, "dino >= 0.6") && !explains("dino >= 0.6", "clip is missing"));
        assert!(explains("dark: brightness < 9", "dark: brightness < 9"));
        assert!(explains("dark: brightness < 9", "brightness is missing"));
        let best = "the best of its pair by clip + dino";
        assert!(explains(best, "not the best of its pair") && explains(best, "dino is missing"));
        assert!(!explains(best, "not the best of its donor") && !explains("clip >= 0.3", "not the best of its pair"));
    }
}
