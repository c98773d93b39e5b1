//! Previews: the newest pictures of the stages that generate, while they do, for a person to look at. Small files and a page that
//! loads itself anew, in a folder of their own:
//!
//! ```text
//! index.html         the page
//! NODE/NAME.jpg      a picture, and beside it
//! NODE/NAME.txt      what it is, a line each
//! ```
//!
//! They are no part of the dataset, and whatever goes wrong with them, the work goes on. Any number of processes show what they make
//! in the same folder: names are given once, a file appears by a rename, and whoever adds one takes the oldest away.

mod page;
mod shelf;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use cafe_pipeline::executor::Onlooker;
use cafe_pipeline::plan::{Plan, PlanNode};
use cafe_pipeline::query::value_text;
use cafe_pipeline::stage::{BatchOutcome, Work};
use cafe_pipeline::text::{one_line, truncated};
use polars::prelude::DataFrame;

use page::Section;
use shelf::Shelf;

use crate::tables;
use crate::thumbnail::Thumbnail;

/// Longest side of a picture.
const SIDE_PX: u32 = 256;
/// After some pictures were shown, their node shows no others for so many times as long.
const PAUSES: u32 = 20;
/// Columns that tell pictures of a node from each other.
const TELLING: [&str; 6] = ["class", "caption", "alpha", "sample_index", "rank", "clip_score"];
/// Captions come from outside, and may have any length.
const LINE_CHARS: usize = 120;

/// The nodes of `plan` whose pictures are shown: those that make pictures of rows which cost enough to be journaled.
pub fn generating(plan: &Plan) -> impl Iterator<Item = &PlanNode> {
    let image = tables::image_type();
    plan.nodes.iter().filter(move |node| {
        let is_costly = matches!(&node.decl.work, Work::Rows(work) if work.journaled());
        is_costly && node.decl.writes.iter().any(|table| table.columns.get("image") == Some(&image))
    })
}

/// Shows what nodes make.
#[derive(Debug)]
pub struct Previews {
    folder: PathBuf,
    nodes: Vec<String>,
    /// Pictures of each node.
    n: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Node → when its next pictures may be shown.
    next: BTreeMap<String, Instant>,
    has_failed: bool,
}

impl Previews {
    /// Shows the newest `n` pictures of each of `nodes` in a folder below `root`. The page is there at once, with what earlier runs
    /// have left.
    #[must_use]
    pub fn open(root: &Path, nodes: Vec<String>, n: usize) -> Self {
        let previews = Self { folder: root.join("previews"), nodes, n, state: Mutex::default() };
        let written = previews.write_page();
        previews.tell(&mut previews.state.lock().unwrap_or_else(PoisonError::into_inner), written);
        previews
    }

    /// Where the page is.
    #[must_use]
    pub fn page(&self) -> PathBuf {
        self.folder.join("index.html")
    }

    /// Says once what is wrong, and again when it was right in between.
    fn tell(&self, state: &mut State, shown: io::Result<()>) {
        match shown {
            Ok(()) => state.has_failed = false,
            Err(error) if !state.has_failed => {
                tracing::warn!("previews cannot be shown in {}: {error}; the work goes on", self.folder.display());
                state.has_failed = true;
            }
            Err(_) => {}
        }
    }

    fn show(&self, node: &str, outcome: &BatchOutcome) -> io::Result<()> {
        let shelf = Shelf::open(&self.folder, node)?;
        let mut is_new = false;
        for (table, rows) in &outcome.tables {
            for (jpeg, about) in pictures(table, &rows.tail(Some(self.n))).unwrap_or_default() {
                shelf.put(&jpeg, &about)?;
                is_new = true;
            }
        }
        if !is_new {
            return Ok(());
        }
        // A page that was read a moment ago still asks for what was the newest then: as many again stay.
        shelf.thin(2 * self.n)?;
        self.write_page()
    }

    fn write_page(&self) -> io::Result<()> {
        let shelves = self.nodes.iter().map(|node| Shelf::open(&self.folder, node));
        let shelves: Vec<Shelf> = shelves.collect::<io::Result<_>>()?;
        let sections = self.nodes.iter().zip(&shelves).map(|(node, shelf)| {
            let pictures = shelf.newest(self.n)?;
            io::Result::Ok(Section { node, pictures })
        });
        let sections: Vec<Section<'_>> = sections.collect::<io::Result<_>>()?;
        let html = page::html(&sections).map_err(io::Error::other)?;
        shelves.first().map_or(Ok(()), |shelf| shelf.write(&self.page(), html.as_bytes()))
    }
}

impl Onlooker for Previews {
    fn made(&self, node: &str, outcome: &BatchOutcome) {
        if !self.nodes.iter().any(|known| known == node) {
            return;
        }
        // Where another thread shows something just now, that is as new as this.
        let Ok(mut state) = self.state.try_lock() else { return };
        let began = Instant::now();
        if state.next.get(node).is_some_and(|next| began < *next) {
            return;
        }
        let shown = self.show(node, outcome);
        // The work waits meanwhile: of its time, this may take a small part only.
        let ended = Instant::now();
        state.next.insert(node.to_owned(), ended + (ended - began) * PAUSES);
        self.tell(&mut state, shown);
    }
}

/// The pictures of `rows`, made small, and what they are. `None` where there are none; those that cannot be shown are left out.
fn pictures(table: &str, rows: &DataFrame) -> Option<Vec<(Vec<u8>, String)>> {
    let files = rows.column("image").ok()?.struct_().ok()?.field_by_name("bytes").ok()?;
    let picture = |(at, file): (usize, Option<&[u8]>)| {
        let small = Thumbnail::new(file?, SIDE_PX).ok()?;
        Some((small.jpeg, about(table, rows, at)))
    };
    Some(files.binary().ok()?.iter().enumerate().filter_map(picture).collect())
}

/// What a row is, a line each: its id, and what tells it from others.
fn about(table: &str, rows: &DataFrame, at: usize) -> String {
    let value = |name: &str| {
        let value = value_text(&rows.column(name).ok()?.get(at).ok()?)?;
        Some(truncated(&one_line(&value), LINE_CHARS))
    };
    let id = tables::id_column(table).and_then(value);
    let told = TELLING.iter().filter_map(|name| Some(format!("{name} {}", value(name)?)));
    id.into_iter().chain(told).collect::<Vec<_>>().join("\n")
}
