//! The mini family: what the recipe in `models/mini` froze holds what its cards say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Concept → group and split.
fn split() -> BTreeMap<String, (String, String)> {
    read("split.json")
}

fn read<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/mini").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn no_group_is_divided_between_splits() {
    let split = split();
    let mut of_group: BTreeMap<&str, &str> = BTreeMap::new();
    for (concept, (group, name)) in &split {
        let known = of_group.entry(group).or_insert(name);
        assert_eq!(*known, name, "the group {group} of {concept} is in two splits");
    }
    assert!(split.contains_key(of_group.keys().next().copied().unwrap()), "a group is named by one of its concepts");
    assert!(of_group.len() > 800, "{} groups", of_group.len());
}

#[test]
fn no_concept_has_a_near_neighbour_in_another_split() {
    let split = split();
    let nearest: BTreeMap<String, (String, f64)> = read("neighbours.json");
    assert_eq!(nearest.keys().collect::<BTreeSet<_>>(), split.keys().collect::<BTreeSet<_>>());
    for (concept, (other, similarity)) in &nearest {
        assert_ne!(split[concept].0, split[other].0, "{concept} and {other} are of one group");
        assert!(*similarity <= 0.8, "{concept} and {other}, of two groups, are {similarity} near");
    }
}

#[test]
fn the_splits_have_their_shares() {
    let split = split();
    let mut n_of: BTreeMap<&str, f64> = BTreeMap::new();
    for (_, name) in split.values() {
        *n_of.entry(name).or_default() += 1.0;
    }
    for (name, share) in [("base", 0.50), ("pool", 0.25), ("val", 0.08), ("test", 0.17)] {
        let found = n_of[name] / split.len() as f64;
        assert!((found - share).abs() < 0.02, "{name} has {found:.3} of the concepts");
    }
    assert_eq!(n_of.len(), 4);
}
