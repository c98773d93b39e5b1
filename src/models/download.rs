//! Files over HTTP: what is there already is not asked for again, and the token goes to one host only.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cafe_pipeline::manifest::ModelFile;
use cafe_pipeline::stage::Cancel;
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::{Client, Response, StatusCode, Url};

use super::trouble::Trouble;
use crate::progress::Transfer;

/// A file fails after so many tries in which nothing came.
const TRIES: u32 = 5;
/// Before the second try; doubled from then on.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// A server that wants more patience is left alone.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const HOPS: usize = 10; // more is a circle
/// No file whose size is not pinned may be longer.
const LIMIT: u64 = 1 << 38;

/// A server, and who asks it.
pub(super) struct Server {
    pub(super) client: Client,
    pub(super) endpoint: Url,
    /// `Bearer …`, marked as not to be shown.
    pub(super) token: Option<HeaderValue>,
}

/// A file that is asked for.
pub(super) struct Wanted<'a> {
    pub(super) url: Url,
    /// How it is called in messages. The address may hold secrets, once it was redirected.
    pub(super) what: String,
    pub(super) file: &'a ModelFile,
    /// Where its bytes go; what is there is the beginning.
    pub(super) part: PathBuf,
    /// Which version that beginning is of.
    pub(super) etag: PathBuf,
}

/// How a file came.
#[derive(Debug, Default)]
pub(super) struct Got {
    /// Whether its beginning was there.
    pub(super) is_resumed: bool,
    /// The commit that the server says it is of.
    pub(super) commit: Option<String>,
}

/// Why a try failed.
enum Failed {
    /// For good, or because it was stopped.
    Over(Trouble),
    /// Tried again, after as long as the server wants.
    Again(String, Option<Duration>),
}

impl From<Trouble> for Failed {
    fn from(trouble: Trouble) -> Self {
        Self::Over(trouble)
    }
}

impl Server {
    /// Brings the file to its part. It is not known to be right yet.
    pub(super) async fn download(
        &self,
        wanted: &Wanted<'_>,
        shown: &Transfer,
        cancel: &Cancel,
    ) -> Result<Got, Trouble> {
        let (mut n_tries, mut wait) = (0, FIRST_WAIT);
        loop {
            let before = length(&wanted.part);
            let (message, asked) = match unless_stopped(cancel, self.attempt(wanted, shown)).await? {
                Ok(got) => return Ok(got),
                Err(Failed::Over(trouble)) => return Err(trouble),
                Err(Failed::Again(message, asked)) => (message, asked),
            };
            if length(&wanted.part) > before {
                (n_tries, wait) = (0, FIRST_WAIT);
            }
            n_tries += 1;
            let pause = asked.unwrap_or(wait);
            if n_tries >= TRIES || pause > LONGEST_WAIT {
                return Err(Trouble::Passing(message));
            }
            tracing::info!("{message}; tried again");
            unless_stopped(cancel, tokio::time::sleep(pause)).await?;
            wait *= 2;
        }
    }

    async fn attempt(&self, wanted: &Wanted<'_>, shown: &Transfer) -> Result<Got, Failed> {
        let offset = length(&wanted.part);
        let etag = fs::read(&wanted.etag).ok().and_then(|etag| HeaderValue::from_bytes(&etag).ok());
        let mut headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
        // Without a pin, and without knowing of which version the beginning is, nobody would see a wrong end.
        let goes_on = offset > 0 && (etag.is_some() || wanted.file.sha256.is_some());
        if goes_on {
            let range = HeaderValue::from_str(&format!("bytes={offset}-"));
            headers.insert(RANGE, range.map_err(|error| Trouble::Lasting(error.to_string()))?);
            headers.extend(etag.map(|etag| (IF_RANGE, etag)));
        }
        let (response, commit) = self.get(wanted, headers).await?;
        let total = response.content_length();
        match response.status() {
            StatusCode::OK => {
                check_size(wanted, total)?;
                begin(wanted, &response)?;
                receive(wanted, response, 0, total, shown).await?;
                Ok(Got { is_resumed: false, commit })
            }
            StatusCode::PARTIAL_CONTENT => {
                let range = response.headers().get(CONTENT_RANGE).and_then(|range| parse_range(range.to_str().ok()?));
                let Some((_, total)) = range.filter(|(start, _)| goes_on && *start == offset) else {
                    discard(wanted)?;
                    return Err(Failed::Again(
                        format!("{} came with bytes that were not asked for", wanted.what),
                        None,
                    ));
                };
                check_size(wanted, Some(total))?;
                receive(wanted, response, offset, Some(total), shown).await?;
                Ok(Got { is_resumed: true, commit })
            }
            // All of it is there, or it is of something else.
            StatusCode::RANGE_NOT_SATISFIABLE if goes_on && wanted.file.bytes == Some(offset) => {
                Ok(Got { is_resumed: true, commit })
            }
            StatusCode::RANGE_NOT_SATISFIABLE if goes_on => {
                discard(wanted)?;
                Err(Failed::Again(format!("{} is shorter than what is there of it", wanted.what), None))
            }
            status => Err(self.refusal(wanted, status, &response)),
        }
    }

