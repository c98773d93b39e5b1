//! The mini family: what the recipe in `models/mini` froze holds what its cards say.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use cafe_engine::DType;
use cafe_engine::weights::Weights;

use crate::support::program::Project;

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

/// The role folders of the bundled family.
fn roles() -> Vec<PathBuf> {
    let family = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/mini/family");
    let mut roles: Vec<PathBuf> = std::fs::read_dir(family).unwrap().map(|entry| entry.unwrap().path()).collect();
    roles.sort();
    roles
}

#[test]
fn every_bundled_model_passes_verification() {
    let project = Project::new("");
    let family = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/mini/family");
    let ran = project.cafe(&["models", "verify", "--json", "--family", family.to_str().unwrap()]).ends(0);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&ran.stdout).unwrap();
    for role in roles() {
        let name = role.file_name().unwrap().to_str().unwrap();
        let results: Vec<_> = rows.iter().filter(|row| row["model"] == name).map(|row| &row["result"]).collect();
        assert!(!results.is_empty() && results.iter().all(|result| *result == "ok"), "{name}: {}", ran.stdout);
        assert!(role.join("README.md").is_file(), "{name} has no card");
    }
}

/// Encoders that filter, condition and judge must not know of each other, or a filter would be judged by itself.
#[test]
fn encoders_of_one_kind_share_no_weights() {
    for kind in ["clip", "dino"] {
        let mut owner_of: HashMap<Vec<u32>, (String, String)> = HashMap::new();
        let folders = roles().into_iter().filter(|role| role.file_name().unwrap().to_str().unwrap().starts_with(kind));
        let mut n_folders = 0;
        for folder in folders {
            n_folders += 1;
            let role = folder.file_name().unwrap().to_str().unwrap().to_owned();
            let weights = Weights::open(&folder).unwrap();
            for name in weights.names() {
                let tensor = weights.tensor(&name).unwrap();
                let numbers: Vec<f32> = tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
                // What a training begins with may stay: a mask token that nothing uses is all zeros.
                if numbers.len() < 8 || numbers.iter().all(|number| *number == numbers[0]) {
                    continue;
                }
                let bits = numbers.iter().map(|number| number.to_bits()).collect();
                if let Some((other, same)) = owner_of.insert(bits, (role.clone(), name.clone())) {
                    assert_eq!(other, role, "{name} of {role} is {same} of {other}");
                }
            }
        }
        assert!(n_folders >= 2, "{n_folders} encoders of kind {kind}");
    }
}
