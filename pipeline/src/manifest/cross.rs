//! What no schema can say: names, `needs` and cycles; where catalog and files are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::check::stages;
use super::explain::stage_pointer;
use super::pointer::child;
use super::report::{At, Report};
use super::suggest::{closest, list, shown};
use super::tree::Tree;

/// Checks what stages say about each other.
pub(super) fn graph(tree: &Tree, report: &mut Report<'_>) {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, stage) in stages(&tree.root) {
        let Some(name) = stage.get("name").and_then(Value::as_str) else { continue };
        if let Some(first) = names.get(name) {
            let message = format!("two stages are called {}", shown(&Value::from(name)));
            let help = format!("give one of them another name, for example `name = \"{name}_2\"`");
            let pointer = format!("{}/name", stage_pointer(index));
            report.add(&tree.spans, &pointer, At::Value, message, Some(help));
            report.also(&tree.spans, &format!("{}/name", stage_pointer(*first)), "the other one");
        } else {
            names.insert(name, index);
        }
    }
    let mut edges: BTreeMap<usize, Vec<(usize, String)>> = BTreeMap::new();
    for (index, stage) in stages(&tree.root) {
        let own = stage.get("name").and_then(Value::as_str);
        let mut seen = BTreeSet::new();
        for (position, need) in stage.get("needs").and_then(Value::as_array).into_iter().flatten().enumerate() {
            let Some(need) = need.as_str() else { continue };
            let pointer = format!("{}/needs/{position}", stage_pointer(index));
            if !seen.insert(need) {
                let help = Some("write it once".to_owned());
                report.add(&tree.spans, &pointer, At::Value, format!("`{need}` stands twice in `needs`"), help);
            } else if own == Some(need) {
                let help = Some("take it out: `needs` names the stages that come before".to_owned());
                report.add(&tree.spans, &pointer, At::Value, format!("stage `{need}` needs itself"), help);
            } else if let Some(target) = names.get(need) {
                edges.entry(index).or_default().push((*target, pointer));
            } else {
                let others = names.iter().filter(|(_, other)| **other != index).map(|(name, _)| *name);
                let help = match closest(need, others.clone()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if others.clone().next().is_none() => "it is the only stage: leave `needs` out".to_owned(),
                    None => format!("the other stages are {}", list(others, "and")),
                };
                let message = format!("there is no stage called {}", shown(&Value::from(need)));
                report.add(&tree.spans, &pointer, At::Value, message, Some(help));
            }
        }
    }
    cycles(tree, report, edges);
}

/// Reports cycles, each once; of cycles that share a stage, one.
fn cycles(tree: &Tree, report: &mut Report<'_>, mut edges: BTreeMap<usize, Vec<(usize, String)>>) {
    let name = |index: usize| tree.root.pointer(&format!("{}/name", stage_pointer(index))).and_then(Value::as_str);
    loop {
        prune(&mut edges);
        // Every stage left needs another one that is left, so that a walk must come round.
        let Some(mut at) = edges.keys().next().copied() else { return };
        let mut walk: Vec<(usize, String)> = Vec::new();
        while !walk.iter().any(|(index, _)| *index == at) {
            let Some((next, pointer)) = edges.get(&at).and_then(|needs| needs.first()).cloned() else { return };
            walk.push((at, pointer));
            at = next;
        }
        let mut cycle: Vec<_> = walk.into_iter().skip_while(|(index, _)| *index != at).collect();
        let first = cycle.iter().enumerate().min_by_key(|(_, (index, _))| *index).map_or(0, |(position, _)| position);
        cycle.rotate_left(first);
        let path: Vec<_> = cycle.iter().chain(cycle.first()).filter_map(|(index, _)| name(*index)).collect();
        if let Some((_, pointer)) = cycle.first() {
            let message = format!("stages need each other in a circle: {}", path.join(" → "));
            let help = "`→` stands for `needs`: take one of them out, so that the data flows one way".to_owned();
            report.add(&tree.spans, pointer, At::Value, message, Some(help));
        }
        for (index, _) in &cycle {
            edges.remove(index);
        }
    }
}

/// Takes out stages that can run, until none is left or all need each other.
fn prune(edges: &mut BTreeMap<usize, Vec<(usize, String)>>) {
    let mut left: BTreeSet<usize> = edges.keys().copied().collect();
    loop {
        let before = left.len();
        edges.retain(|index, needs| {
            needs.retain(|(target, _)| left.contains(target));
            if needs.is_empty() {
                left.remove(index);
            }
            !needs.is_empty()
        });
        if left.len() == before {
            return;
        }
    }
}

