//! A chat server that does as a test says, with faults that real ones have.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Status, headers, body.
    Http(u16, Vec<(&'static str, String)>, String),
    /// A completion with this content.
    Content(String),
    /// Nothing for so many milliseconds, then the end of the connection.
    Hang(u64),
    /// A body that ends early.
    Torn,
    /// The end of the connection.
    Reset,
    /// The server goes away: this connection and all after it are refused.
    Die,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The last message.
    pub(crate) fn message(&self) -> &str {
        let last = self.body["messages"].as_array().and_then(|turns| turns.last()).unwrap();
        last["content"].as_str().unwrap()
    }

    /// What the last message says after `label: `.
    pub(crate) fn told(&self, label: &str) -> String {
        let lines = self.message().lines();
        lines.filter_map(|line| line.strip_prefix(&format!("{label}: "))).next().unwrap_or_default().to_owned()
    }

    pub(crate) fn caption(&self) -> String {
        self.told("The new picture shows")
    }

    /// Whether the reply before this one was refused.
    pub(crate) fn is_again(&self) -> bool {
        self.message().contains("Your last reply could not be used")
    }

    /// Words that keep to all rules: a function of the request alone.
    pub(crate) fn good(&self) -> Answer {
        let (class, caption, seed) = (self.told("The photo shows"), self.caption(), &self.body["seed"]);
        let user = match self.told("How the user speaks").as_str() {
            "question" => format!("Could you show me {caption} as number {seed}?"),
            "vague wish" => format!("I dream of day {seed} together with my {class}."),
            _ => format!("Make {caption}, as number {seed}."),
        };
        Answer::Content(json!({ "user": user, "assistant": format!("Here is {caption}.") }).to_string())
    }
}

impl Answer {
    pub(crate) fn status(status: u16, body: &str) -> Self {
        Self::Http(status, Vec::new(), body.to_owned())
    }
}

/// A server.
pub(crate) struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// One that answers like this, until the tests end or it dies. The number is how many were asked before.
    pub(crate) fn new(answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static) -> Self {
        Self::at(0, answer)
    }

    /// The same, at a port.
    pub(crate) fn at(port: u16, answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer, is_dead) = (Arc::clone(&requests), Arc::new(answer), Arc::new(AtomicBool::new(false)));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if is_dead.load(Ordering::SeqCst) {
                    return;
                }
                let (kept, answer, is_dead) = (Arc::clone(&kept), Arc::clone(&answer), Arc::clone(&is_dead));
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    while let Some(request) = read(&mut reader) {
                        let n_before = {
                            let mut kept = kept.lock().unwrap();
                            kept.push(request.clone());
                            kept.len() - 1
                        };
                        if is_dead.load(Ordering::SeqCst) || !write(&stream, answer(&request, n_before), &is_dead) {
                            let _ = stream.shutdown(Shutdown::Both);
                            // The listener looks up when somebody comes.
                            if is_dead.load(Ordering::SeqCst) {
                                let _ = TcpStream::connect(stream.local_addr().unwrap());
                            }
                            return;
                        }
                    }
                });
            }
        });
        Self { port, requests }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// What was asked since this was called last.
    pub(crate) fn taken(&self) -> Vec<Request> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        Some(line.trim_end().to_owned())
    };
    let path = line()?.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { path, headers, body: serde_json::from_slice(&body).ok()? })
}

/// Whether the connection goes on.
fn write(mut stream: &TcpStream, answer: Answer, is_dead: &AtomicBool) -> bool {
    let (status, headers, body) = match answer {
        Answer::Http(status, headers, body) => (status, headers, body),
        Answer::Content(content) => (200, Vec::new(), completion(&content)),
        Answer::Torn => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"choices\": [{\"mess");
            return false;
        }
        Answer::Hang(ms) => {
            std::thread::sleep(Duration::from_millis(ms));
            return false;
        }
        Answer::Reset => return false,
        Answer::Die => {
            is_dead.store(true, Ordering::SeqCst);
            return false;
        }
    };
    let mut head = format!("HTTP/1.1 {status} Told\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    // Who asked may be gone.
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).is_ok()
}

fn completion(content: &str) -> String {
    json!({
        "id": "chatcmpl-1",
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": content }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 100, "completion_tokens": 10 },
    })
    .to_string()
}
