//! Replies that were had, by the digest of the request that they answer. They outlive shards: a request that was answered
//! once is never sent again, and the same dataset comes of the same replies.
//!
//! One append-only file for each attempt, `replies/ATTEMPT.log`, a line for each reply: digest, BLAKE3 of the reply, reply as
//! JSON. A line that was cut by a crash does not fit its hash, and is passed over. Who wants new replies of the same
//! requests removes the folder. Only the places of replies are kept in memory: there may be millions.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use cafe_pipeline::digest::Digest;
use cafe_pipeline::failpoint::{FailPoint, try_pass};
use cafe_pipeline::stage::{Cost, WorkContext, WorkError};
use cafe_pipeline::storage::Storage;
use serde::{Deserialize, Serialize};

/// The folder, relative to the storage root.
pub(super) const FOLDER: &str = "replies";

/// A reply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reply {
    /// What the model wrote; where there was no such thing, the beginning of what the server sent.
    pub(super) text: String,
    /// Why it cannot be used, whatever it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<String>,
    #[serde(default)]
    pub(super) prompt_tokens: Option<u64>,
    #[serde(default)]
    pub(super) completion_tokens: Option<u64>,
    /// What went wrong before it came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) faults: Vec<String>,
}

impl Reply {
    /// What it cost, with what went wrong before it came.
    pub(super) fn cost(&self) -> Cost {
        Cost {
            device_ms: 0,
            prompt_tokens: self.prompt_tokens.unwrap_or(0),
            completion_tokens: self.completion_tokens.unwrap_or(0),
            n_tries: 1 + self.faults.len() as u64,
        }
    }
}

/// A reply that was found again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) reply: Reply,
    /// Whether this shard paid for it, in an attempt that came to nothing: the ledger has not got it yet.
    pub(super) is_unpaid: bool,
}

/// Where a line lies.
#[derive(Clone)]
struct Place {
    file: Arc<str>,
    offset: u64,
    n_bytes: usize,
}

/// The replies that this process knows.
#[derive(Default)]
pub(super) struct Replies {
    known: Mutex<Option<HashMap<Digest, Place>>>,
}

impl Replies {
    /// Looks through what earlier runs stored, once.
    ///
    /// # Errors
    /// Of the file system.
    pub(super) fn open(&self, storage: &dyn Storage) -> Result<(), WorkError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            *known = Some(scan(storage)?);
        }
        Ok(())
    }

    /// The reply to `request`, if it was had before.
    ///
    /// # Errors
    /// Of the file system.
    pub(super) fn get(&self, context: &WorkContext, request: &Digest) -> Result<Option<Found>, WorkError> {
        let place = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(place) = known.as_ref().and_then(|known| known.get(request)) else { return Ok(None) };
            place.clone()
        };
        let line = line(context.storage.as_ref(), &place).map_err(|error| WorkError::io(&place.file, &error))?;
        // Somebody changed the file: then the reply is had anew.
        let Some((_, reply)) = parse(&line).filter(|(found, _)| found == request) else { return Ok(None) };
        let is_unpaid = shard_of(&place.file) == shard_of(&file(&context.scratch));
        Ok(Some(Found { reply, is_unpaid }))
    }

    /// Stores a reply; it is durable when this returns.
    ///
    /// # Errors
    /// Of the file system.
    pub(super) fn put(&self, context: &WorkContext, request: Digest, reply: &Reply) -> Result<(), WorkError> {
        let file = file(&context.scratch);
        let failed = |error: io::Error| WorkError::io(&file, &error);
        let json = serde_json::to_string(reply).map_err(|error| failed(error.into()))?;
        let line = format!("{} {} {json}", request.to_hex(), Digest::of(json.as_bytes()).to_hex());
        // The map stays locked, so that two replies of one attempt do not take each other's place.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = context.storage.size(&file).ok();
        try_pass(FailPoint::ReplyStoring).map_err(failed)?;
        // A line break first: a crash may have left half a line.
        context.storage.append(&file, format!("\n{line}\n").as_bytes()).map_err(failed)?;
        context.storage.sync(&file).map_err(failed)?;
        if before.is_none() {
            context.storage.sync_folder(FOLDER).map_err(failed)?;
        }
        try_pass(FailPoint::ReplyStored).map_err(failed)?;
        let place = Place { file: file.as_str().into(), offset: before.unwrap_or(0) + 1, n_bytes: line.len() };
        known.get_or_insert_default().insert(request, place);
        Ok(())
    }
}