/// Checks where catalog and files are.
pub(super) fn places(tree: &Tree, folder: &Path, report: &mut Report<'_>) {
    if let Some(url) = tree.root.pointer("/catalog/url").and_then(Value::as_str) {
        catalog(tree, url, report);
    }
    if let Some(root) = tree.root.pointer("/storage/root").and_then(Value::as_str) {
        let mut say = |message: String, help: &str| {
            report.add(&tree.spans, "/storage/root", At::Value, message, Some(help.to_owned()));
        };
        if root.is_empty() || root.contains('\0') {
            say("the name of the folder is empty or damaged".to_owned(), "for example `root = \"data\"`");
        } else if root.contains("://") {
            let message = format!("{} is not a local folder", shown(&Value::from(root)));
            say(message, "files are kept in a local folder, for example `root = \"data\"`");
        } else if folder.join(root).metadata().is_ok_and(|data| !data.is_dir()) {
            let message = format!("{} is a file, and a folder is needed", shown(&Value::from(root)));
            say(message, "name a folder; it is made when it is not there");
        }
    }
}

fn catalog(tree: &Tree, url: &str, report: &mut Report<'_>) {
    let pointer = "/catalog/url";
    let example = "write `url = \"sqlite:cafe.db\"`: a file on a local disk, relative to the manifest";
    let message = match url.split_once(':') {
        Some(("sqlite", file)) => {
            let file = file.trim_start_matches("//").split('?').next().unwrap_or_default();
            match file {
                "" => "the url names no file".to_owned(),
                ":memory:" => "a catalog in memory would be lost with the process".to_owned(),
                _ => return,
            }
        }
        Some((scheme, rest)) if rest.starts_with("//") => format!("catalogs of type `{scheme}:` are not supported"),
        _ => format!("{} is no catalog that this program knows", shown(&Value::from(url))),
    };
    // A password in it must not be shown.
    if let (true, Some(place)) = (url.contains('@'), tree.spans.get(pointer)) {
        report.hide(place.value.clone());
    }
    report.add(&tree.spans, pointer, At::Value, message, Some(example.to_owned()));
}

/// Checks what no schema can say about models: names of files, and what is done with them.
pub(super) fn models(tree: &Tree, report: &mut Report<'_>) {
    let models = tree.root.get("models").and_then(Value::as_object).into_iter().flatten();
    for (name, model) in models {
        let base = child("/models", name);
        let files: Vec<&Value> = model.get("files").and_then(Value::as_array).into_iter().flatten().collect();
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, file) in files.iter().enumerate() {
            let Some(path) = file.get("path").and_then(Value::as_str) else { continue };
            let pointer = format!("{base}/files/{index}/path");
            if !is_plain(path) {
                let message = format!("{} is not the name of a file in the model's folder", shown(&Value::from(path)));
                let help = "write it without `..`, `\\`, a leading `/` or a leading `.`".to_owned();
                report.add(&tree.spans, &pointer, At::Value, message, Some(help));
            } else if let Some(first) = seen.insert(path, index) {
                report.add(&tree.spans, &pointer, At::Value, format!("the file {path:?} stands twice"), None);
                report.also(&tree.spans, &format!("{base}/files/{first}/path"), "the other one");
            }
        }
        let sources = model.get("sources").and_then(Value::as_array).into_iter().flatten();
        for (index, source) in sources.enumerate() {
            let kind = source.get("type").and_then(Value::as_str).unwrap_or_default();
            if matches!(kind, "hub" | "wheel") && files.is_empty() {
                let message = format!("the model has no `files`, so that nobody knows which of the {kind}'s it is");
                let help = "list them: `files = [{ path = \"config.json\", sha256 = \"…\" }, …]`".to_owned();
                report.add(&tree.spans, &format!("{base}/sources/{index}"), At::Value, message, Some(help));
            }
            let folder = source.get("folder").and_then(Value::as_str).unwrap_or_default();
            if !folder.is_empty() && !is_plain(folder) {
                let message = format!("{} is not a folder inside of the {kind}", shown(&Value::from(folder)));
                let help = Some("write it without `..`, `\\` or a leading `/`".to_owned());
                report.add(&tree.spans, &format!("{base}/sources/{index}/folder"), At::Value, message, help);
            }
        }
        let Some(prepare) = model.get("prepare").and_then(Value::as_str) else { continue };
        let ends = |end: &str| {
            let paths = files.iter().filter_map(|file| file.get("path")?.as_str());
            paths.filter(|path| path.ends_with(end)).count()
        };
        let wanted = match prepare {
            "gguf" if ends(".gguf") != 1 => "exactly one file that ends in `.gguf`",
            _ => continue,
        };
        let message = format!("`prepare = {prepare:?}` needs {wanted} among `files`");
        report.add(&tree.spans, &format!("{base}/prepare"), At::Value, message, None);
    }
}

/// A path that stays in its folder, on every machine, and hides nothing.
fn is_plain(path: &str) -> bool {
    let odd = |c: char| c.is_control() || matches!(c, '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|');
    path.len() <= 512 && !path.contains(odd) && path.split('/').all(|part| !part.is_empty() && !part.starts_with('.'))
}
