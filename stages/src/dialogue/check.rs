//! What a usable dialogue keeps to. Each check refuses only what is surely wrong: another try costs tokens, and a candidate
//! whose tries are used up is lost. Texts are taken for English.

use std::collections::BTreeSet;

use super::config::{LimitsConfig, SpeechAct};
use super::template::{EXAMPLES, Facts, Said};
use super::text::{likeness, spaced, stem, telling, words};

/// Fewer letters are no sentence.
const MIN_CHARS: usize = 8;
/// From here on two texts are the same but for a word.
const SAME: f64 = 0.85;

/// Phrases that speak of how the data is made.
const LEAKS: [&str; 22] = [
    "ai language model",
    "an ai",
    "as a language model",
    "caption",
    "captions",
    "chat example",
    "dataset",
    "directive",
    "example chat",
    "image assistant",
    "instruction",
    "instructions",
    "json",
    "language model",
    "new picture shows",
    "photo shows",
    "prompt",
    "prompts",
    "speech act",
    "training example",
    "user's wish",
    "vague wish",
];

/// Phrases by which a model declines.
const REFUSALS: [&str; 20] = [
    "afraid i can't",
    "afraid i cannot",
    "cannot assist",
    "cannot create",
    "cannot fulfill",
    "cannot generate",
    "cannot help",
    "cannot provide",
    "can't assist",
    "can't create",
    "can't do that",
    "can't fulfill",
    "can't generate",
    "can't help",
    "can't provide",
    "i apologize",
    "i'm not able to",
    "i'm sorry",
    "i am sorry",
    "i'm unable to",
];

const COLOURS: [&str; 16] = [
    "beige",
    "black",
    "blue",
    "brown",
    "crimson",
    "golden",
    "gray",
    "green",
    "grey",
    "orange",
    "pink",
    "purple",
    "red",
    "turquoise",
    "white",
    "yellow",
];

const NUMBERS: [&str; 9] = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];

const NEGATIONS: [&str; 5] = ["no", "not", "without", "never", "lacks"];

/// Checks what was said; `earlier` is what the candidate's other dialogues say.
///
/// # Errors
/// The first mistake, in words that the model is told.
pub(super) fn check(
    said: &Said,
    facts: &Facts,
    act: SpeechAct,
    limits: &LimitsConfig,
    earlier: &[&Said],
) -> Result<(), String> {
    for (key, text, most) in
        [("user", &said.user, limits.user_chars), ("assistant", &said.assistant, limits.assistant_chars)]
    {
        form(key, text, most)?;
        leaks(key, text, facts)?;
    }
    let reply = spaced(&said.assistant);
    if let Some(refusal) = REFUSALS.iter().find(|phrase| reply.contains(&format!(" {phrase} "))) {
        return Err(format!("the assistant declines (\"{refusal}\"), but it has made the picture"));
    }
    if likeness(&said.user, &said.assistant) >= SAME {
        return Err("user and assistant say the same".to_owned());
    }
    manner(said, facts, act, limits)?;
    contradictions(said, facts)?;
    for example in &EXAMPLES {
        if likeness(&said.user, example.user) >= SAME || likeness(&said.assistant, example.assistant) >= SAME {
            return Err("it repeats one of the examples".to_owned());
        }
    }
    match earlier.iter().any(|other| likeness(&said.user, &other.user) >= SAME) {
        true => Err("another dialogue about the same picture says nearly the same".to_owned()),
        false => Ok(()),
    }
}

/// Length, and letters that no sentence has.
fn form(key: &str, text: &str, most: u32) -> Result<(), String> {
    let n_letters = text.chars().count();
    if n_letters < MIN_CHARS || words(text).len() < 2 {
        return Err(format!("what `{key}` says is too short ({text:?})"));
    }
    if n_letters > most as usize {
        return Err(format!("what `{key}` says has {n_letters} letters, more than {most}"));
    }
    if let Some(letter) = text.chars().find(|letter| is_odd(*letter)) {
        return Err(format!("what `{key}` says has the letter U+{:04X}", u32::from(letter)));
    }
    // What is left of a template, of a chat format, or of code.
    let rests = ["{", "}", "<|", "|>", "[INST", "```", "http://", "https://", "[insert", "[name"];
    match rests.iter().find(|rest| text.contains(*rest)) {
        Some(rest) => Err(format!("what `{key}` says has \"{rest}\" in it")),
        None => Ok(()),
    }
}

