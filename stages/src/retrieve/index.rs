//! An index of pictures: what CLIP sees of each. Of the pictures themselves nothing is kept but where they lie.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use cafe_engine::cafe::Family;
use cafe_engine::op;
use cafe_pipeline::digest::Digest;
use cafe_pipeline::stage::{BatchOutcome, Lister, QuarantinedRow, ROW, RowWork, TableDecl, WorkContext, WorkError};
use polars::prelude::*;

use crate::clip::Clip;
use crate::models::{Loaded, work_error};
use crate::picture::{Alpha, Fault, Limits, Picture};
use crate::source::{Reader, frame};

/// The table of the index.
pub(super) const TABLE: &str = "indexed";

/// Its declaration.
pub(super) fn table() -> TableDecl {
    let columns = [
        ("key", DataType::String),
        ("file", DataType::String),
        ("offset", DataType::UInt64),
        ("n_bytes", DataType::UInt64),
        ("licence", DataType::String),
        ("fault", DataType::String),
        ("picture_id", DataType::String),
        ("file_digest", DataType::String),
        // F of the picture, of length 1, as little-endian f32.
        ("embedding", DataType::Binary),
    ];
    let columns = columns.into_iter().map(|(name, dtype)| Field::new(name.into(), dtype));
    TableDecl { name: TABLE.to_owned(), columns: Arc::new(Schema::from_iter(columns)) }
}

/// Lists the pictures.
pub(super) struct Pictures(pub(super) Reader);

impl Lister for Pictures {
    fn list(&self, _: &WorkContext) -> Result<DataFrame, WorkError> {
        frame(self.0.list()?)
    }
}

/// Looks at each picture once.
pub(super) struct Look {
    pub(super) reader: Reader,
    pub(super) family: PathBuf,
    pub(super) clip: Loaded<Clip>,
}

/// What is known of a picture.
struct Seen {
    picture_id: String,
    file_digest: String,
    embedding: Vec<u8>,
}

impl Look {
    fn look(&self, clip: &Clip, bytes: Result<Vec<u8>, Fault>) -> Result<Result<Seen, Fault>, WorkError> {
        let limits = Limits::default();
        let read = bytes.and_then(|bytes| {
            let picture = Picture::decode(&bytes, &limits, Alpha::White)?;
            Ok((picture.reference_id(), Digest::of(&bytes).to_hex(), picture.into_rgb()))
        });
        let (picture_id, file_digest, image) = match read {
            Ok(read) => read,
            Err(fault) => return Ok(Err(fault)),
        };
        // One by one: what is seen of a picture does not depend on its neighbours.
        let seen = op::on_cores(|| Ok(clip.images(&[image])?.flatten_all()?.to_vec1::<f32>()?)).map_err(work_error)?;
        let embedding = seen.into_iter().flat_map(f32::to_le_bytes).collect();
        Ok(Ok(Seen { picture_id, file_digest, embedding }))
    }
}

impl RowWork for Look {
    fn row_id(&self) -> &str {
        "key"
    }

    fn batch_rows(&self) -> usize {
        16
    }

    fn process(&self, context: &WorkContext, rows: &DataFrame) -> Result<BatchOutcome, WorkError> {
        let clip = self.clip.get(|| Clip::load(&Family::open(&self.family)?))?;
        let mut outcome = BatchOutcome::default();
        let (mut kept, mut seen): (Vec<u32>, Vec<Seen>) = (Vec::new(), Vec::new());
        for (row, bytes) in (0..).zip(self.reader.read(rows, &Limits::default())?) {
            context.cancel.check()?;
            match self.look(clip, bytes)? {
                Ok(one) => {
                    kept.push(row);
                    seen.push(one);
                }
                Err(Fault { class, message }) => outcome.quarantined.push(QuarantinedRow { row, class, message }),
            }
        }
        let mut table = rows.take(&IdxCa::from_vec("row".into(), kept.clone()))?;
        let text = |name: &str, value: fn(&Seen) -> &str| {
            Column::new(name.into(), seen.iter().map(value).collect::<Vec<&str>>())
        };
        let embeddings = BinaryChunked::from_iter_values("embedding".into(), seen.iter().map(|one| &one.embedding));
        for column in [
            text("picture_id", |one| &one.picture_id),
            text("file_digest", |one| &one.file_digest),
            embeddings.into_column(),
            Column::new(ROW.into(), kept),
        ] {
            table.with_column(column)?;
        }
        let names: Vec<PlSmallStr> = self::table().columns.iter_names().cloned().chain([ROW.into()]).collect();
        outcome.tables = BTreeMap::from([(TABLE.to_owned(), table.select(names)?)]);
        Ok(outcome)
    }
}
