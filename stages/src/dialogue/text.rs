//! Words of English texts, as the checks compare them.

use std::collections::BTreeSet;

/// Words that say nothing of what a picture shows.
const STOP: &[&str] = &[
    "a", "about", "an", "and", "any", "are", "as", "at", "be", "by", "can", "could", "for", "from", "has", "have",
    "her", "here", "his", "how", "i", "image", "in", "into", "is", "it", "its", "like", "make", "me", "my", "of", "on",
    "one", "or", "our", "photo", "picture", "please", "s", "show", "so", "some", "that", "the", "their", "there",
    "these", "they", "this", "to", "up", "was", "we", "what", "with", "would", "you", "your",
];

/// The words of `text`, in lower case and in order; typographic apostrophes are plain ones.
pub(super) fn words(text: &str) -> Vec<String> {
    let plain = text.to_lowercase().replace(['\u{2019}', '\u{2018}'], "'");
    plain
        .split(|letter: char| !letter.is_alphanumeric() && letter != '\'')
        .map(|word| word.trim_matches('\''))
        .filter(|word| !word.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

/// Words with single blanks between and around them, so that phrases are found at their bounds.
pub(super) fn spaced(text: &str) -> String {
    format!(" {} ", words(text).join(" "))
}

/// A word without the ending of a plural, of a possessive or of a verb: enough for `beaches` to meet `beach`, and `wears`
/// `wearing`.
pub(super) fn stem(word: &str) -> String {
    let word = word.strip_suffix("'s").unwrap_or(word);
    let long = |stem: &str| stem.chars().count() >= 3;
    if let Some(stem) = word.strip_suffix("ies").filter(|stem| long(stem)) {
        return format!("{stem}y");
    }
    for ending in ["ing", "ches", "shes", "sses", "xes", "ed", "s"] {
        let kept = if ending.len() == 4 { 2 } else { usize::from(ending == "xes") };
        let Some(stem) = word.strip_suffix(ending) else { continue };
        let stem = word.get(..stem.len() + kept).unwrap_or(stem);
        if long(stem) && !(ending == "s" && (stem.ends_with('s') || stem.ends_with('u'))) {
            // `riding` and `ride`, `sunned` and `sun`.
            return match ending {
                "ing" | "ed" => undoubled(stem).trim_end_matches('e').to_owned(),
                _ => stem.trim_end_matches('e').to_owned(),
            };
        }
    }
    if long(word) { word.trim_end_matches('e').to_owned() } else { word.to_owned() }
}

fn undoubled(stem: &str) -> &str {
    let mut letters = stem.chars().rev();
    match (letters.next(), letters.next()) {
        (Some(last), Some(before)) if last == before && !"aeiouls".contains(last) => {
            stem.strip_suffix(last).unwrap_or(stem)
        }
        _ => stem,
    }
}

/// The stems of the words of `text` that say something.
pub(super) fn telling(text: &str) -> BTreeSet<String> {
    words(text).iter().filter(|word| !STOP.contains(&word.as_str())).map(|word| stem(word)).collect()
}

/// How alike two texts are by their words: the shared ones among all, 0 to 1.
pub(super) fn likeness(one: &str, other: &str) -> f64 {
    let of = |text: &str| words(text).into_iter().collect::<BTreeSet<String>>();
    let (one, other) = (of(one), of(other));
    let n_all = one.union(&other).count();
    if n_all == 0 { 0.0 } else { one.intersection(&other).count() as f64 / n_all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_word_meet() {
        let pairs = [
            ("beaches", "beach"),
            ("dogs", "dog"),
            ("puppies", "puppy"),
            ("wears", "wearing"),
            ("riding", "ride"),
            ("running", "run"),
            ("dog's", "dog"),
            ("boxes", "box"),
            ("dresses", "dress"),
            ("houses", "house"),
        ];
        for (one, other) in pairs {
            assert_eq!(stem(one), stem(other), "{one}, {other}");
        }
        for (one, other) in [("bus", "bu"), ("glass", "glas"), ("ring", "r"), ("red", "r")] {
            assert_ne!(stem(one), other);
        }
    }

    #[test]
    fn texts_are_compared_by_words() {
        assert_eq!(words("A dog\u{2019}s 'life', on-line!"), ["a", "dog's", "life", "on", "line"]);
        assert_eq!(
            telling("a photo of the dog on the beaches"),
            BTreeSet::from(["dog".to_owned(), "beach".to_owned()])
        );
        assert!((likeness("a b c", "B c, d") - 0.5).abs() < 1e-9);
        assert!(likeness("", "") < 1e-9);
    }
}
