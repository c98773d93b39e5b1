//! Which names a query may use, and what each stands for.

use std::collections::BTreeMap;

use polars::prelude::*;

use super::control::CONTROL_TABLES;
use super::error::{QueryError, hint};
use super::{QuerySource, error};
use crate::stage::InputShard;
use crate::text::listed;

/// One node's shards of one table.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) node: &'a str,
    pub(super) files: Vec<&'a InputShard>,
    /// For a table of which no shard is made yet.
    pub(super) schema: Option<&'a SchemaRef>,
}

/// What a name stands for.
#[derive(Debug)]
pub(super) enum Entry<'a> {
    /// A table of the dataset, by the nodes that write it.
    Table(Vec<&'a Part<'a>>),
    /// A table of the catalog.
    Control(&'static str),
}

/// All names.
#[derive(Debug)]
pub(super) struct Names<'a> {
    parts: BTreeMap<&'a str, Vec<Part<'a>>>,
}

impl<'a> Names<'a> {
    pub(super) fn new(source: &'a QuerySource) -> Self {
        let mut parts: BTreeMap<&str, Vec<Part<'_>>> = BTreeMap::new();
        for file in &source.files {
            let nodes = parts.entry(&file.table).or_default();
            match nodes.iter_mut().find(|part| part.node == file.node) {
                Some(part) => part.files.push(file),
                None => nodes.push(Part { node: &file.node, files: vec![file], schema: None }),
            }
        }
        for (node, table) in &source.declared {
            let nodes = parts.entry(&table.name).or_default();
            if !nodes.iter().any(|part| part.node == node) {
                nodes.push(Part { node, files: Vec::new(), schema: Some(&table.columns) });
            }
        }
        Self { parts }
    }

    pub(super) fn find(&'a self, name: &str) -> Option<Entry<'a>> {
        if let Some(parts) = self.parts.get(name) {
            return Some(Entry::Table(parts.iter().collect()));
        }
        let mut of_nodes = self.parts.iter().flat_map(|(table, parts)| parts.iter().map(move |part| (table, part)));
        if let Some((_, part)) = of_nodes.find(|(table, part)| node_table(table, part.node) == name) {
            return Some(Entry::Table(vec![part]));
        }
        let short = name.strip_prefix("catalog_").unwrap_or(name);
        CONTROL_TABLES.iter().find(|(table, _)| *table == short).map(|(table, _)| Entry::Control(table))
    }

    /// The tables, each with its nodes.
    pub(super) fn into_parts(self) -> impl Iterator<Item = (&'a str, Part<'a>)> {
        self.parts.into_iter().flat_map(|(table, parts)| parts.into_iter().map(move |part| (table, part)))
    }

    /// All names, the first that a person wants first.
    fn all(&self) -> Vec<(String, &'static str)> {
        let tables = self.parts.keys().map(|table| ((*table).to_owned(), "dataset"));
        let of_nodes = self
            .parts
            .iter()
            .flat_map(|(table, parts)| parts.iter().map(move |part| (node_table(table, part.node), "node")));
        let control = CONTROL_TABLES.iter().map(|(table, _)| ((*table).to_owned(), "catalog"));
        let mut all: Vec<(String, &'static str)> = Vec::new();
        for (name, kind) in tables.chain(of_nodes).chain(control) {
            if all.iter().any(|(other, _)| *other == name) {
                if kind == "catalog" {
                    all.push((format!("catalog_{name}"), kind));
                }
            } else {
                all.push((name, kind));
            }
        }
        all
    }

    /// The answer to `SHOW TABLES`.
    pub(super) fn show(&self) -> Result<DataFrame, QueryError> {
        let all = self.all();
        let counts: Vec<Option<(u64, u64)>> = all
            .iter()
            .map(|(name, kind)| match self.find(name) {
                Some(Entry::Table(parts)) if *kind != "catalog" => {
                    let files = || parts.iter().flat_map(|part| &part.files);
                    Some((files().count() as u64, files().map(|file| file.n_rows).sum()))
                }
                _ => None,
            })
            .collect();
        df!(
            "name" => all.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            "kind" => all.iter().map(|(_, kind)| *kind).collect::<Vec<_>>(),
            "n_files" => counts.iter().map(|count| count.map(|count| count.0)).collect::<Vec<_>>(),
            "n_rows" => counts.iter().map(|count| count.map(|count| count.1)).collect::<Vec<_>>(),
        )
        .map_err(|found| QueryError::Failed(error::tidy(&found)))
    }

    pub(super) fn unknown(&self, name: &str) -> QueryError {
        let all = self.all();
        let short = || all.iter().filter(|(_, kind)| *kind != "node").map(|(name, _)| name.as_str());
        QueryError::UnknownTable {
            name: name.to_owned(),
            hint: hint(name, all.iter().map(|(name, _)| name.as_str())),
            tables: listed(short(), 40),
        }
    }
}

/// The name under which one node's rows of a table are found.
fn node_table(table: &str, node: &str) -> String {
    let node: String = node.chars().map(|sign| if sign.is_ascii_alphanumeric() { sign } else { '_' }).collect();
    format!("{table}_{node}")
}
