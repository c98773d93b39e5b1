//! The course of a candidate's dialogues, whoever the model is: what is asked next, and what follows from the reply.

use cafe_pipeline::digest::{Digest, Seed};

use super::check::check;
use super::config::{LimitsConfig, SpeechAct};
use super::parse::parse;
use super::replies::Reply;
use super::template::{self, Facts, Said, Turn};

/// What holds for all candidates.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) per_candidate: u32,
    pub(super) acts: Vec<SpeechAct>,
    pub(super) tries: u32,
    pub(super) limits: LimitsConfig,
}

/// A question to the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) turns: Vec<Turn>,
    pub(super) seed: u32,
}

/// A try at a dialogue.
#[derive(Clone, Debug)]
pub(super) struct Try {
    pub(super) seed: u32,
    pub(super) request: Digest,
    pub(super) reply: Reply,
    /// Why it was not used.
    pub(super) mistake: Option<String>,
}

/// A dialogue in the making.
#[derive(Clone, Debug)]
pub(super) struct Dialogue {
    pub(super) act: SpeechAct,
    pub(super) tries: Vec<Try>,
    pub(super) said: Option<Said>,
    seed: Seed,
}

/// A candidate, with its dialogues.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// Position in the batch.
    pub(super) row: u32,
    pub(super) id: String,
    pub(super) facts: Facts,
    pub(super) dialogues: Vec<Dialogue>,
    /// Why the model cannot be asked about it at all.
    pub(super) refused: Option<String>,
}

impl Candidate {
    /// A candidate that nothing was asked about yet.
    pub(super) fn new(row: u32, id: String, facts: Facts, run: Seed, rules: &Rules) -> Self {
        let dialogue = |index| {
            let seed = template::seed(run, &id, index);
            Dialogue { act: template::act(seed, &rules.acts), tries: Vec::new(), said: None, seed }
        };
        let dialogues = (0..rules.per_candidate).map(dialogue).collect();
        Self { row, id, facts, dialogues, refused: None }
    }

    /// What is asked next; `None` when all is said, or every try used up.
    pub(super) fn next(&self, rules: &Rules) -> Option<Question> {
        let dialogue = self.dialogues.get(self.open(rules)?)?;
        let mistake = dialogue.tries.last().and_then(|last| last.mistake.as_deref());
        Some(Question { turns: template::messages(&self.facts, dialogue.act, mistake), seed: dialogue.next_seed() })
    }

    /// Takes the reply to what [`next`](Self::next) asked.
    pub(super) fn take(&mut self, request: Digest, reply: Reply, rules: &Rules) {
        let Some(open) = self.open(rules) else { return };
        let Self { dialogues, facts, .. } = self;
        let (before, rest) = dialogues.split_at_mut(open);
        let Some(dialogue) = rest.first_mut() else { return };
        let earlier: Vec<&Said> = before.iter().filter_map(|dialogue| dialogue.said.as_ref()).collect();
        let judged = match &reply.problem {
            Some(problem) => Err(problem.clone()),
            None => parse(&reply.text).and_then(|said| {
                check(&said, facts, dialogue.act, &rules.limits, &earlier)?;
                Ok(said)
            }),
        };
        let seed = dialogue.next_seed();
        let mistake = judged.as_ref().err().cloned();
        dialogue.tries.push(Try { seed, request, reply, mistake });
        dialogue.said = judged.ok();
    }

    /// The dialogue that is asked for.
    fn open(&self, rules: &Rules) -> Option<usize> {
        if self.refused.is_some() {
            return None;
        }
        let is_open = |dialogue: &Dialogue| dialogue.said.is_none() && dialogue.tries.len() < rules.tries as usize;
        self.dialogues.iter().position(is_open)
    }

    /// Why the candidate has no dialogue, with all that was tried; `None` where it has one.
    pub(super) fn failure(&self) -> Option<String> {
        if self.dialogues.iter().any(|dialogue| dialogue.said.is_some()) {
            return None;
        }
        let mut text = match &self.refused {
            Some(refused) => refused.clone(),
            None => "no reply of the model was usable".to_owned(),
        };
        for (index, dialogue) in self.dialogues.iter().enumerate() {
            for (number, tried) in (1..).zip(&dialogue.tries) {
                let mistake = tried.mistake.as_deref().unwrap_or_default();
                let (seed, reply) = (tried.seed, shortened(&tried.reply.text));
                text.push_str(&format!("; dialogue {index}, try {number}, seed {seed}: {mistake}: {reply:?}"));
            }
        }
        Some(text)
    }
}

impl Dialogue {
    fn next_seed(&self) -> u32 {
        template::try_seed(self.seed, self.tries.len())
    }
}

/// The beginning of a text, for a message.
pub(super) fn shortened(text: &str) -> String {
    const SHOWN: usize = 200;
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}
