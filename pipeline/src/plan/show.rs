//! The plan as a Graphviz graph.

use std::fmt::Write;

use super::Plan;
use crate::stage::Mapping;

/// The plan in the DOT language; `n_shards` labels each node.
#[must_use]
pub fn to_dot(plan: &Plan, n_shards: impl Fn(&str) -> Option<usize>) -> String {
    let mut dot = String::from("digraph plan {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n");
    for node in &plan.nodes {
        let shards = n_shards(&node.name).map_or("after its barrier".to_owned(), |n| format!("{n} shards"));
        let tables: Vec<&str> = node.decl.writes.iter().map(|table| table.name.as_str()).collect();
        let _ = writeln!(
            dot,
            "  \"{0}\" [label=\"{0}\\n{1}: {2}\\n{3}\"];",
            node.name,
            node.kind,
            tables.join(", "),
            shards
        );
    }
    for edge in plan.edges() {
        let style = match edge.mapping {
            Mapping::Same => "",
            Mapping::All => ", style=bold",
        };
        let _ = writeln!(dot, "  \"{}\" -> \"{}\" [label=\"{}\"{style}];", edge.from, edge.to, edge.tables.join(", "));
    }
    dot.push_str("}\n");
    dot
}
