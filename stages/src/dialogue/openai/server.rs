//! The server: requests are sent to it until they are answered, or it is clear whose fault it is that they are not.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use cafe_pipeline::digest::Digest;
use cafe_pipeline::stage::{Cost, WorkContext, WorkError};
use reqwest::Url;
use tokio::time::{Instant, sleep};

use super::super::config::Structured;
use super::super::converse::Question;
use super::super::replies::{Replies, Reply};
use super::super::template::Turn;
use super::Patience;
use super::answer::Answer;
use super::limit::Limit;
use super::request::{Dialect, Sampling, digest};
use super::wire::Wire;

/// The pause before the second try; doubled from then on, and spread.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After so many faults in a row the server is asked for something else, to see whose fault it is.
const FAULTS: usize = 4;
/// Of these so many are kept.
const KEPT_FAULTS: usize = 50;
/// A server that never answered is perhaps not there at all: who has just started a run wants to know it soon.
const FIRST_OUTAGE: Duration = Duration::from_secs(30);

/// A server.
pub(super) struct Server {
    wire: Wire,
    sampling: Sampling,
    patience: Patience,
    limit: Limit,
    state: Mutex<State>,
}

/// What was found out about it.
struct State {
    dialect: Dialect,
    last_reply: Option<Instant>,
}

/// Why there is no reply.
pub(super) enum Trouble {
    /// It is this row's fault.
    Row(String),
    /// It is not.
    Stage(WorkError),
}

impl From<WorkError> for Trouble {
    fn from(error: WorkError) -> Self {
        Self::Stage(error)
    }
}

/// A reply, and what it cost now: nothing, when it was paid for before.
pub(super) struct Asked {
    pub(super) request: Digest,
    pub(super) reply: Reply,
    pub(super) cost: Cost,
}

/// Whose fault it is that a request is not answered.
enum Blame {
    Row,
    Stage(WorkError),
}

impl Server {
    /// One at `base`, with the key in the variable.
    pub(super) fn new(
        base: &Url,
        sampling: Sampling,
        key_variable: Option<&str>,
        patience: Patience,
    ) -> Result<Self, String> {
        Ok(Self {
            wire: Wire::new(base, key_variable, patience.deadline)?,
            limit: Limit::new(patience.concurrency),
            state: Mutex::new(State { dialect: sampling.dialect(), last_reply: None }),
            sampling,
            patience,
        })
    }

    /// Asks until there is a reply, which is stored before it is given.
    pub(super) async fn ask(
        &self,
        context: &WorkContext,
        replies: &Replies,
        question: &Question,
    ) -> Result<Asked, Trouble> {
        let began = Instant::now();
        let mut pauses = pauses();
        let (mut faults, mut n_faults, mut blamed) = (Vec::new(), 0, None);
        loop {
            let dialect = self.dialect();
            let body = self.sampling.body(question, dialect);
            let request = digest(&body);
            if let Some(found) = replies.get(context, &request)? {
                let cost = if found.is_unpaid { found.reply.cost() } else { Cost::default() };
                return Ok(Asked { request, reply: found.reply, cost });
            }
            let pass = self.limit.enter().await;
            let answer = self.wire.send(&body, &request, dialect).await;
            let (text, wait, is_busy) = match answer {
                Answer::Reply(mut reply) => {
                    pass.answered();
                    drop(pass);
                    self.lock(|state| state.last_reply = Some(Instant::now()));
                    reply.faults = faults;
                    replies.put(context, request, &reply)?;
                    let cost = reply.cost();
                    return Ok(Asked { request, reply, cost });
                }
                Answer::Dialect(other, text) => {
                    self.speak(dialect, other, &text)?;
                    continue;
                }
                Answer::Row(text) => {
                    drop(pass);
                    return Err(match self.blame(&text, None).await {
                        Blame::Row => Trouble::Row(format!("the server does not take the request: {text}")),
                        Blame::Stage(error) => error.into(),
                    });
                }
                Answer::Refused(text) => return Err(self.refused(&text).into()),
                Answer::Closed(text) => return Err(self.gone(&text).into()),
                Answer::Busy(text, wait) => (text, wait, true),
                Answer::Fault(text) => (text, None, false),
            };
            let pause = wait.or_else(|| pauses.next()).unwrap_or(LONGEST_PAUSE);
            if is_busy {
                pass.refused(pause);
            }
            drop(pass);
            n_faults += usize::from(!is_busy);
            tracing::info!("{}: {text}; tried again in {:.1} s", self.wire.name(), pause.as_secs_f64());
            if faults.len() < KEPT_FAULTS {
                faults.push(text.clone());
            }
            let (quiet, outage) = self.quiet(began);
            let is_over = quiet + pause > outage;
            if is_over && (is_busy || pause > outage) {
                return Err(self.gone(&text).into());
            }
            if is_over || n_faults >= FAULTS {
                match self.blame(&text, Some(blamed.unwrap_or(began))).await {
                    Blame::Stage(error) => return Err(error.into()),
                    // The server may have come back just now, or gone since it answered others.
                    Blame::Row if blamed.is_none() => {
                        (blamed, n_faults) = (Some(Instant::now()), 0);
                        pauses = self::pauses();
                    }
                    Blame::Row => {
                        return Err(Trouble::Row(format!(
                            "the server answers others, but not this request: {}",
                            faults.join("; ")
                        )));
                    }
                }
            }
            sleep(pause).await;
        }
    }

