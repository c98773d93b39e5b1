//! What the language model is told. A change of any word here changes every request: raise [`VERSION`].

use cafe_pipeline::digest::Seed;
use serde_json::{Value, json};

use super::config::{LimitsConfig, SpeechAct};

/// The version of all texts of this file.
pub(super) const VERSION: &str = "dialogue-v1";

const SYSTEM: &str = r#"You write examples of short chats between a user and an image assistant. The user shows the assistant a photo and wants a new picture of what is on it. The assistant makes the new picture and shows it.

For each example you are told what the photo shows, what the new picture shows, and how the user speaks:
- directive: the user tells the assistant what to make.
- question: the user asks, with a question mark, whether the assistant can make it.
- vague wish: the user speaks of a mood or an occasion only. The user names nothing of the new picture but the subject of the photo.

The assistant speaks as if it had just made the new picture: in one to three sentences it says what the new picture shows and why it fits the wish, and adds nothing that is not there. Nobody mentions captions, prompts, examples or models.

Reply with one JSON object and nothing else: {"user":"...","assistant":"..."}"#;

/// What a dialogue is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) class: String,
    pub(super) instruction: String,
    pub(super) caption: String,
}

/// What user and assistant say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) user: String,
    pub(super) assistant: String,
}

/// A message to the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) role: &'static str,
    pub(super) content: String,
}

/// An example that every request shows. The same ones in the same order: servers and our own model read what requests
/// begin with only once.
pub(super) struct Example {
    class: &'static str,
    caption: &'static str,
    instruction: &'static str,
    act: SpeechAct,
    pub(super) user: &'static str,
    pub(super) assistant: &'static str,
}

/// Of subjects that no one collects, so that a real dialogue is never near one by chance.
pub(super) const EXAMPLES: [Example; 4] = [
    Example {
        class: "gramophone",
        caption: "a gramophone in a field of lavender",
        instruction: "Generate an image of this gramophone in a field of lavender.",
        act: SpeechAct::Directive,
        user: "Generate an image for this gramophone standing among rows of lavender.",
        assistant: "Here is your gramophone in the middle of a lavender field, with purple rows on every side.",
    },
    Example {
        class: "abacus",
        caption: "an abacus on the moon",
        instruction: "Show this abacus on the moon.",
        act: SpeechAct::Question,
        user: "Can you generate an image of this abacus on the moon?",
        assistant: "Of course! This is your abacus on the moon, resting on the grey dust.",
    },
    Example {
        class: "weather vane",
        caption: "a weather vane in deep snow",
        instruction: "Place this weather vane in deep snow.",
        act: SpeechAct::VagueWish,
        user: "I wish it felt more like the winter holidays around my weather vane.",
        assistant: "I put your weather vane into deep snow, which gives it the quiet of a winter holiday.",
    },
    Example {
        class: "metronome",
        caption: "a metronome wearing a superhero cape",
        instruction: "Make this metronome wear a superhero cape.",
        act: SpeechAct::VagueWish,
        user: "My metronome deserves to feel brave for once.",
        assistant: "Your metronome now wears a superhero cape, so it looks ready for anything.",
    },
];

impl Example {
    fn reply(&self) -> String {
        json!({ "user": self.user, "assistant": self.assistant }).to_string()
    }

    /// What it is about, and how its user speaks.
    #[cfg(test)]
    pub(super) fn facts(&self) -> (Facts, SpeechAct) {
        let text = |text: &str| text.to_owned();
        let (class, instruction, caption) = (text(self.class), text(self.instruction), text(self.caption));
        (Facts { class, instruction, caption }, self.act)
    }
}

/// The schema that replies follow: `user`, then `assistant`.
pub(super) fn schema(limits: &LimitsConfig) -> Value {
    let text = |n_letters: u32| json!({ "type": "string", "minLength": 1, "maxLength": n_letters });
    json!({
        "type": "object",
        "properties": { "user": text(limits.user_chars), "assistant": text(limits.assistant_chars) },
        "required": ["user", "assistant"],
        "additionalProperties": false,
    })
}

/// The messages that ask for a dialogue; `mistake` is what was wrong with the reply before.
pub(super) fn messages(facts: &Facts, act: SpeechAct, mistake: Option<&str>) -> Vec<Turn> {
    let mut turns = vec![Turn { role: "system", content: SYSTEM.to_owned() }];
    for example in &EXAMPLES {
        let content = question(example.class, example.caption, example.instruction, example.act);
        turns.push(Turn { role: "user", content });
        turns.push(Turn { role: "assistant", content: example.reply() });
    }
    let mut content = question(&facts.class, &facts.caption, &facts.instruction, act);
    if let Some(mistake) = mistake {
        content.push_str(&format!("\nYour last reply could not be used: {mistake}. Write another one."));
    }
    turns.push(Turn { role: "user", content });
    turns
}

fn question(class: &str, caption: &str, instruction: &str, act: SpeechAct) -> String {
    let wish = match act {
        // Whoever knows the wish gives it away.
        SpeechAct::VagueWish => String::new(),
        SpeechAct::Directive | SpeechAct::Question => format!("\nThe user's wish: {instruction}"),
    };
    let act = act.as_str().replace('_', " ");
    format!("The photo shows: {class}\nThe new picture shows: {caption}{wish}\nHow the user speaks: {act}")
}

/// The seed under which all of a candidate's dialogue number `index` is drawn.
pub(super) fn seed(run: Seed, candidate_id: &str, index: u32) -> Seed {
    run.child("dialogue").child(candidate_id).child(&index.to_string())
}

/// The speech act of a dialogue.
pub(super) fn act(seed: Seed, acts: &[SpeechAct]) -> SpeechAct {
    acts.get(seed.child("speech act").index(acts.len())).copied().unwrap_or(SpeechAct::Directive)
}

/// The seed of a try, in the 31 bits that every server takes.
pub(super) fn try_seed(seed: Seed, index: usize) -> u32 {
    (seed.child("try").child(&index.to_string()).0 >> 33) as u32
}
