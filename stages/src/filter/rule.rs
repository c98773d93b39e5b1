//! A checked rule, its canonical text, and what it makes of rows.

use polars::prelude::*;

use super::expression::Expression;

/// A checked rule.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    /// A column between bounds, at least one of which is set.
    Range { column: String, min: Option<f64>, max: Option<f64> },
    /// A condition over columns.
    Expr { name: Option<String>, expression: Expression },
}

/// What a rule says of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The row passes.
    Pass,
    /// The row fails; the text is the reason.
    Fail(String),
    /// A value that the rule needs is missing; the text names it.
    Missing(String),
}

impl Rule {
    /// The score columns that the rule looks at.
    pub(super) fn columns(&self) -> Vec<&str> {
        match self {
            Self::Range { column, .. } => vec![column],
            Self::Expr { expression, .. } => expression.columns.iter().map(String::as_str).collect(),
        }
    }

    /// The rule as text, with its thresholds.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Range { column, min, max } => {
                let min = min.map(|min| at_least(column, min));
                let max = max.map(|max| at_most(column, max));
                min.into_iter().chain(max).collect::<Vec<_>>().join(" and ")
            }
            Self::Expr { name: Some(name), expression } => format!("{name}: {}", expression.text),
            Self::Expr { name: None, expression } => expression.text.clone(),
        }
    }

    /// What it says of each of `rows`. NaN in `rows` is taken to be null already.
    pub(super) fn judge(&self, rows: &DataFrame) -> Result<Vec<Finding>, String> {
        match self {
            Self::Range { column, min, max } => {
                let values = rows.column(column).map_err(|error| error.to_string())?.as_materialized_series();
                range(column, *min, *max, values)
            }
            Self::Expr { expression, .. } => {
                let held = expression.evaluate(rows)?;
                let text = self.text();
                let finding = |(row, held): (usize, Option<bool>)| match held {
                    Some(true) => Finding::Pass,
                    Some(false) => Finding::Fail(text.clone()),
                    None => Finding::Missing(expression.missing(rows, row)),
                };
                Ok(held.into_iter().enumerate().map(finding).collect())
            }
        }
    }
}

fn range(column: &str, min: Option<f64>, max: Option<f64>, values: &Series) -> Result<Vec<Finding>, String> {
    if !values.dtype().is_primitive_numeric() && !values.dtype().is_null() {
        return Err(format!(
            "score `{column}` has the type {}, and `min` and `max` need a number; use `expr` for other types",
            values.dtype()
        ));
    }
    // A score stored as f32 is compared with the nearest f32: 0.7 as f32 is less than 0.7 as f64, and must pass.
    let narrow = *values.dtype() == DataType::Float32;
    let bound = |bound: f64| if narrow { f64::from(bound as f32) } else { bound };
    let (low, high) = (min.map(bound), max.map(bound));
    let values = values.cast(&DataType::Float64).map_err(|error| error.to_string())?;
    let values = values.f64().map_err(|error| error.to_string())?;
    let judge = |value: Option<f64>| match (value.filter(|value| !value.is_nan()), min, low, max, high) {
        (None, ..) => Finding::Missing(column.to_owned()),
        (Some(value), Some(min), Some(low), ..) if value < low => Finding::Fail(at_least(column, min)),
        (Some(value), _, _, Some(max), Some(high)) if value > high => Finding::Fail(at_most(column, max)),
        _ => Finding::Pass,
    };
    Ok(values.iter().map(judge).collect())
}

fn at_least(column: &str, min: f64) -> String {
    format!("{column} >= {min}")
}

fn at_most(column: &str, max: f64) -> String {
    format!("{column} <= {max}")
}
