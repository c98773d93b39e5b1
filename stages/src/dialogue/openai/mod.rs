//! A language model behind OpenAI's chat interface, as vLLM, TGI, llama.cpp, Ollama and many services have it.
//!
//! * Many requests are on their way at once ([`limit`]): fewer, when the server says that it has enough to do.
//! * What passes by itself (a broken connection, a busy server, a fault of it) is tried again with growing pauses, or after as
//!   long as the server asks for. No reply is lost by it, and no row blamed.
//! * A server that answers nothing for long is gone: the stage waits for another run. A request that fails again and again
//!   while others are answered is its row's fault.
//! * What the user must change (a key, an address) stops the stage.

mod answer;
mod limit;
mod request;
mod retry_after;
mod server;
mod wire;

use std::cell::RefCell;
use std::sync::OnceLock;
use std::time::Duration;

use cafe_pipeline::stage::{Cancel, ConfigIssue, Cost, WorkContext, WorkError};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use reqwest::Url;
use tokio::runtime::{Builder, Runtime};

use super::config::DialogueConfig;
use super::converse::{Candidate, Rules};
use super::replies::Replies;
use request::Sampling;
use server::{Server, Trouble};

/// How often a stop of the run is looked for.
const GLANCE: Duration = Duration::from_millis(50);

/// How hard and how long a server is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Requests on their way at once.
    pub(super) concurrency: usize,
    /// For one request.
    pub(super) deadline: Duration,
    /// For a server that answers nothing.
    pub(super) outage: Duration,
}

/// The backend.
pub(super) struct OpenAi {
    base: Url,
    sampling: Sampling,
    key_variable: Option<String>,
    patience: Patience,
    running: OnceLock<Result<Running, String>>,
}

/// What is made when the first request is due.
struct Running {
    /// Connections are kept from batch to batch, so they need a runtime that outlives a batch. `None` only while it is dropped.
    runtime: Option<Runtime>,
    server: Server,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be dropped on a thread of another runtime, where waiting is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl OpenAi {
    /// Checks the address. Nothing is asked yet, and no key read.
    pub(super) fn new(
        base_url: &str,
        model: &str,
        key_variable: Option<String>,
        config: &DialogueConfig,
        patience: Patience,
    ) -> Result<Self, ConfigIssue> {
        let sampling = Sampling::new(model, config);
        Ok(Self { base: base(base_url)?, sampling, key_variable, patience, running: OnceLock::new() })
    }

    /// Rows of a batch. More than are on their way at once, so that one slow reply does not leave the server idle.
    pub(super) fn batch_rows(&self) -> usize {
        self.patience.concurrency.saturating_mul(4).clamp(16, 1024)
    }

    /// About as long as a request may take with all that can go wrong.
    pub(super) fn longest_wait(&self) -> Duration {
        self.patience.deadline.saturating_mul(2).saturating_add(self.patience.outage)
    }

    /// Asks until every dialogue is had or given up; what that cost.
    pub(super) fn converse(
        &self,
        context: &WorkContext,
        candidates: &mut [Candidate],
        rules: &Rules,
        replies: &Replies,
    ) -> Result<Cost, WorkError> {
        let running = self.running.get_or_init(|| self.start()).as_ref();
        let running = running.map_err(|message| WorkError::Systemic(message.clone()))?;
        let runtime = running.runtime.as_ref();
        let runtime = runtime.ok_or_else(|| WorkError::Systemic("the server's connection was closed".to_owned()))?;
        let cost = RefCell::new(Cost::default());
        let (cost_so_far, server) = (&cost, &running.server);
        let all = stream::iter(candidates.iter_mut()).map(Ok);
        let all = all.try_for_each_concurrent(self.patience.concurrency.max(1), |candidate| async move {
            while let Some(question) = candidate.next(rules) {
                match server.ask(context, replies, &question).await {
                    Ok(asked) => {
                        *cost_so_far.borrow_mut() += asked.cost;
                        candidate.take(asked.request, asked.reply, rules);
                    }
                    Err(Trouble::Row(message)) => candidate.refused = Some(message),
                    Err(Trouble::Stage(error)) => return Err(error),
                }
            }
            Ok(())
        });
        runtime.block_on(unless_stopped(&context.cancel, all))??;
        Ok(cost.into_inner())
    }

    fn start(&self) -> Result<Running, String> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("dialogue").enable_all().build();
        let runtime = runtime.map_err(|error| format!("no thread for connections: {error}"))?;
        let server = Server::new(&self.base, self.sampling.clone(), self.key_variable.as_deref(), self.patience)?;
        Ok(Running { runtime: Some(runtime), server })
    }
}

/// The address that a manifest gives.
fn base(text: &str) -> Result<Url, ConfigIssue> {
    let issue = |message: &str| {
        ConfigIssue::new("/backend/base_url", message)
            .with_help("for example `base_url = \"http://localhost:8000/v1\"`")
    };
    let mut url = Url::parse(text.trim()).map_err(|error| issue(&format!("is no address: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(issue("must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(issue(
            "must have no user, password, `?` or `#`: a key belongs into the variable that `api_key_env` names",
        ));
    }
    let path = url.path().trim_end_matches('/');
    // Whoever copies the whole address means the same.
    let path = path.strip_suffix("/chat/completions").unwrap_or(path).to_owned();
    url.set_path(&format!("{path}/"));
    Ok(url)
}

/// What `work` makes, unless a stop is asked for.
async fn unless_stopped<T>(cancel: &Cancel, work: impl Future<Output = T>) -> Result<T, WorkError> {
    let stopped = async {
        while !cancel.is_cancelled() {
            tokio::time::sleep(GLANCE).await;
        }
    };
    tokio::select! {
        made = work => Ok(made),
        () = stopped => Err(WorkError::Cancelled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        for text in
            ["http://localhost:8000/v1", "http://localhost:8000/v1/", "http://localhost:8000/v1/chat/completions"]
        {
            let joined = base(text).unwrap().join("chat/completions").unwrap();
            assert_eq!(joined.as_str(), "http://localhost:8000/v1/chat/completions");
        }
        assert_eq!(base("https://llm.example").unwrap().join("chat/completions").unwrap().path(), "/chat/completions");
        for text in ["localhost:8000", "ftp://a/v1", "http://me:secret@a/v1", "http://a/v1?key=secret", "", "v1"] {
            let issue = base(text).unwrap_err();
            assert!(!issue.message.contains("secret"), "{}", issue.message);
        }
    }
}
