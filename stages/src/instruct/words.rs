//! The words of templates: the placeholder, articles, and what makes two prompts the same.

/// What stands for the class in a template.
pub(super) const CLASS: &str = "{class}";

/// Checks that `template` has the placeholder, and no other brace.
pub(super) fn check(template: &str) -> Result<(), String> {
    if template.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    let rest = template.replace(CLASS, "");
    if let Some(start) = rest.find(['{', '}']) {
        let brace = rest.get(start..).unwrap_or_default();
        let name = brace.find('}').and_then(|end| brace.get(..=end)).unwrap_or(brace);
        return Err(format!("has `{name}`, and the only placeholder is `{CLASS}`"));
    }
    if rest.len() == template.len() { Err(format!("does not name the class: put `{CLASS}` into it")) } else { Ok(()) }
}

/// `template` for `class`, with `a` and `an` in front of it as the class wants them.
pub(super) fn render(template: &str, class: &str) -> String {
    let mut text = String::with_capacity(template.len() + class.len());
    let mut parts = template.split(CLASS);
    text.push_str(parts.next().unwrap_or_default());
    for part in parts {
        agree(&mut text, class);
        text.push_str(class);
        text.push_str(part);
    }
    text
}

/// Makes an article at the end of `text` agree with `class`.
fn agree(text: &mut String, class: &str) {
    for article in ["a ", "an ", "A ", "An "] {
        let Some(before) = text.strip_suffix(article) else { continue };
        if before.chars().next_back().is_some_and(|last| last.is_alphanumeric() || last == '\'' || last == '-') {
            continue;
        }
        let n_kept = before.len() + 1;
        text.truncate(n_kept);
        text.push_str(if starts_with_vowel_sound(class) { "n " } else { " " });
        return;
    }
}

/// By the letters, with the common words that are spoken otherwise.
fn starts_with_vowel_sound(class: &str) -> bool {
    let class = class.to_lowercase();
    let begins = |starts: &[&str]| starts.iter().any(|start| class.starts_with(start));
    if begins(&["uni", "use", "eu", "one", "ukulele", "ute"]) && !begins(&["unin", "unim"]) {
        return false;
    }
    begins(&["a", "e", "i", "o", "u", "hour", "honest", "heir"])
}

/// A prompt without case, punctuation and spacing.
pub(super) fn normalised(text: &str) -> String {
    let lower = text.to_lowercase();
    let words: Vec<&str> =
        lower.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn articles_agree() {
        assert_eq!(render("a {class} on {class}", "owl"), "an owl on owl");
        assert_eq!(render("An {class} and an {class}.", "dog"), "A dog and a dog.");
        assert_eq!(render("as a {class}, extra {class}", "unicorn"), "as a unicorn, extra unicorn");
        assert_eq!(render("vista {class}: a {class}", "hourglass"), "vista hourglass: an hourglass");
        assert_eq!(render("A {class} ", ""), "A  ");
    }

    #[test]
    fn prompts_are_the_same_but_for_case_and_punctuation() {
        assert_eq!(normalised("  A {class},on the  Beach! "), normalised("a {class} on the beach"));
        assert_ne!(normalised("a {class} on the beach"), normalised("a {class} on a beach"));
    }

    #[test]
    fn placeholders_are_checked() {
        assert_eq!(check("a {class}"), Ok(()));
        assert_eq!(check(" "), Err("is empty".to_owned()));
        assert_eq!(check("a dog"), Err("does not name the class: put `{class}` into it".to_owned()));
        assert_eq!(check("a {klass} {class}"), Err("has `{klass}`, and the only placeholder is `{class}`".to_owned()));
        assert!(check("{class} {").is_err() && check("{class} }ü").is_err() && check("{{class}}").is_err());
    }
}
