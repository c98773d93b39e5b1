//! Rules, checked once and applied to whole columns.

use std::collections::BTreeSet;

use cafe_pipeline::stage::{ConfigIssue, WorkError};
use polars::prelude::*;
use polars::sql::sql_expr;

use super::config::{FilterConfig, RuleConfig};

/// One check: what it wants, over which columns, and what it is called when it fails.
#[derive(Clone, Debug)]
struct Check {
    columns: Vec<String>,
    passes: Expr,
    /// As the manifest has it.
    text: String,
    /// What stands as the reason.
    reason: String,
}

/// The checks of a filter, in order.
#[derive(Clone, Debug)]
pub(super) struct Rules(Vec<Check>);

/// How a row came through the checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted,
    /// With the reason.
    Rejected(String),
    /// The score that is missing.
    Missing(String),
}

impl Rules {
    /// The rules of `config`, the preset's first.
    pub(super) fn new(config: &FilterConfig) -> Result<Self, Vec<ConfigIssue>> {
        let (mut checks, mut issues) = (Vec::new(), Vec::new());
        for rule in config.preset.iter().flat_map(|preset| preset.rules()) {
            checks.extend(checks_of(&rule, "/preset").unwrap_or_default());
        }
        for (index, rule) in config.rules.iter().enumerate() {
            match checks_of(rule, &format!("/rules/{index}")) {
                Ok(found) => checks.extend(found),
                Err(issue) => issues.push(issue),
            }
        }
        if checks.is_empty() && issues.is_empty() {
            issues.push(
                ConfigIssue::new("", "there is no rule, so everything would be accepted")
                    .with_help(r#"for example rules = [{ column = "clip", min = 0.3 }], or preset = "cafe-2023""#),
            );
        }
        if issues.is_empty() { Ok(Self(checks)) } else { Err(issues) }
    }

    /// The columns that the checks look at, each once.
    pub(super) fn columns(&self) -> Vec<String> {
        let columns: BTreeSet<&String> = self.0.iter().flat_map(|check| &check.columns).collect();
        columns.into_iter().cloned().collect()
    }

    /// The rules with their thresholds, as text.
    pub(super) fn text(&self) -> String {
        self.0.iter().map(|check| check.text.as_str()).collect::<Vec<_>>().join("; ")
    }

    /// The verdict over each row of `scores`, which has all of [`Self::columns`].
    pub(super) fn judge(&self, scores: &DataFrame) -> Result<Vec<Verdict>, WorkError> {
        let mut verdicts = vec![Verdict::Accepted; scores.height()];
        for check in &self.0 {
            let missing = missing(scores, &check.columns)?;
            let passes = scores.clone().lazy().select([check.passes.clone().alias("passes")]).collect()?;
            let passes = passes.column("passes")?.bool()?.clone();
            for (at, verdict) in verdicts.iter_mut().enumerate().filter(|(_, verdict)| **verdict == Verdict::Accepted) {
                // An expression over constants alone has one row.
                let passed = if passes.len() == 1 { passes.get(0) } else { passes.get(at) };
                *verdict = match (missing.get(at).and_then(Option::as_ref), passed) {
                    (Some(column), _) => Verdict::Missing(column.clone()),
                    (None, Some(true)) => continue,
                    (None, _) => Verdict::Rejected(check.reason.clone()),
                };
            }
        }
        Ok(verdicts)
    }
}

/// Per row the first of `columns` that is null or not a number.
fn missing(scores: &DataFrame, columns: &[String]) -> Result<Vec<Option<String>>, WorkError> {
    let mut missing: Vec<Option<String>> = vec![None; scores.height()];
    for name in columns {
        let column = scores.column(name)?;
        let is_score = column.dtype().is_primitive_numeric() || column.dtype().is_bool() || column.dtype().is_null();
        if !is_score {
            let dtype = column.dtype();
            return Err(WorkError::Systemic(format!("score `{name}` is {dtype}, a number was expected")));
        }
        let numbers = column.cast(&DataType::Float64)?;
        for (missing, value) in missing.iter_mut().zip(numbers.f64()?.iter()) {
            if missing.is_none() && value.is_none_or(f64::is_nan) {
                *missing = Some(name.clone());
            }
        }
    }
    Ok(missing)
}

fn checks_of(rule: &RuleConfig, pointer: &str) -> Result<Vec<Check>, ConfigIssue> {
    match rule {
        RuleConfig::Bounds { column, min, max } => bounds(column, *min, *max, pointer),
        RuleConfig::Expression { expr, name } => Ok(vec![expression(expr, name.as_deref(), pointer)?]),
    }
}

fn bounds(column: &str, min: Option<f64>, max: Option<f64>, pointer: &str) -> Result<Vec<Check>, ConfigIssue> {
    if min.is_none() && max.is_none() {
        return Err(
            ConfigIssue::new(pointer, format!("the rule for `{column}` has no bound")).with_help("add min or max")
        );
    }
    if min.into_iter().chain(max).any(|bound| !bound.is_finite()) {
        return Err(ConfigIssue::new(pointer, "a bound must be a finite number"));
    }
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        return Err(ConfigIssue::new(pointer, format!("nothing is at least {min} and at most {max}")));
    }
    let check = |passes: Expr, wanted: &str, failed: &str, bound: f64| Check {
        columns: vec![column.to_owned()],
        passes,
        text: format!("{column} {wanted} {bound}"),
        reason: format!("{column} {failed} {bound}"),
    };
    let least = min.map(|min| check(col(column).gt_eq(lit(min)), ">=", "<", min));
    let greatest = max.map(|max| check(col(column).lt_eq(lit(max)), "<=", ">", max));
    Ok(least.into_iter().chain(greatest).collect())
}

fn expression(text: &str, name: Option<&str>, pointer: &str) -> Result<Check, ConfigIssue> {
    let pointer = format!("{pointer}/expr");
    let refused = |message: String| {
        ConfigIssue::new(&pointer, message)
            .with_help("a condition over score columns, such as sharpness > 10 AND brightness < 250")
    };
    let passes = sql_expr(text).map_err(|error| refused(format!("is not an expression: {error}")))?;
    let mut columns = BTreeSet::new();
    for part in &passes {
        match part {
            Expr::Column(name) => {
                columns.insert(name.to_string());
            }
            Expr::Agg(_) | Expr::Over { .. } | Expr::Selector(_) | Expr::Len => {
                return Err(refused(
                    "looks at more than one row or column at once, but a verdict is about a row".to_owned(),
                ));
            }
            _ => {}
        }
    }
    if columns.is_empty() {
        return Err(refused("names no score".to_owned()));
    }
    // Tried on one row: schemas alone do not tell whether a function takes numbers.
    let row = columns.iter().map(|name| Column::new(name.as_str().into(), [0.5])).collect();
    let tried = DataFrame::new(1, row)
        .and_then(|row| row.lazy().select([passes.clone().alias("passes")]).collect())
        .and_then(|tried| Ok(tried.column("passes")?.dtype().clone()));
    match tried {
        Ok(DataType::Boolean) => {}
        Ok(dtype) => return Err(refused(format!("is {dtype}, a condition was expected"))),
        Err(error) => return Err(refused(format!("cannot be computed from numbers: {error}"))),
    }
    let reason = name.map_or_else(|| format!("not ({text})"), ToOwned::to_owned);
    Ok(Check { columns: columns.into_iter().collect(), passes, text: text.to_owned(), reason })
}
