//! Finished rows of costly stages, durable before their shard is. A journal file belongs to one attempt; later attempts
//! read the files of all earlier ones. Frame: length, payload, BLAKE3 of the payload; a torn tail is left out.
//!
//! Rows are known by the hash of what decided them, so the same files serve another cut of the same rows: a full run
//! after a preview, or a shard that grew.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Seek, SeekFrom};

use polars::prelude::DataFrame;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::failpoint::{FailPoint, try_pass};
use crate::frame;
use crate::stage::{BatchOutcome, Cost, DuplicateRow, QuarantinedRow, WorkError};
use crate::storage::Storage;

const LENGTH_BYTES: usize = 4;
const DIGEST_BYTES: usize = 32;
/// A frame announced larger than this is a torn or foreign file.
const MAX_FRAME_BYTES: u32 = 1 << 30;

/// The head of a record: which rows, and what became of them. The tables follow as Parquet, in order.
#[derive(Serialize, Deserialize)]
struct Head {
    rows: Vec<Digest>,
    quarantined: Vec<QuarantinedRow>,
    duplicates: Vec<DuplicateRow>,
    cost: Cost,
    tables: BTreeMap<String, usize>,
}

/// Where a finished row lies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Place {
    file: String,
    offset: u64,
}

/// What the journals of a node know.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    rows: HashMap<Digest, (Place, u32)>,
}

/// A record read back: the outcome of a batch, and the hashes of the batch's rows.
pub(super) struct Record {
    pub(super) rows: Vec<Digest>,
    pub(super) outcome: BatchOutcome,
}

impl Index {
    /// Reads the heads of all records in `files`.
    pub(super) fn read(storage: &dyn Storage, files: &[String]) -> Result<Self, WorkError> {
        let mut index = Self::default();
        for file in files {
            let mut reader = match storage.open(file) {
                Ok(reader) => reader,
                // Another worker committed the shard, and took its journal away.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(WorkError::io(file, &error)),
            };
            let mut offset = 0;
            while let Some(payload) = read_frame(&mut reader).map_err(|error| WorkError::io(file, &error))? {
                let Some((head, _)) = split_head(&payload) else { break };
                for (row, hash) in head.rows.iter().enumerate() {
                    let place = Place { file: file.clone(), offset };
                    index.rows.entry(*hash).or_insert((place, u32::try_from(row).unwrap_or(u32::MAX)));
                }
                offset += (LENGTH_BYTES + payload.len() + DIGEST_BYTES) as u64;
            }
        }
        Ok(index)
    }

    /// Adds what `other` knows.
    pub(super) fn extend(&mut self, other: &Self) {
        for (hash, place) in &other.rows {
            self.rows.entry(*hash).or_insert_with(|| place.clone());
        }
    }

    /// Whether a row is finished.
    pub(super) fn contains(&self, hash: &Digest) -> bool {
        self.rows.contains_key(hash)
    }

    /// The records in which `hashes` lie, each once.
    pub(super) fn records(&self, storage: &dyn Storage, hashes: &[Digest]) -> Result<Vec<Record>, WorkError> {
        let mut places: Vec<&Place> =
            hashes.iter().filter_map(|hash| self.rows.get(hash)).map(|(place, _)| place).collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().map(|place| read_record(storage, place)).collect()
    }
}

fn read_record(storage: &dyn Storage, place: &Place) -> Result<Record, WorkError> {
    let failed = |error: &io::Error| WorkError::io(&place.file, error);
    let mut reader = storage.open(&place.file).map_err(|error| failed(&error))?;
    reader.seek(SeekFrom::Start(place.offset)).map_err(|error| failed(&error))?;
    let payload = read_frame(&mut reader).map_err(|error| failed(&error))?;
    let gone = || WorkError::Transient(format!("{}: the record at byte {} is gone", place.file, place.offset));
    let payload = payload.ok_or_else(gone)?;
    let (head, mut rest) = split_head(&payload).ok_or_else(gone)?;
    let mut tables = BTreeMap::new();
    for (name, n_bytes) in head.tables {
        let (table, after) = rest.split_at_checked(n_bytes).ok_or_else(gone)?;
        tables.insert(name, frame::from_parquet(table.to_vec())?);
        rest = after;
    }
    let outcome = BatchOutcome { tables, quarantined: head.quarantined, duplicates: head.duplicates, cost: head.cost };
    Ok(Record { rows: head.rows, outcome })
}

/// The next payload; `None` at the end, and at the first frame that is not whole.
fn read_frame(reader: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; LENGTH_BYTES];
    if !read_whole(reader, &mut length)? {
        return Ok(None);
    }
    let length = u32::from_le_bytes(length);
    if length > MAX_FRAME_BYTES {
        return Ok(None);
    }
    let mut payload = Vec::new();
    if reader.by_ref().take(length.into()).read_to_end(&mut payload)? != length as usize {
        return Ok(None);
    }
    let mut digest = [0; DIGEST_BYTES];
    let whole = read_whole(reader, &mut digest)? && blake3::hash(&payload) == digest;
    Ok(whole.then_some(payload))
}

fn read_whole(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        result => result.map(|()| true),
    }
}