    /// Asks, and goes where the answer says.
    async fn get(&self, wanted: &Wanted<'_>, headers: HeaderMap) -> Result<(Response, Option<String>), Failed> {
        let mut url = wanted.url.clone();
        let mut commit = None;
        for _ in 0..=HOPS {
            let mut request = self.client.get(url.clone()).headers(headers.clone());
            // Whoever else is asked must not learn it: files are served by other hosts than the hub's.
            if let Some(token) = self.token.as_ref().filter(|_| url.origin() == self.endpoint.origin()) {
                request = request.header(AUTHORIZATION, token);
            }
            let response = request.send().await.map_err(|error| broken(wanted, error))?;
            let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
            commit = commit.or_else(|| header("x-repo-commit"));
            if !response.status().is_redirection() {
                return Ok((response, commit));
            }
            let next = header(LOCATION.as_str()).and_then(|location| url.join(&location).ok());
            let next = next.filter(|next| next.scheme() == "https" || next.scheme() == url.scheme());
            url = next
                .ok_or_else(|| Trouble::Lasting(format!("{}: it is moved to where it cannot be had", wanted.what)))?;
        }
        Err(Trouble::Lasting(format!("{}: redirected more than {HOPS} times", wanted.what)).into())
    }

    fn refusal(&self, wanted: &Wanted<'_>, status: StatusCode, response: &Response) -> Failed {
        let (what, code) = (&wanted.what, status.as_u16());
        let host = self.endpoint.host_str().unwrap_or_default();
        let text = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if self.token.is_none() => format!(
                "{what}: {host} wants to know who asks ({code}): set HF_TOKEN, after agreeing to the model's terms there; \
                 a repository that does not exist is answered in the same way"
            ),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                format!("{what}: {host} does not give it to the owner of HF_TOKEN ({code})")
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                format!("{what}: {host} has no such file ({code}): look at repository, revision and path")
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                let after = response.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
                return Failed::Again(format!("{what}: {host} is busy ({code})"), after.map(Duration::from_secs));
            }
            status if status.is_server_error() => {
                return Failed::Again(format!("{what}: {host} has a fault ({code})"), None);
            }
            _ => format!("{what}: {host} answers {code}"),
        };
        Trouble::Lasting(text).into()
    }
}

/// What a size says before anything has come.
fn check_size(wanted: &Wanted<'_>, total: Option<u64>) -> Result<(), Trouble> {
    match (total, wanted.file.bytes) {
        (Some(total), Some(bytes)) if total != bytes => {
            Err(Trouble::Lasting(format!("{} has {total} bytes, where {bytes} are pinned", wanted.what)))
        }
        _ => Ok(()),
    }
}

/// Empties the part, and notes which version comes.
fn begin(wanted: &Wanted<'_>, response: &Response) -> Result<(), Trouble> {
    discard(wanted)?;
    // A weak tag promises the same meaning, not the same bytes.
    match response.headers().get(ETAG).map(HeaderValue::as_bytes).filter(|etag| !etag.starts_with(b"W/")) {
        Some(etag) => fs::write(&wanted.etag, etag).map_err(Trouble::at(&wanted.etag)),
        None => Ok(()),
    }
}

fn discard(wanted: &Wanted<'_>) -> Result<(), Trouble> {
    for path in [&wanted.part, &wanted.etag] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Trouble::at(path)(error)),
            _ => {}
        }
    }
    Ok(())
}

async fn receive(
    wanted: &Wanted<'_>,
    mut response: Response,
    offset: u64,
    total: Option<u64>,
    shown: &Transfer,
) -> Result<(), Failed> {
    let failed = Trouble::at(&wanted.part);
    let mut part = File::options().create(true).append(true).open(&wanted.part).map_err(&failed)?;
    let limit = wanted.file.bytes.unwrap_or(LIMIT);
    let mut n_bytes = offset;
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(wanted, error))? {
        n_bytes += chunk.len() as u64;
        if n_bytes > limit {
            discard(wanted)?;
            return Err(Trouble::Lasting(format!("{} has more than {limit} bytes", wanted.what)).into());
        }
        part.write_all(&chunk).map_err(&failed)?;
        shown.at(n_bytes, total);
    }
    match total {
        Some(total) if total != n_bytes => {
            Err(Failed::Again(format!("{} ended after {n_bytes} of {total} bytes", wanted.what), None))
        }
        _ => Ok(()),
    }
}

/// Start and total of `bytes START-END/TOTAL`.
fn parse_range(text: &str) -> Option<(u64, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()?))
}

/// A connection that failed. Its address is left out: where it was redirected, it is a secret.
fn broken(wanted: &Wanted<'_>, error: reqwest::Error) -> Failed {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    Failed::Again(format!("{}: {text}", wanted.what), None)
}

fn length(part: &Path) -> u64 {
    part.metadata().map_or(0, |part| part.len())
}

/// What `work` makes, unless a stop is asked for.
async fn unless_stopped<T>(cancel: &Cancel, work: impl Future<Output = T>) -> Result<T, Trouble> {
    let stopped = async {
        while !cancel.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        made = work => Ok(made),
        () = stopped => Err(Trouble::Stopped),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(parse_range("bytes 5-9/10"), Some((5, 10)));
        let odd = ["bytes */10", "bytes 5-9/*", "items 5-9/10", "bytes 5/10", ""];
        assert!(odd.iter().all(|odd| parse_range(odd).is_none()));
    }
}
