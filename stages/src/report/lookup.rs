//! Single rows by their ids, and their pictures.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cafe_pipeline::query::{ROW_NUMBER, collect};
use polars::prelude::*;
use serde::Serialize;

use super::ReportError;
use super::tables::{Tables, text};
use crate::thumbnail::Thumbnail;

/// Longest side of a picture on the page.
const SIDE_PX: u32 = 160;

/// A row that was looked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// Position of its node among those of the table.
    node: usize,
    number: u64,
    values: BTreeMap<String, String>,
}

impl Row {
    /// A column's value as text.
    pub(super) fn get(&self, column: &str) -> Option<&str> {
        self.values.get(column).map(String::as_str)
    }
}

/// A picture on the page.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Picture {
    /// `x`, `w`, `x~`.
    pub(super) role: &'static str,
    /// What it shows, for those who do not see it.
    pub(super) alt: String,
    /// A `data:` address; `None` where it cannot be shown.
    pub(super) src: Option<String>,
    /// Why it cannot be shown.
    pub(super) fault: Option<String>,
    pub(super) width_px: u32,
    pub(super) height_px: u32,
}

/// The rows of `table` with these ids, with those of `columns` that there are. Ids that are not there are left out.
pub(super) fn rows(
    tables: &Tables<'_>,
    table: &str,
    id: &str,
    ids: &BTreeSet<String>,
    columns: &[&str],
) -> Result<HashMap<String, Row>, ReportError> {
    let mut found = HashMap::new();
    let wanted = df!(id => ids.iter().map(String::as_str).collect::<Vec<_>>())?;
    for (node, part) in tables.of(table).enumerate().filter(|(_, part)| part.columns.contains(id)) {
        let present: Vec<&str> = columns.iter().copied().filter(|name| part.columns.contains(name)).collect();
        let names = present.iter().copied().filter(|name| *name != id).chain([id, ROW_NUMBER]);
        let picked = part.rows()?.select(names.map(col).collect::<Vec<_>>()).join(
            wanted.clone().lazy(),
            [col(id)],
            [col(id)],
            JoinArgs::new(JoinType::Semi),
        );
        let picked = collect(picked)?;
        let numbers = picked.column(ROW_NUMBER)?.cast(&DataType::UInt64)?;
        for (at, number) in numbers.u64()?.iter().enumerate() {
            let Some(key) = text(&picked, id, at) else { continue };
            let values = present.iter().filter_map(|name| Some(((*name).to_owned(), text(&picked, name, at)?)));
            let row = Row { node, number: number.unwrap_or(0), values: values.collect() };
            found.entry(key).or_insert(row);
        }
    }
    Ok(found)
}

/// The picture of a row that [`rows`] found in `table`.
pub(super) fn picture(tables: &Tables<'_>, table: &str, row: &Row, role: &'static str, alt: String) -> Picture {
    let part = tables.of(table).nth(row.node).filter(|part| part.columns.contains("image"));
    let read = || -> Result<Option<Vec<u8>>, ReportError> {
        let Some(part) = part else { return Ok(None) };
        let read = part.row(row.number, Some(&["image".to_owned()]))?;
        let bytes = read.column("image")?.struct_()?.field_by_name("bytes")?;
        Ok(bytes.binary()?.get(0).map(<[u8]>::to_vec))
    };
    let is_dropped = || part.is_some_and(|part| part.is_dropped(row.number).unwrap_or(false));
    let made = match read() {
        Ok(Some(bytes)) => Thumbnail::new(&bytes, SIDE_PX),
        Ok(None) if is_dropped() => Err("rejected, and its picture not kept".to_owned()),
        Ok(None) => Err("there is no picture".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    match made {
        Ok(small) => {
            let (width_px, height_px) = (small.width_px, small.height_px);
            Picture { role, alt, src: Some(small.address()), fault: None, width_px, height_px }
        }
        Err(fault) => Picture { role, alt, src: None, fault: Some(super::shown(&fault)), width_px: 0, height_px: 0 },
    }
}
