//! A hub on this machine, and projects whose models come from it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::program::Project;

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    /// Names are in lower case.
    pub(crate) headers: BTreeMap<String, String>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Where the range begins that is asked for.
    pub(crate) fn offset(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What is answered.
#[derive(Clone, Default)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// The connection ends after so many bytes of the body.
    cut: Option<usize>,
    /// Between one kilobyte and the next.
    pause: Duration,
}

impl Answer {
    /// A status, and nothing more.
    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The connection ends after so many bytes of the body.
    pub(crate) fn cut(mut self, cut: usize) -> Self {
        self.cut = Some(cut);
        self
    }

    /// A kilobyte comes every so many milliseconds.
    pub(crate) fn slowly(mut self, pause_ms: u64) -> Self {
        self.pause = Duration::from_millis(pause_ms);
        self
    }

    /// A file, or the rest of it that is asked for, if it is still the version `etag`.
    pub(crate) fn file(request: &Request, body: &[u8], etag: &str) -> Self {
        let is_same = request.header("if-range").is_none_or(|tag| tag == etag);
        let (status, offset) = match request.offset() {
            Some(offset) if is_same && offset >= body.len() => {
                return Self::status(416).with("Content-Range", format!("bytes */{}", body.len()));
            }
            Some(offset) if is_same => (206, offset),
            _ => (200, 0),
        };
        let answer = Self { status, body: body[offset..].to_vec(), ..Self::default() }.with("ETag", etag);
        let range = format!("bytes {offset}-{}/{}", body.len() - 1, body.len());
        if status == 206 { answer.with("Content-Range", range) } else { answer }
    }
}

/// A server.
pub(crate) struct Hub {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Hub {
    /// One that answers like this, until the tests end. The number is how many were asked before.
    pub(crate) fn new(answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer) = (Arc::clone(&requests), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let Some(request) = read(&stream) else { return };
                    let n_before = {
                        let mut kept = kept.lock().unwrap();
                        kept.push(request.clone());
                        kept.len() - 1
                    };
                    // Who asked may be gone.
                    let _ = write(&stream, &answer(&request, n_before));
                });
            }
        });
        Self { port, requests }
    }

    /// One that has this file, whatever is asked for.
    pub(crate) fn of(body: &[u8]) -> Self {
        let body = body.to_vec();
        Self::new(move |request, _| Answer::file(request, &body, "\"v1\""))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The same, by a name that is another host's as far as anybody can see.
    pub(crate) fn other_url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// What was asked since this was called last.
    pub(crate) fn taken(&self) -> Vec<Request> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_lowercase(), value.trim().to_owned()))
    });
    Some(Request { path, headers: headers.collect() })
}

fn write(mut stream: &TcpStream, answer: &Answer) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Told\r\nConnection: close\r\n", answer.status);
    head += &format!("Content-Length: {}\r\n", answer.body.len());
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    for chunk in answer.body[..answer.cut.unwrap_or(answer.body.len())].chunks(1000) {
        stream.write_all(chunk)?;
        stream.flush()?;
        std::thread::sleep(answer.pause);
    }
    Ok(())
}

/// What `sha256sum` prints.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that are all different from what comes before.
pub(crate) fn bytes(n: u32) -> Vec<u8> {
    (0..n).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// A project whose manifest names models; `models` are the `[models.NAME]` tables.
pub(crate) fn project(models: &str) -> Project {
    let stage =
        "[[stage]]\nkind = \"collect\"\nname = \"collect\"\nsource = { type = \"folder\", path = \"pictures\" }\n";
    Project::new(&format!("version = 1\n{models}\n{stage}"))
}

/// A project whose model `tiny` is on a hub; `files` are the entries of `files`.
pub(crate) fn on_hub(files: &str) -> Project {
    project(&format!(
        "[models.tiny]\nrole = \"library\"\nfiles = [{files}]\nsources = [{{ type = \"hub\", repository = \"owner/tiny\", revision = \"main\" }}]"
    ))
}

/// The same, of one file that is pinned.
pub(crate) fn pinned(body: &[u8]) -> Project {
    on_hub(&format!("{{ path = \"a.bin\", sha256 = \"{}\", bytes = {} }}", sha256(body), body.len()))
}

/// What `models list` says of the model.
pub(crate) fn listed(project: &Project, model: &str) -> String {
    let list = project.cafe(&["models", "list"]).ends(0).stdout;
    list.lines().find(|line| line.starts_with(&format!("{model} "))).unwrap().to_owned()
}

/// `models fetch` from this hub.
pub(crate) fn fetch(project: &Project, hub: &Hub, more: &[&str]) -> Command {
    let mut command = project.command(&[&["models", "fetch"], more].concat());
    command.env("HF_ENDPOINT", hub.url());
    command
}
