//! Rows of a release as samples: their pictures, and all else as JSON.

use std::borrow::Cow;

use cafe_pipeline::query::value_json;
use polars::prelude::*;
use serde_json::{Map, Value};

use crate::source::{image_bytes, is_image};

/// What names a row.
const ID: &str = "quadruplet_id";

/// Some rows.
pub(super) struct Rows<'r> {
    /// The number of the first in its file.
    first: usize,
    ids: &'r StringChunked,
    /// Column → pictures.
    pictures: Vec<(&'r str, BinaryChunked)>,
    others: Vec<&'r Column>,
}

/// A file of a sample.
pub(super) struct Member<'r> {
    pub(super) name: String,
    pub(super) bytes: Cow<'r, [u8]>,
}

impl<'r> Rows<'r> {
    /// The rows of `frame`; the first is row `first` of its file.
    pub(super) fn new(frame: &'r DataFrame, first: usize) -> PolarsResult<Self> {
        let (pictures, others): (Vec<&Column>, Vec<&Column>) =
            frame.columns().iter().partition(|column| is_image(column.dtype()));
        let pictures = pictures.into_iter().map(|column| Ok((column.name().as_str(), image_bytes(column)?)));
        Ok(Self { first, ids: frame.column(ID)?.str()?, pictures: pictures.collect::<PolarsResult<_>>()?, others })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The pictures of a row, each with its column, or what is wrong with it.
    pub(super) fn pictures(&self, row: usize) -> Result<Vec<(&'r str, &[u8])>, String> {
        if self.pictures.is_empty() {
            return Err(self.fault(row, "has no pictures: there is no column of them"));
        }
        self.pictures
            .iter()
            .map(|(column, pictures)| match pictures.get(row) {
                Some(bytes) if !bytes.is_empty() => Ok((*column, bytes)),
                _ => Err(self.fault(row, &format!("has no picture in `{column}`"))),
            })
            .collect()
    }

    /// The files of a row's sample: its pictures as they are, then all other columns.
    pub(super) fn members(&self, row: usize) -> Result<Vec<Member<'_>>, String> {
        let id = self.id(row)?;
        let mut members = Vec::new();
        for (column, bytes) in self.pictures(row)? {
            let format = image::guess_format(bytes).ok().and_then(|format| format.extensions_str().first());
            let extension = format.ok_or_else(|| {
                self.fault(row, &format!("has something in `{column}` that is no known kind of picture"))
            })?;
            let part = column.strip_suffix("_image").unwrap_or(column);
            members.push(Member { name: format!("{id}.{part}.{extension}"), bytes: Cow::Borrowed(bytes) });
        }
        let mut values = Map::new();
        for column in &self.others {
            let value = column.get(row).map_err(|error| self.fault(row, &error.to_string()))?;
            values.insert(column.name().to_string(), value_json(&value));
        }
        let json = Value::Object(values).to_string().into_bytes();
        members.push(Member { name: format!("{id}.json"), bytes: Cow::Owned(json) });
        Ok(members)
    }

    /// The row's id. It becomes the name of files, wherever the tar is unpacked: only digits may be in it.
    fn id(&self, row: usize) -> Result<&str, String> {
        let id = self.ids.get(row).unwrap_or_default();
        let is_digest = (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_digest { Ok(id) } else { Err(self.fault(row, "has an id that is not hexadecimal")) }
    }

    fn fault(&self, row: usize, what: &str) -> String {
        format!("row {} ({ID} {:?}): {what}", self.first + row, self.ids.get(row).unwrap_or_default())
    }
}
