//! What passes, and what is refused.

use super::*;

fn facts() -> Facts {
    Facts {
        class: "dog".to_owned(),
        instruction: "Generate an image of this dog on the beach in a red hat.".to_owned(),
        caption: "a dog on the beach in a red hat".to_owned(),
    }
}

fn said(user: &str, assistant: &str) -> Said {
    Said { user: user.to_owned(), assistant: assistant.to_owned() }
}

fn mistake(act: SpeechAct, user: &str, assistant: &str) -> Option<String> {
    check(&said(user, assistant), &facts(), act, &LimitsConfig::default(), &[]).err()
}

const ASKED: &str = "Put my dog on a beach with a red hat.";
const SHOWN: &str = "Here is your dog on the beach, wearing a red hat.";

#[test]
fn good_dialogues_pass() {
    let good = [
        (SpeechAct::Directive, ASKED, SHOWN),
        (
            SpeechAct::Directive,
            "Generate an image for this dog on the beach.",
            "Your dog enjoys the beach in its red hat!",
        ),
        (SpeechAct::Question, "Can you generate an image for this dog on the beach?", SHOWN),
        (
            SpeechAct::VagueWish,
            "My dog misses our summer holidays.",
            "I took your dog to the beach, with a red hat for the sun.",
        ),
        (SpeechAct::VagueWish, "I wish my dog had more fun.", "Not only the beach, but also a red hat for your dog."),
        (SpeechAct::Directive, ASKED, "I can't wait for you to see your dog on the beach!"),
    ];
    for (act, user, assistant) in good {
        assert_eq!(mistake(act, user, assistant), None, "{user} {assistant}");
    }
}

#[test]
fn mistakes_are_named() {
    use SpeechAct::{Directive, Question, VagueWish};
    let long = "dog ".repeat(200);
    let bad = [
        (Directive, "Dog", SHOWN, "`user` says is too short"),
        (Directive, ASKED, "", "`assistant` says is too short"),
        (Directive, &long, SHOWN, "more than 300"),
        (Directive, "Put my dog\u{1b}[31m on a beach.", SHOWN, "U+001B"),
        (Directive, "Put my dog on\u{202e} a beach.", SHOWN, "U+202E"),
        (Directive, "Put my {class} on a beach.", SHOWN, "\"{\""),
        (Directive, ASKED, "The caption says: a dog on the beach.", "\"caption\""),
        (Directive, ASKED, "As an AI, I made a dog on the beach.", "\"an ai\""),
        (Directive, ASKED, "I\u{2019}m sorry, I can\u{2019}t put a dog on the beach.", "declines"),
        (Directive, ASKED, "I cannot create a dog on the beach.", "declines"),
        (Directive, ASKED, ASKED, "say the same"),
        (Question, ASKED, SHOWN, "question mark"),
        (Directive, "Can you put my dog on a beach?", SHOWN, "not to ask"),
        (VagueWish, "I wish my dog were on the beach with a hat.", SHOWN, "gives the picture away with \"beach hat\""),
        (Directive, ASKED, "Here is what you wanted, enjoy it!", "says nothing"),
        (Directive, ASKED, "Your dog on the beach wears a blue hat.", "colour blue"),
        (Directive, ASKED, "Your dog is at home, without a beach.", "without … beach"),
        (Directive, EXAMPLES[0].user, SHOWN, "repeats one of the examples"),
    ];
    for (act, user, assistant, part) in bad {
        let found = mistake(act, user, assistant).unwrap_or_else(|| panic!("{user} / {assistant} passed"));
        assert!(found.contains(part), "{found}, not {part}");
    }
}

#[test]
fn numbers_and_earlier_dialogues_count() {
    let two = Facts { class: "dog".to_owned(), caption: "two dogs".to_owned(), ..Facts::default() };
    let limits = LimitsConfig::default();
    let first = said("Show two of my dog.", "Here are three dogs.");
    let found = check(&first, &two, SpeechAct::Directive, &limits, &[]).unwrap_err();
    assert!(found.contains("number three"), "{found}");
    let (one, again) = (said(ASKED, SHOWN), said("Put my dog on a beach with the red hat.", SHOWN));
    let found = check(&again, &facts(), SpeechAct::Directive, &limits, &[&one]).unwrap_err();
    assert!(found.contains("another dialogue"), "{found}");
}

#[test]
fn a_picture_may_be_about_the_workshop() {
    let sign = Facts { class: "sign".to_owned(), caption: "a sign with instructions".to_owned(), ..Facts::default() };
    let words = said("Put instructions onto my sign.", "Your sign now has instructions on it.");
    assert_eq!(check(&words, &sign, SpeechAct::Directive, &LimitsConfig::default(), &[]), Ok(()));
}

#[test]
fn examples_keep_to_the_rules_themselves() {
    for example in &EXAMPLES {
        let (facts, act) = example.facts();
        let said = said(example.user, example.assistant);
        let found = check(&said, &facts, act, &LimitsConfig::default(), &[]).unwrap_err();
        assert_eq!(found, "it repeats one of the examples", "{}", example.user);
    }
}
