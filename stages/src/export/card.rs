//! The dataset card of an export: the release's own, with what is true of other files.

use super::ExportError;
use super::source::Source;
use crate::publish::{CARD, LOADING, ON_FILES};

/// The keys by which `datasets` finds splits and features.
pub(super) const OF_DATASETS: [&str; 2] = ["configs", "dataset_info"];

/// The release's card. Rows are loaded by `load_dataset(LOADED)`; the keys `without` are left out of its YAML.
pub(super) fn adapted(source: &Source<'_>, loaded: &str, without: &[&str]) -> Result<String, ExportError> {
    let card = source.text(CARD)?;
    let on_files = format!(
        "`SHA256SUMS` has the digest of every file; the content digest of the release is `{}`.",
        source.content_digest()
    );
    adapt(&card, &on_files, &format!("{LOADING}{loaded})"), without).ok_or_else(|| ExportError::Damaged {
        release: source.release_id().to_owned(),
        file: CARD.to_owned(),
        fault: format!("does not begin with YAML that has the keys {}", OF_DATASETS.join(" and ")),
    })
}

/// `None` where the YAML is missing, or lacks a key of `datasets`.
fn adapt(card: &str, on_files: &str, loading: &str, without: &[&str]) -> Option<String> {
    let (yaml, prose) = card.strip_prefix("---\n")?.split_once("\n---\n")?;
    let has = |key: &&str| yaml.lines().any(|line| line.strip_suffix(':') == Some(*key));
    if !OF_DATASETS.iter().all(has) {
        return None;
    }
    let mut lines = vec!["---"];
    let mut is_left_out = false;
    for line in yaml.lines() {
        // Lists and what is indented belong to the key before.
        if !line.starts_with([' ', '-']) {
            is_left_out = without.iter().any(|key| line.split(':').next() == Some(*key));
        }
        if !is_left_out {
            lines.push(line);
        }
    }
    lines.push("---");
    lines.extend(prose.lines().map(|line| match line {
        ON_FILES => on_files,
        line if line.starts_with(LOADING) => loading,
        line => line,
    }));
    Some(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_card_tells_of_the_files_that_there_are() {
        let card = format!(
            "---\nlicense: \"other\"\nconfigs:\n- config_name: default\n  data_files:\n  - split: \"train\"\n\
             dataset_info:\n  features:\n  - name: y\ntags:\n- \"a\"\n---\n\n# Title\n\n{ON_FILES}\n{LOADING}\"x\")\n"
        );
        let whole = adapt(&card, "files", "load", &[]).unwrap();
        assert!(whole.contains("configs:\n- config_name: default\n"), "{whole}");
        assert!(whole.ends_with("---\n\n# Title\n\nfiles\nload\n"), "{whole}");
        let bare = adapt(&card, "files", "load", &OF_DATASETS).unwrap();
        assert_eq!(bare, "---\nlicense: \"other\"\ntags:\n- \"a\"\n---\n\n# Title\n\nfiles\nload\n");
        assert_eq!(adapt("# Title\n", "", "", &[]), None);
        assert_eq!(adapt("---\nlicense: mit\n---\n", "", "", &[]), None);
    }
}
