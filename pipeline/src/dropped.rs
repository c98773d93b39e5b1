//! Pictures that are no longer in a shard's file. The file's footer names the rows that had them, so that nobody takes such a
//! row for broken, or a thumbnail for the picture.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use polars::prelude::*;

use crate::frame;
use crate::stage::Kept;

/// The key in the footer; its value is the JSON of [`Dropped`].
const KEY: &str = "cafe-data.dropped";

/// Rows of a file whose pictures were dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Column of pictures → rows, from 0.
    rows: BTreeMap<String, BTreeSet<u64>>,
}

impl Dropped {
    /// What the footer of a shard's file says.
    ///
    /// # Errors
    /// A file that is no Parquet file, or says nothing that can be understood.
    pub fn of(file: File) -> PolarsResult<Self> {
        let Some(text) = frame::metadata(file, KEY)? else { return Ok(Self::default()) };
        let not_json =
            |error: serde_json::Error| PolarsError::ComputeError(format!("`{KEY}` in its footer: {error}").into());
        Ok(Self { rows: serde_json::from_str(&text).map_err(not_json)? })
    }

    /// Whether a picture of `columns` was dropped, of all columns when `None`.
    #[must_use]
    pub fn any(&self, columns: Option<&[String]>) -> bool {
        self.rows.keys().any(|column| columns.is_none_or(|columns| columns.contains(column)))
    }

    /// Whether a picture of this row was dropped.
    #[must_use]
    pub fn has(&self, row: u64) -> bool {
        self.rows.values().any(|rows| rows.contains(&row))
    }

    /// Drops the pictures of the rows that `is_rejected` says, by the values of the first column. `before` was dropped already.
    /// With [`Kept::Thumbnail`], `thumbnails` makes what takes their place; a picture for which it makes nothing stays.
    /// Returns the file's new bytes; `None` where there is nothing to drop.
    ///
    /// # Errors
    /// A first column that is no text; an error of the encoder.
    pub fn drop_from(
        mut rows: DataFrame,
        before: Self,
        kept: Kept,
        is_rejected: impl Fn(&str) -> bool,
        thumbnails: impl Fn(&[&[u8]]) -> Vec<Option<Vec<u8>>>,
    ) -> PolarsResult<Option<Vec<u8>>> {
        let mut dropped = before;
        let Some(ids) = rows.columns().first() else { return Ok(None) };
        let rejected: Vec<bool> = ids.str()?.iter().map(|id| id.is_some_and(&is_rejected)).collect();
        let pictures: Vec<Column> =
            rows.columns().iter().filter(|column| is_picture(column.dtype())).cloned().collect();
        let mut is_changed = false;
        for column in pictures {
            let (left, gone) = left(&column, &rejected, kept, &thumbnails)?;
            if !gone.is_empty() {
                is_changed = true;
                rows.replace(column.name(), left)?;
                dropped.rows.entry(column.name().to_string()).or_default().extend(gone);
            }
        }
        if !is_changed {
            return Ok(None);
        }
        let not_json = |error: serde_json::Error| PolarsError::ComputeError(error.to_string().into());
        let text = serde_json::to_string(&dropped.rows).map_err(not_json)?;
        frame::to_parquet(&mut rows, &[(KEY, &text)]).map(Some)
    }
}

/// What is left of a column of pictures, and the rows whose pictures are not.
fn left(
    column: &Column,
    rejected: &[bool],
    kept: Kept,
    thumbnails: impl Fn(&[&[u8]]) -> Vec<Option<Vec<u8>>>,
) -> PolarsResult<(Column, Vec<u64>)> {
    let parts = column.struct_()?;
    let bytes = parts.field_by_name("bytes")?;
    let mut pictures: Vec<Option<Cow<'_, [u8]>>> =
        bytes.binary()?.iter().map(|bytes| bytes.map(Cow::Borrowed)).collect();
    let is_there = |(_, picture): &(usize, &[u8])| !picture.is_empty();
    let places: Vec<(usize, &[u8])> = (0..)
        .zip(bytes.binary()?.iter())
        .zip(rejected)
        .filter_map(|((row, picture), is_rejected)| Some((row, picture.filter(|_| *is_rejected)?)))
        .filter(is_there)
        .collect();
    let small = match kept {
        Kept::Scores => vec![None; places.len()],
        Kept::Thumbnail => thumbnails(&places.iter().map(|(_, picture)| *picture).collect::<Vec<_>>()),
    };
    let mut gone = Vec::new();
    for ((row, _), small) in places.iter().zip(small) {
        if kept == Kept::Thumbnail && small.is_none() {
            continue;
        }
        if let Some(picture) = pictures.get_mut(*row) {
            *picture = small.map(Cow::Owned);
            gone.push(*row as u64);
        }
    }
    let left = pictures.into_iter().collect::<BinaryChunked>().with_name("bytes".into()).into_series();
    let fields = parts.fields_as_series().into_iter();
    let fields: Vec<Series> = fields.map(|field| if field.name() == "bytes" { left.clone() } else { field }).collect();
    let left = StructChunked::from_series(column.name().clone(), column.len(), fields.iter())?;
    Ok((left.into_series().into_column(), gone))
}

