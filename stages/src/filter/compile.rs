//! From the keys of a `filter` stage to its node.

use std::collections::BTreeSet;
use std::sync::Arc;

use cafe_pipeline::stage::{Bounds, ConfigIssue, NodeDecl, Read, Work};
use serde_json::json;

use super::config::{FilterConfig, FilterTable, RuleConfig, SelectConfig};
use super::expression::Expression;
use super::rule::Rule;
use super::select::{Best, COMPETES};
use super::work::FilterWork;
use crate::tables;

/// Raised when the same scores and rules come to make other verdicts.
pub(super) const OUTPUT_VERSION: u32 = 1;

/// Checks `config` and compiles it.
pub(super) fn compile(config: &FilterConfig) -> Result<NodeDecl, Vec<ConfigIssue>> {
    let (table, id_column) = config.reads.names();
    let preset = config.preset.map(|preset| preset.rules()).unwrap_or_default();
    let mut issues = Vec::new();
    if preset.is_empty() && config.rules.is_empty() && config.select.is_none() {
        issues.push(
            ConfigIssue::new("", "a filter without rules would accept everything")
                .with_help("add `rules = [{ column = \"clip\", min = 0.3 }]` or `preset = \"cafe-2023\"`"),
        );
    }
    let mut rules = Vec::new();
    let mut ranges = BTreeSet::new();
    let written = config.rules.iter().enumerate().map(|(index, rule)| (format!("/rules/{index}"), rule));
    for (pointer, config) in preset.iter().map(|rule| ("/preset".to_owned(), rule)).chain(written) {
        match rule(config, &pointer, id_column) {
            Ok(rule) => {
                if let Rule::Range { column, .. } = &rule
                    && !ranges.insert(column.clone())
                {
                    issues.push(
                        ConfigIssue::new(format!("{pointer}/column"), format!("`{column}` has a rule already"))
                            .with_help("put `min` and `max` into one rule, or write the preset's rules out"),
                    );
                }
                rules.push(rule);
            }
            Err(issue) => issues.push(issue),
        }
    }
    let best = config.select.as_ref().map(|select| select_best(select, config.reads)).transpose();
    let best = best.map_err(|issue| issues.push(issue)).ok().flatten();
    if !issues.is_empty() {
        return Err(issues);
    }

    let texts: Vec<String> = rules.iter().map(Rule::text).collect();
    let mut settings = json!({ "reads": table, "rules": texts, "missing": config.missing });
    let mut columns: BTreeSet<String> = rules.iter().flat_map(Rule::columns).map(ToOwned::to_owned).collect();
    let mut rows = Read::aligned(table);
    let mut earlier = None;
    // A filter that keeps all has the settings that it always had.
    if let (Some(best), Some(settings)) = (&best, settings.as_object_mut()) {
        settings.insert("select".to_owned(), json!(best.text()));
        columns.extend(best.by.columns.iter().cloned());
        rows = rows.with_columns(COMPETES);
        earlier = Some(Read::aligned(tables::VERDICTS).from_every().optional());
    }
    let scores = Read::aligned(tables::SCORES).from_every().with_columns(&columns);
    Ok(NodeDecl {
        part: None,
        output_version: OUTPUT_VERSION,
        settings,
        reads: [rows, scores].into_iter().chain(earlier).collect(),
        writes: vec![tables::verdicts(id_column)],
        bounds: Bounds::Aligned,
        work: Work::Rows(Arc::new(FilterWork {
            table,
            id_column,
            rules,
            columns: columns.into_iter().collect(),
            thresholds: texts.into_iter().chain(best.as_ref().map(Best::text)).collect::<Vec<_>>().join("; "),
            best,
            missing: config.missing,
        })),
    })
}

fn select_best(config: &SelectConfig, reads: FilterTable) -> Result<Best, ConfigIssue> {
    if reads != FilterTable::Candidates {
        let message = format!("only candidates are several of one pair, and `reads` is `{}`", reads.names().0);
        return Err(ConfigIssue::new("/select", message).with_help("take it out, or write `reads = \"candidates\"`"));
    }
    let by = Expression::number(&config.by).map_err(|message| ConfigIssue::new("/select/by", message))?;
    if let Some(id) = COMPETES.into_iter().find(|id| by.columns.contains(*id)) {
        return Err(ConfigIssue::new("/select/by", format!("`{id}` is an id, not a score")));
    }
    Ok(Best { of: config.best_of, by })
}

fn rule(config: &RuleConfig, pointer: &str, id_column: &str) -> Result<Rule, ConfigIssue> {
    let at = |key: &str, message: String| ConfigIssue::new(format!("{pointer}/{key}"), message);
    let rule = match (&config.column, &config.expr) {
        (Some(column), None) => range(config, column, pointer)?,
        (None, Some(text)) => {
            if config.min.is_some() || config.max.is_some() {
                return Err(ConfigIssue::new(pointer, "`min` and `max` belong to `column`, not to `expr`")
                    .with_help("write the bound into the expression"));
            }
            let expression = Expression::parse(text).map_err(|message| at("expr", message))?;
            Rule::Expr { name: config.name.clone(), expression }
        }
        (Some(_), Some(_)) => return Err(ConfigIssue::new(pointer, "a rule has `column` or `expr`, not both")),
        (None, None) => {
            return Err(ConfigIssue::new(pointer, "a rule needs `column` or `expr`")
                .with_help("for example `{ column = \"clip\", min = 0.3 }`"));
        }
    };
    if rule.columns().contains(&id_column) {
        let key = if config.column.is_some() { "column" } else { "expr" };
        return Err(at(key, format!("`{id_column}` is the rows' id, not a score")));
    }
    Ok(rule)
}

fn range(config: &RuleConfig, column: &str, pointer: &str) -> Result<Rule, ConfigIssue> {
    let at = |key: &str, message: String| ConfigIssue::new(format!("{pointer}/{key}"), message);
    if column.trim().is_empty() {
        return Err(at("column", "is empty".to_owned()).with_help("name a column of `scores`"));
    }
    if config.name.is_some() {
        return Err(at("name", "only an `expr` can have a name".to_owned()).with_help("take it out"));
    }
    for (key, bound) in [("min", config.min), ("max", config.max)] {
        if bound.is_some_and(|bound| !bound.is_finite()) {
            return Err(at(key, format!("`{key}` must be a finite number")));
        }
    }
    match (config.min, config.max) {
        (None, None) => Err(ConfigIssue::new(pointer, format!("the rule for `{column}` needs `min` or `max`"))),
        (Some(min), Some(max)) if min > max => {
            Err(at("min", format!("`min` ({min}) is above `max` ({max}): no row could pass")))
        }
        (min, max) => Ok(Rule::Range { column: column.to_owned(), min, max }),
    }
}
