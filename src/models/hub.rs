//! The Hugging Face hub, or a mirror of it.
//!
//! Not by the crate hf-hub: of the hub itself one address for each file is needed, and what else there is to a download (pins,
//! resumption by another process, where the token goes) is decided here.

use std::fs;
use std::time::Duration;

use cafe_pipeline::manifest::ModelFile;
use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use tokio::runtime::Handle;

use super::digest::Known;
use super::download::{Server, Wanted};
use super::local::Work;
use super::trouble::Trouble;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
const TO_CONNECT: Duration = Duration::from_secs(30);
/// A connection on which nothing comes for so long is broken.
const TO_READ: Duration = Duration::from_secs(60);

/// What the environment says of the hub.
#[derive(Debug)]
pub(crate) struct HubSettings {
    endpoint: Option<String>,
    /// Marked as not to be shown.
    token: Option<HeaderValue>,
    is_offline: bool,
}

/// A folder of a repository.
pub(super) struct Repository<'a> {
    pub(super) name: &'a str,
    pub(super) revision: &'a str,
    pub(super) folder: &'a str,
}

impl HubSettings {
    /// Reads it.
    pub(crate) fn from_environment() -> Self {
        let set = |name: &str| std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|v| !v.is_empty());
        let token = set("HF_TOKEN").and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
        let token = token.map(|mut token| {
            token.set_sensitive(true);
            token
        });
        let is_offline = set("HF_HUB_OFFLINE").is_some_and(|value| is_true(&value));
        Self { endpoint: set("HF_ENDPOINT"), token, is_offline }
    }

    fn server(&self) -> Result<Server, Trouble> {
        let text = self.endpoint.as_deref().unwrap_or(DEFAULT_ENDPOINT);
        let endpoint = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let endpoint = endpoint.filter(|url| url.username().is_empty() && url.password().is_none());
        let endpoint = endpoint.ok_or_else(|| {
            Trouble::Lasting(
                "HF_ENDPOINT is no address such as https://hub.example (without user and password)".to_owned(),
            )
        })?;
        let client = Client::builder()
            .user_agent(concat!("cafe-data/", env!("CARGO_PKG_VERSION")))
            // Redirections are followed by `Server`, which knows where the token may go.
            .redirect(Policy::none())
            .connect_timeout(TO_CONNECT)
            .read_timeout(TO_READ)
            .build();
        let client = client.map_err(|error| Trouble::Lasting(format!("no connection is possible: {error}")))?;
        Ok(Server { client, endpoint, token: self.token.clone() })
    }

    /// Brings files. Blocks.
    pub(super) fn bring(
        &self,
        repository: &Repository<'_>,
        files: &[ModelFile],
        work: &Work<'_>,
    ) -> Result<Vec<Known>, Trouble> {
        if self.is_offline {
            return Err(Trouble::Lasting("the hub is not asked, since HF_HUB_OFFLINE is set".to_owned()));
        }
        let server = self.server()?;
        // A branch may move between two files, or two runs: what was begun with one commit ends with it.
        let note = work.folder.join("commit");
        let mut revision = fs::read_to_string(&note).unwrap_or_else(|_| repository.revision.to_owned());
        let mut brought = Vec::new();
        for file in files {
            if let Some(known) = work.have(file)? {
                brought.push(known);
                continue;
            }
            let wanted = Wanted {
                url: address(&server.endpoint, repository, &revision, &file.path)?,
                what: format!("{}@{revision}/{}", repository.name, file.path),
                file,
                part: work.part(file)?,
                etag: work.etag(file)?,
            };
            let download = || {
                work.shown.begin("fetching", &file.path);
                let got = Handle::current().block_on(server.download(&wanted, work.shown, work.cancel));
                if matches!(got, Err(Trouble::Lasting(_))) {
                    // The commit may be gone; then the branch is asked anew, next time.
                    let _ = fs::remove_file(&note);
                }
                got
            };
            let got = download()?;
            let known = match work.accept(file) {
                // Its beginning may have been of another version, or torn when the power went.
                Err(Trouble::Lasting(_)) if got.is_resumed => {
                    download()?;
                    work.accept(file)
                }
                known => known,
            };
            brought.push(known?);
            if let Some(commit) = got.commit.filter(|commit| is_commit(commit) && *commit != revision) {
                fs::write(&note, &commit).map_err(Trouble::at(&note))?;
                revision = commit;
            }
        }
        Ok(brought)
    }
}

/// Where the hub has a file.
fn address(endpoint: &Url, repository: &Repository<'_>, revision: &str, path: &str) -> Result<Url, Trouble> {
    let mut url = endpoint.clone();
    let mut segments =
        url.path_segments_mut().map_err(|()| Trouble::Lasting("HF_ENDPOINT has no room for a path".to_owned()))?;
    segments.pop_if_empty().extend(repository.name.split('/')).push("resolve").push(revision);
    segments.extend(repository.folder.split('/').filter(|part| !part.is_empty())).extend(path.split('/'));
    drop(segments);
    Ok(url)
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_true(text: &str) -> bool {
    ["1", "true", "yes", "on"].iter().any(|word| word.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_the_hub() {
        let repository = Repository { name: "owner/name", revision: "refs/pr/15", folder: "unet/" };
        let of = |endpoint: &str, path: &str| {
            address(&Url::parse(endpoint).unwrap(), &repository, "refs/pr/15", path).unwrap().to_string()
        };
        assert_eq!(
            of("https://h.co", "a b?.json"),
            "https://h.co/owner/name/resolve/refs%2Fpr%2F15/unet/a%20b%3F.json"
        );
        assert_eq!(of("http://m:8/hf/", "x/y"), "http://m:8/hf/owner/name/resolve/refs%2Fpr%2F15/unet/x/y");
    }

    #[test]
    fn an_endpoint_with_a_password_is_refused_and_a_token_is_not_shown() {
        let of = |endpoint: &str| HubSettings { endpoint: Some(endpoint.to_owned()), token: None, is_offline: false };
        assert!(of("https://h.co/x").server().is_ok());
        assert!(["https://me:pw@h.co", "ftp://h.co", "h.co"].iter().all(|odd| of(odd).server().is_err()));
        let mut token = HeaderValue::from_static("Bearer hf_secret");
        token.set_sensitive(true);
        let shown = format!("{:?}", HubSettings { endpoint: None, token: Some(token), is_offline: false });
        assert!(!shown.contains("hf_secret"), "{shown}");
    }

    #[test]
    fn what_is_true_and_what_is_a_commit() {
        assert!(is_true("1") && is_true("YES") && !is_true("0") && !is_true("false"));
        assert!(is_commit(&"a1".repeat(20)) && !is_commit("main"));
    }
}