/// Encoded bytes and the path they came from, as Hugging Face's `Image` has them.
fn is_picture(dtype: &DataType) -> bool {
    match dtype {
        DataType::Struct(fields) => {
            fields.iter().any(|field| field.name() == "bytes" && *field.dtype() == DataType::Binary)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Five candidates; the last has no picture.
    fn candidates() -> DataFrame {
        let texts = ["one", "two", "three", "four", ""];
        let pictures = texts.map(|text| Some(text.as_bytes()).filter(|bytes| !bytes.is_empty()));
        let parts = [Series::new("bytes".into(), pictures), Series::new("path".into(), ["1", "2", "3", "4", "5"])];
        let images = StructChunked::from_series("image".into(), 5, parts.iter()).unwrap();
        let mut rows = df!("candidate_id" => ["a", "b", "c", "d", "e"], "seed" => [1_u64, 2, 3, 4, 5]).unwrap();
        rows.with_column(images.into_series().into_column()).unwrap();
        rows
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn dropped(kept: Kept, ids: &[&str]) -> Option<(DataFrame, Dropped)> {
        let small = |pictures: &[&[u8]]| -> Vec<Option<Vec<u8>>> {
            pictures.iter().map(|picture| (*picture != b"two").then(|| picture[..1].to_vec())).collect()
        };
        let is_rejected = |id: &str| ids.contains(&id);
        let bytes = Dropped::drop_from(candidates(), Dropped::default(), kept, is_rejected, small).unwrap()?;
        let dropped = Dropped::of(file(&bytes)).unwrap();
        Some((frame::from_parquet(bytes).unwrap(), dropped))
    }

    fn pictures(rows: &DataFrame) -> Vec<Option<Vec<u8>>> {
        let bytes = rows.column("image").unwrap().struct_().unwrap().field_by_name("bytes").unwrap();
        bytes.binary().unwrap().iter().map(|bytes| bytes.map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn rejects_lose_their_pictures_and_nothing_else() {
        let (rows, gone) = dropped(Kept::Scores, &["b", "d", "e"]).unwrap();
        let left = [Some(b"one".to_vec()), None, Some(b"three".to_vec()), None, None];
        assert_eq!(pictures(&rows), left);
        assert_eq!((0..5).map(|row| gone.has(row)).collect::<Vec<_>>(), [false, true, false, true, false]);
        let whole = candidates();
        assert!(rows.drop("image").unwrap().equals(&whole.drop("image").unwrap()));
        let path = |rows: &DataFrame| rows.column("image").unwrap().struct_().unwrap().field_by_name("path").unwrap();
        assert!(path(&rows).equals(&path(&whole)));
        assert_eq!(rows.schema(), whole.schema());
    }

    #[test]
    fn a_thumbnail_takes_the_place_of_a_picture_unless_there_is_none() {
        let (rows, gone) = dropped(Kept::Thumbnail, &["b", "d", "e"]).unwrap();
        assert_eq!(pictures(&rows)[1..4], [Some(b"two".to_vec()), Some(b"three".to_vec()), Some(b"f".to_vec())]);
        assert_eq!((gone.has(1), gone.has(3)), (false, true));
    }

    #[test]
    fn where_nothing_is_to_be_dropped_there_is_no_new_file() {
        assert_eq!(dropped(Kept::Scores, &["e", "z"]), None);
        assert_eq!(dropped(Kept::Thumbnail, &["b"]), None);
    }

    #[test]
    fn only_who_asks_for_pictures_is_told() {
        let (_, gone) = dropped(Kept::Scores, &["a"]).unwrap();
        let named = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(gone.any(None) && gone.any(Some(&named(&["seed", "image"]))));
        assert!(!gone.any(Some(&named(&["candidate_id", "seed"]))));
        assert!(!Dropped::of(file(&frame::to_parquet(&mut candidates(), &[]).unwrap())).unwrap().any(None));
        assert!(Dropped::of(file(b"no Parquet file")).is_err());
    }

    #[test]
    fn what_was_dropped_before_stays_dropped() {
        let none = |_: &[&[u8]]| Vec::new();
        let (_, before) = dropped(Kept::Thumbnail, &["a"]).unwrap();
        let bytes = Dropped::drop_from(candidates(), before, Kept::Scores, |id| id == "c", none).unwrap().unwrap();
        let gone = Dropped::of(file(&bytes)).unwrap();
        assert_eq!((0..4).map(|row| gone.has(row)).collect::<Vec<_>>(), [true, false, true, false]);
        // The same rows make the same bytes.
        let (_, before) = dropped(Kept::Thumbnail, &["a"]).unwrap();
        let again = Dropped::drop_from(candidates(), before, Kept::Scores, |id| id == "c", none).unwrap();
        assert_eq!(again, Some(bytes));
    }
}