/// The attempt's file: no other attempt has a scratch folder of this name, which is `NODE-INDEX.SHARD-TOKEN`.
fn file(scratch: &Path) -> String {
    let attempt = scratch.file_name().unwrap_or_default().to_string_lossy();
    format!("{FOLDER}/{attempt}.log")
}

/// A file's name without the attempt's token.
fn shard_of(file: &str) -> &str {
    file.rsplit_once('-').map_or(file, |(shard, _)| shard)
}

fn scan(storage: &dyn Storage) -> Result<HashMap<Digest, Place>, WorkError> {
    let mut known = HashMap::new();
    for file in storage.list(FOLDER).map_err(|error| WorkError::io(FOLDER, &error))? {
        let failed = |error: io::Error| WorkError::io(&file, &error);
        let mut reader = BufReader::new(storage.open(&file).map_err(failed)?);
        let (name, mut offset, mut line): (Arc<str>, u64, Vec<u8>) = (file.as_str().into(), 0, Vec::new());
        loop {
            line.clear();
            let n_read = reader.read_until(b'\n', &mut line).map_err(failed)?;
            if n_read == 0 {
                break;
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            if let Some((request, _)) = parse(&line) {
                // What was stored first stays: shards may have been made of it.
                let place = || Place { file: Arc::clone(&name), offset, n_bytes: line.len() };
                known.entry(request).or_insert_with(place);
            }
            offset += n_read as u64;
        }
    }
    Ok(known)
}

fn line(storage: &dyn Storage, place: &Place) -> io::Result<Vec<u8>> {
    let mut file = storage.open(&place.file)?;
    file.seek(SeekFrom::Start(place.offset))?;
    let mut line = vec![0; place.n_bytes];
    file.read_exact(&mut line)?;
    Ok(line)
}

fn parse(line: &[u8]) -> Option<(Digest, Reply)> {
    let mut parts = std::str::from_utf8(line).ok()?.splitn(3, ' ');
    let (request, hash, json) = (parts.next()?, parts.next()?, parts.next()?);
    if Digest::of(json.as_bytes()).to_hex() != hash {
        return None;
    }
    Some((Digest::from_hex(request).ok()?, serde_json::from_str(json).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    fn request(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn reply(text: &str) -> Reply {
        Reply { text: text.to_owned(), prompt_tokens: Some(7), ..Reply::default() }
    }

    fn opened(context: &WorkContext) -> Replies {
        let replies = Replies::default();
        replies.open(context.storage.as_ref()).unwrap();
        replies
    }

    #[test]
    fn replies_outlive_their_process_and_torn_lines_do_not_hurt() {
        let context = Bench::new().context();
        let text = |replies: &Replies, name: &str| {
            replies.get(&context, &request(name)).unwrap().map(|found| found.reply.text)
        };
        let replies = opened(&context);
        replies.put(&context, request("a"), &reply("one\nline")).unwrap();
        replies.put(&context, request("b"), &reply("two")).unwrap();
        assert_eq!(text(&replies, "b").as_deref(), Some("two"));
        let path = context.storage.root().join(file(&context.scratch));
        let whole = std::fs::read(&path).unwrap();
        // Cut within the last line, as by a power cut, then gone on with.
        std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        let after = opened(&context);
        assert_eq!((text(&after, "a").as_deref(), text(&after, "b")), (Some("one\nline"), None));
        after.put(&context, request("c"), &reply("three")).unwrap();
        after.put(&context, request("a"), &reply("another")).unwrap();
        let last = opened(&context);
        assert_eq!((text(&last, "a").as_deref(), text(&last, "c").as_deref()), (Some("one\nline"), Some("three")));
        // A file that somebody changed under us is not believed.
        std::fs::write(&path, vec![b'x'; whole.len() * 2]).unwrap();
        assert_eq!(text(&last, "a"), None);
    }

    #[test]
    fn a_shard_pays_for_what_its_lost_attempts_had() {
        let mut context = Bench::new().context();
        context.scratch = context.scratch.with_file_name("talk-3.17-1");
        opened(&context).put(&context, request("a"), &reply("one")).unwrap();
        for (attempt, is_unpaid) in [("talk-3.17-2", true), ("talk-3.18-1", false), ("talk-4.19-1", false)] {
            context.scratch = context.scratch.with_file_name(attempt);
            let found = opened(&context).get(&context, &request("a")).unwrap().unwrap();
            assert_eq!(found.is_unpaid, is_unpaid, "{attempt}");
        }
    }
}
