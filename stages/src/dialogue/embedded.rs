//! A language model that runs in this program, bound to the schema.

use std::path::PathBuf;
use std::sync::OnceLock;

use cafe_engine::language::{ChatTokenizer, Llama, Message, Outcome, Prompt, Sampling, Writer, Written};
use cafe_engine::noise::Noise;
use cafe_engine::op::on_cores;
use cafe_engine::{Device, EngineError};
use cafe_pipeline::digest::{Digest, Hasher};
use cafe_pipeline::manifest::ModelRole;
use cafe_pipeline::stage::{CompileContext, ConfigIssue, Cost, WorkContext, WorkError};

use super::config::DialogueConfig;
use super::converse::{Candidate, Question, Rules};
use super::replies::{Replies, Reply};
use super::template;
use crate::models::{self, ModelStore, NoModel};

/// Replies written at once: more gain little on a CPU, and a stop waits for them.
const AT_ONCE: usize = 8;

/// The model.
pub(super) struct Embedded {
    /// Where it is; why not, as long as it was not fetched.
    folder: Result<PathBuf, NoModel>,
    weights: Digest,
    sampling: Sampling,
    max_tokens: usize,
    schema: serde_json::Value,
    writer: OnceLock<Result<Writer, String>>,
}

impl Embedded {
    /// Finds the model, and gives the digest that it is known by. A model that is known and was not fetched is no mistake of the
    /// manifest: other stages can do their work, and this one waits.
    pub(super) fn find(
        model: &str,
        config: &DialogueConfig,
        models: &dyn ModelStore,
        context: &CompileContext<'_>,
    ) -> Result<(Self, Digest), ConfigIssue> {
        const POINTER: &str = "/backend/model";
        let issue = |missing: NoModel| {
            let issue = ConfigIssue::new(POINTER, missing.message);
            missing.help.into_iter().fold(issue, ConfigIssue::with_help)
        };
        let pins = models.pins(model, ModelRole::Llm, context).map_err(issue)?;
        let folder = models.folder(model, ModelRole::Llm, context);
        let weights = match (pins, &folder) {
            (Some(pins), _) => pins,
            (None, Ok(folder)) => models::digest(folder, POINTER)?,
            (None, Err(missing)) => return Err(issue(missing.clone())),
        };
        let found = Self {
            folder,
            weights,
            sampling: Sampling { temperature: config.temperature, ..Sampling::default() },
            max_tokens: config.max_tokens as usize,
            schema: template::schema(&config.limits),
            writer: OnceLock::new(),
        };
        Ok((found, weights))
    }

    /// Has the model write until every dialogue is had or given up; what that cost.
    pub(super) fn converse(
        &self,
        context: &WorkContext,
        candidates: &mut [Candidate],
        rules: &Rules,
        replies: &Replies,
    ) -> Result<Cost, WorkError> {
        let mut cost = Cost::default();
        loop {
            let mut open: Vec<(&mut Candidate, Question, Digest)> = Vec::new();
            for candidate in candidates.iter_mut() {
                // What was written before is taken at once.
                let mut asked = None;
                while let Some(question) = candidate.next(rules) {
                    let request = self.request(&question);
                    let Some(found) = replies.get(context, &request)? else {
                        asked = Some((question, request));
                        break;
                    };
                    if found.is_unpaid {
                        cost += found.reply.cost();
                    }
                    candidate.take(request, found.reply, rules);
                }
                open.extend(asked.map(|(question, request)| (candidate, question, request)));
            }
            if open.is_empty() {
                return Ok(cost);
            }
            for some in open.chunks_mut(AT_ONCE) {
                context.cancel.check()?;
                let prompts: Vec<Prompt> = some.iter().map(|(_, question, _)| self.prompt(question)).collect();
                let writer = self.writer()?;
                let written = on_cores(|| writer.write(&prompts)).map_err(|error| broken(&error))?;
                for ((candidate, _, request), written) in some.iter_mut().zip(written) {
                    match written {
                        Ok(written) => {
                            let reply = reply(written);
                            cost += reply.cost();
                            replies.put(context, *request, &reply)?;
                            candidate.take(*request, reply, rules);
                        }
                        Err(error) => candidate.refused = Some(format!("the model cannot be asked: {error}")),
                    }
                }
            }
        }
    }

    fn writer(&self) -> Result<&Writer, WorkError> {
        let folder = self.folder.as_ref().map_err(|missing| {
            let help = missing.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
            WorkError::Unavailable(format!("{}{help}", missing.message))
        })?;
        let load = || {
            let load = || -> cafe_engine::Result<Writer> {
                let llama = Llama::load(folder, &Device::Cpu)?;
                let mut writer = Writer::new(llama, ChatTokenizer::load(folder)?, &self.schema)?;
                (writer.batch, writer.max_new_tokens) = (AT_ONCE, self.max_tokens);
                Ok(writer)
            };
            on_cores(load).map_err(|error| error.to_string())
        };
        self.writer.get_or_init(load).as_ref().map_err(|error| WorkError::Systemic(error.clone()))
    }

    fn prompt(&self, question: &Question) -> Prompt {
        Prompt {
            messages: question.turns.iter().map(|turn| Message::new(turn.role, &turn.content)).collect(),
            sampling: self.sampling.clone(),
            noise: Noise::new(question.seed.into()).of("dialogue"),
        }
    }

    /// The digest of all that decides the reply.
    fn request(&self, question: &Question) -> Digest {
        let hasher = Hasher::new("dialogue-request/embedded/v1")
            .bytes("weights", self.weights.as_bytes())
            .json("schema", &self.schema)
            .number("temperature", self.sampling.temperature.to_bits())
            .number("max_tokens", self.max_tokens as u64)
            .number("seed", question.seed.into());
        question.turns.iter().fold(hasher, |hasher, turn| hasher.text(turn.role, &turn.content)).digest()
    }
}

fn reply(written: Written) -> Reply {
    let n_written = written.n_written;
    let problem = match written.outcome {
        Outcome::Complete(_) => None,
        Outcome::OutOfTokens => Some(format!("the reply is not complete after {n_written} tokens")),
    };
    Reply {
        text: written.text,
        problem,
        prompt_tokens: Some(written.n_prompt as u64),
        completion_tokens: Some(n_written as u64),
        faults: Vec::new(),
    }
}

fn broken(error: &EngineError) -> WorkError {
    WorkError::Systemic(format!("the language model failed: {error}"))
}