    /// Whose fault it is that the server says `text`: the row's, if the server answers others, or something harmless.
    async fn blame(&self, text: &str, since: Option<Instant>) -> Blame {
        let is_alive = self.lock(|state| state.last_reply.is_some_and(|last| since.is_none_or(|since| last > since)));
        if is_alive {
            return Blame::Row;
        }
        let turns =
            vec![Turn { role: "user", content: "Reply with {\"user\":\"hello\",\"assistant\":\"hello\"}".to_owned() }];
        let question = Question { turns, seed: 0 };
        for pause in pauses().take(3) {
            let dialect = self.dialect();
            let body = self.sampling.body(&question, dialect);
            match self.wire.send(&body, &digest(&body), dialect).await {
                Answer::Reply(_) => {
                    self.lock(|state| state.last_reply = Some(Instant::now()));
                    return Blame::Row;
                }
                Answer::Dialect(other, said) => {
                    if let Err(error) = self.speak(dialect, other, &said) {
                        return Blame::Stage(error);
                    }
                }
                Answer::Row(_) | Answer::Refused(_) => return Blame::Stage(self.refused(text)),
                Answer::Closed(said) => return Blame::Stage(self.gone(&said)),
                Answer::Busy(..) | Answer::Fault(_) => sleep(pause).await,
            }
        }
        Blame::Stage(self.gone(text))
    }

    /// Takes up another dialect, unless somebody has already.
    fn speak(&self, before: Dialect, other: Dialect, text: &str) -> Result<(), WorkError> {
        if !other.has_schema && self.sampling.structured == Structured::JsonSchema {
            let advice = "`structured = \"auto\"` does without a schema";
            return Err(WorkError::Systemic(format!(
                "{}: the server knows no JSON schema ({text}): {advice}",
                self.wire.name()
            )));
        }
        let is_new = self.lock(|state| {
            let is_new = state.dialect == before;
            if is_new {
                state.dialect = other;
            }
            is_new
        });
        if is_new && before.has_schema && !other.has_schema {
            tracing::warn!(
                "{} binds no reply to a JSON schema ({text}): replies are read as they come",
                self.wire.name()
            );
        }
        Ok(())
    }

    fn dialect(&self) -> Dialect {
        self.lock(|state| state.dialect)
    }

    /// How long nothing was answered to anybody, and how long that is borne.
    fn quiet(&self, began: Instant) -> (Duration, Duration) {
        match self.lock(|state| state.last_reply) {
            Some(last) => (last.max(began).elapsed(), self.patience.outage),
            None => (began.elapsed(), self.patience.outage.min(FIRST_OUTAGE)),
        }
    }

    fn refused(&self, text: &str) -> WorkError {
        WorkError::Systemic(format!("{}: {text}; {}", self.wire.name(), self.wire.about_key()))
    }

    fn gone(&self, text: &str) -> WorkError {
        let n_secs = self.patience.outage.as_secs();
        WorkError::Unavailable(format!(
            "the language model's server {} is not to be had ({text}); `patience_secs` = {n_secs} says how long it is waited for",
            self.wire.name(),
        ))
    }

    fn lock<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn pauses() -> impl Iterator<Item = Duration> {
    let growing = ExponentialBuilder::new().with_min_delay(FIRST_PAUSE).with_max_delay(LONGEST_PAUSE).with_factor(2.0);
    growing.without_max_times().with_jitter().build()
}
