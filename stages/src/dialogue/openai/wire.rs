//! One request over HTTP, and what came of it. The key is known here alone, and never shown.

use std::error::Error as _;
use std::time::Duration;

use cafe_pipeline::digest::Digest;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde_json::Value;

use super::super::replies::Reply;
use super::answer::{Answer, Raw, classify};
use super::request::Dialect;

const TO_CONNECT: Duration = Duration::from_secs(10);
/// A reply is a few hundred letters.
const MAX_BYTES: usize = 1 << 20;
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Where requests go.
pub(super) struct Wire {
    client: Client,
    url: Url,
    /// `Bearer …`, marked as not to be shown.
    key: Option<HeaderValue>,
    key_variable: Option<String>,
}

impl Wire {
    /// To the server at `base`, with the key in the variable; each request may take as long as `deadline`.
    pub(super) fn new(base: &Url, key_variable: Option<&str>, deadline: Duration) -> Result<Self, String> {
        let url = base.join("chat/completions").map_err(|error| format!("no address for requests: {error}"))?;
        let client = Client::builder()
            .user_agent(concat!("cafe-data/", env!("CARGO_PKG_VERSION")))
            // A key goes where the manifest says, and nowhere else.
            .redirect(Policy::none())
            .connect_timeout(TO_CONNECT)
            .timeout(deadline)
            .build()
            .map_err(|error| format!("no connection is possible: {error}"))?;
        let key = key_variable.map(key).transpose()?;
        Ok(Self { client, url, key, key_variable: key_variable.map(ToOwned::to_owned) })
    }

    /// Sends a request once.
    pub(super) async fn send(&self, body: &Value, request: &Digest, dialect: Dialect) -> Answer {
        let mut sent = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        sent = sent.header(IDEMPOTENCY_KEY, request.to_hex());
        if let Some(key) = &self.key {
            sent = sent.header(AUTHORIZATION, key.clone());
        }
        let mut response = match sent.body(body.to_string()).send().await {
            Ok(response) => response,
            Err(error) => return Answer::Fault(broken(error)),
        };
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|text| text.to_str().ok()).map(str::to_owned);
        let mut bytes = Vec::new();
        while bytes.len() <= MAX_BYTES {
            match response.chunk().await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return Answer::Fault(broken(error)),
            }
        }
        if !status.is_success() {
            // What is said about an error goes into messages and tables, and may repeat the key.
            bytes = self.hidden(&String::from_utf8_lossy(&bytes)).into_bytes();
        } else if bytes.len() > MAX_BYTES {
            let text = String::from_utf8_lossy(bytes.get(..200).unwrap_or_default()).into_owned();
            let problem = Some(format!("the reply has more than {MAX_BYTES} bytes"));
            return Answer::Reply(Reply { text, problem, ..Reply::default() });
        }
        classify(&Raw { status, retry_after: retry_after.as_deref(), body: &bytes }, dialect)
    }

    /// A text of the server without the key, should it have been repeated.
    fn hidden(&self, text: &str) -> String {
        let key = self.key.as_ref().and_then(|key| key.to_str().ok()?.strip_prefix("Bearer "));
        key.map_or_else(|| text.to_owned(), |key| text.replace(key, "…"))
    }

    /// The server, for messages.
    pub(super) fn name(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{port}", self.url.host_str().unwrap_or_default())
    }

    /// Where the key is from, for messages.
    pub(super) fn about_key(&self) -> String {
        match &self.key_variable {
            Some(variable) => format!("the key is that of {variable}"),
            None => "no key was sent: `api_key_env` names the variable that has one".to_owned(),
        }
    }
}

/// The header for the key in an environment variable.
fn key(variable: &str) -> Result<HeaderValue, String> {
    let key = std::env::var(variable).unwrap_or_default();
    if key.trim().is_empty() {
        return Err(format!(
            "the environment variable {variable} is not set, and `api_key_env` says that it has the server's key; a server that \
             wants none needs no `api_key_env`"
        ));
    }
    let header = HeaderValue::from_str(&format!("Bearer {}", key.trim()));
    let mut header = header.map_err(|_| format!("the key in {variable} has a letter that no key has"))?;
    header.set_sensitive(true);
    Ok(header)
}

/// What happened to a connection, without the address.
fn broken(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = if error.is_timeout() { "no answer before the deadline".to_owned() } else { error.to_string() };
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
