//! Rows in quarantine, by node and class of error, with examples; and what the audit finds wrong.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Facts, shown};

/// Examples of a class, and problems.
const SHOWN: usize = 3;

/// All of them.
#[derive(Debug, Serialize)]
pub(super) struct Faults {
    n_rows: u64,
    classes: Vec<Class>,
    /// The first of the audit's problems, and how many there are.
    problems: Vec<String>,
    n_problems: usize,
}

/// Rows of one node with the same sort of error.
#[derive(Debug, Serialize)]
struct Class {
    node: String,
    class: String,
    n_rows: u64,
    /// Ids, and what was wrong with them.
    examples: Vec<(String, String)>,
}

/// Sums up.
pub(super) fn faults(facts: &Facts) -> Faults {
    let mut classes: BTreeMap<(&str, String), Class> = BTreeMap::new();
    for entry in &facts.quarantine {
        let class = entry.row.class.to_string();
        let found = classes.entry((&entry.node, class.clone())).or_insert_with(|| Class {
            node: entry.node.clone(),
            class,
            n_rows: 0,
            examples: Vec::new(),
        });
        found.n_rows += 1;
        if found.examples.len() < SHOWN {
            found.examples.push((shown(&entry.row.row_id), shown(&entry.row.message)));
        }
    }
    let mut classes: Vec<Class> = classes.into_values().collect();
    classes.sort_by_key(|class| std::cmp::Reverse(class.n_rows));
    let problems = &facts.audit.problems;
    let problem = |problem: &cafe_pipeline::audit::Problem| {
        let place = problem.path.as_ref().or(problem.node.as_ref());
        shown(&place.map_or_else(|| problem.what.clone(), |place| format!("{place}: {}", problem.what)))
    };
    Faults {
        n_rows: facts.quarantine.len() as u64,
        classes,
        problems: problems.iter().take(SHOWN).map(problem).collect(),
        n_problems: problems.len(),
    }
}