fn split_head(payload: &[u8]) -> Option<(Head, &[u8])> {
    let (length, rest) = payload.split_at_checked(LENGTH_BYTES)?;
    let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
    let (head, rest) = rest.split_at_checked(length)?;
    Some((serde_json::from_slice(head).ok()?, rest))
}

/// The journal that an attempt writes.
pub(super) struct Writer<'a> {
    storage: &'a dyn Storage,
    path: String,
    n_records: u64,
}

impl<'a> Writer<'a> {
    /// A journal at `path`, which no other attempt writes to. The file comes with the first record.
    pub(super) fn new(storage: &'a dyn Storage, path: String) -> Self {
        Self { storage, path, n_records: 0 }
    }

    /// Makes a batch's outcome durable.
    pub(super) fn append(&mut self, rows: &[Digest], outcome: &BatchOutcome) -> Result<(), WorkError> {
        let mut tables = BTreeMap::new();
        let mut blobs = Vec::new();
        for (name, table) in &outcome.tables {
            let bytes = frame::to_parquet(&mut table.clone(), &[])?;
            tables.insert(name.clone(), bytes.len());
            blobs.push(bytes);
        }
        let head = Head {
            rows: rows.to_vec(),
            quarantined: outcome.quarantined.clone(),
            duplicates: outcome.duplicates.clone(),
            cost: outcome.cost,
            tables,
        };
        let head = serde_json::to_vec(&head).map_err(|error| WorkError::Systemic(format!("journal: {error}")))?;
        let too_large =
            |_| WorkError::Systemic("a batch too large for the journal: set a smaller `batch_rows`".to_owned());
        let mut payload = u32::try_from(head.len()).map_err(too_large)?.to_le_bytes().to_vec();
        payload.extend(head);
        payload.extend(blobs.concat());
        let length = u32::try_from(payload.len()).map_err(too_large)?;
        let digest = blake3::hash(&payload);
        let frame = [&length.to_le_bytes()[..], &payload, digest.as_bytes()].concat();
        self.write(&frame).map_err(|error| WorkError::io(&self.path, &error))
    }

    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        try_pass(FailPoint::JournalAppending)?;
        self.storage.append(&self.path, frame)?;
        self.storage.sync(&self.path)?;
        if self.n_records == 0 {
            self.storage.sync_folder(self.path.rsplit_once('/').map_or("", |(folder, _)| folder))?;
        }
        self.n_records += 1;
        try_pass(FailPoint::JournalSynced)
    }
}

/// The rows of `table` that a record holds for the batch's rows for which `keep` gives a new number.
pub(super) fn renumber(table: &DataFrame, keep: &[Option<u32>]) -> Result<DataFrame, WorkError> {
    use polars::prelude::*;
    let numbers: UInt32Chunked = table
        .column(crate::stage::ROW)?
        .u32()?
        .iter()
        .map(|row| row.and_then(|row| keep.get(row as usize).copied().flatten()))
        .collect();
    let mask = numbers.is_not_null();
    let mut table = table.clone();
    table.with_column(numbers.with_name(crate::stage::ROW.into()).into_series().into())?;
    Ok(table.filter(&mask)?)
}

#[cfg(test)]
mod tests {
    use polars::prelude::*;

    use super::*;
    use crate::stage::{ErrorClass, ROW};
    use crate::storage::LocalStorage;

    fn outcome(texts: &[&str]) -> BatchOutcome {
        let table = df!(ROW => (0..texts.len() as u32).collect::<Vec<_>>(), "text" => texts).unwrap();
        BatchOutcome { tables: BTreeMap::from([("t".to_owned(), table)]), ..BatchOutcome::default() }
    }

    #[test]
    fn what_was_appended_is_found_and_a_torn_tail_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let storage = LocalStorage::create(folder.path()).unwrap();
        let hash = |text: &str| Digest::of(text.as_bytes());
        let mut writer = Writer::new(&storage, "journal/n/a.1.journal".to_owned());
        writer.append(&[hash("a"), hash("b")], &outcome(&["A", "B"])).unwrap();
        let whole = storage.size("journal/n/a.1.journal").unwrap();
        let mut bad = outcome(&[]);
        bad.quarantined.push(QuarantinedRow { row: 0, class: ErrorClass::Corrupt, message: "bad".to_owned() });
        writer.append(&[hash("c")], &bad).unwrap();

        let files = storage.list("journal").unwrap();
        let index = Index::read(&storage, &files).unwrap();
        assert!(index.contains(&hash("a")) && index.contains(&hash("c")) && !index.contains(&hash("d")));
        let records = index.records(&storage, &[hash("b"), hash("a"), hash("c")]).unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!(records[1].outcome.quarantined[0].class, ErrorClass::Corrupt);
        let kept = renumber(&records[0].outcome.tables["t"], &[None, Some(7)]).unwrap();
        assert_eq!(kept, df!(ROW => [7u32], "text" => ["B"]).unwrap());

        // Every length of the second record that a crash can leave.
        let path = folder.path().join("journal/n/a.1.journal");
        let bytes = std::fs::read(&path).unwrap();
        for length in whole as usize..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let index = Index::read(&storage, &files).unwrap();
            assert!(index.contains(&hash("a")) && !index.contains(&hash("c")), "{length}");
        }
    }
}