/// Control characters, invisible ones that change the direction of writing, and the sign for a broken letter.
fn is_odd(letter: char) -> bool {
    let is_hidden = matches!(letter, '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    letter.is_control() || is_hidden || letter == '\u{fffd}'
}

/// Words of the workshop, unless the picture is about them.
fn leaks(key: &str, text: &str, facts: &Facts) -> Result<(), String> {
    let (text, picture) = (spaced(text), spaced(&format!("{} {}", facts.caption, facts.class)));
    let found = |phrase: &&&str| text.contains(&format!(" {phrase} ")) && !picture.contains(&format!(" {phrase} "));
    match LEAKS.iter().find(found) {
        Some(phrase) => Err(format!("what `{key}` says mentions \"{phrase}\"")),
        None => Ok(()),
    }
}

/// Whether the user speaks as wanted.
fn manner(said: &Said, facts: &Facts, act: SpeechAct, limits: &LimitsConfig) -> Result<(), String> {
    match act {
        SpeechAct::Question if !said.user.contains('?') => {
            Err("the user has to ask a question, with a question mark".to_owned())
        }
        SpeechAct::Directive if said.user.ends_with('?') => {
            Err("the user has to tell what to make, not to ask a question".to_owned())
        }
        SpeechAct::VagueWish => {
            let class = telling(&facts.class);
            let secret: BTreeSet<String> = telling(&facts.caption).difference(&class).cloned().collect();
            let user = telling(&said.user);
            let given: Vec<&str> = secret.intersection(&user).map(String::as_str).collect();
            let share = given.len() as f64 / secret.len().max(1) as f64;
            if share > limits.vague_overlap {
                return Err(format!("the user gives the picture away with \"{}\"", given.join(" ")));
            }
            Ok(())
        }
        SpeechAct::Question | SpeechAct::Directive => Ok(()),
    }
}

/// What the assistant says against the caption, as far as single words tell:
/// - it names neither the subject nor anything of the caption;
/// - the caption has colours (or numbers of things), and the reply has some, but none of those;
/// - it says that something of the caption is not there.
fn contradictions(said: &Said, facts: &Facts) -> Result<(), String> {
    let caption = telling(&facts.caption);
    let known: BTreeSet<String> = caption.union(&telling(&facts.class)).cloned().collect();
    let reply = words(&said.assistant);
    let stems: BTreeSet<String> = reply.iter().map(|word| stem(word)).collect();
    if known.is_disjoint(&stems) {
        return Err("the assistant says nothing of what the new picture shows".to_owned());
    }
    let shown = words(&facts.caption);
    for (what, kind) in [("colour", COLOURS.as_slice()), ("number", NUMBERS.as_slice())] {
        let of = |words: &[String]| -> BTreeSet<String> {
            let named = words.iter().filter(|word| kind.contains(&word.as_str()));
            named.map(|word| word.replace("gray", "grey")).collect()
        };
        let (shown, said) = (of(&shown), of(&reply));
        if let Some(wrong) = said.first().filter(|_| !shown.is_empty() && shown.is_disjoint(&said)) {
            let right: Vec<&str> = shown.iter().map(String::as_str).collect();
            return Err(format!(
                "the assistant names the {what} {wrong}, but the new picture has {}",
                right.join(" and ")
            ));
        }
    }
    for (at, word) in reply.iter().enumerate() {
        if !NEGATIONS.contains(&word.as_str()) || reply.get(at + 1).is_some_and(|next| next == "only") {
            continue;
        }
        let after = reply.iter().skip(at + 1).take(2).map(|word| stem(word));
        if let Some(denied) = after.into_iter().find(|word| caption.contains(word)) {
            return Err(format!("the assistant says \"{word} … {denied}\", but the new picture shows it"));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
