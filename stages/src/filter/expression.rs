//! Conditions and numbers in SQL: parsed by polars, and refused unless each row is judged by its own scores alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use polars::lazy::dsl::{AggExpr, BooleanFunction, DataTypeExpr, Expr, FunctionExpr, Operator};
use polars::prelude::*;
use polars::sql::sql_expr;

/// A condition, or a number, that was checked.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    /// As written, without surrounding or repeated blanks.
    pub(super) text: String,
    /// The columns it looks at, sorted.
    pub(super) columns: BTreeSet<String>,
    expr: Expr,
}

impl Expression {
    /// Parses and checks a condition.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let parsed = Self::checked(text)?;
        if !is_boolean(&parsed.expr) {
            let text = &parsed.text;
            return Err(format!("`{text}` is no condition: compare it with something, such as `… > 10`"));
        }
        Ok(Self { expr: without_nan(parsed.expr), ..parsed })
    }

    /// Parses and checks a number.
    pub(super) fn number(text: &str) -> Result<Self, String> {
        let parsed = Self::checked(text)?;
        if is_boolean(&parsed.expr) {
            return Err(format!("`{}` is a condition: a number is wanted, such as `clip + dino`", parsed.text));
        }
        Ok(Self { expr: without_nan(parsed.expr), ..parsed })
    }

    fn checked(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let expr = sql_expr(text).map_err(|error| format!("`{text}` does not parse: {error}"))?;
        let mut columns = BTreeSet::new();
        check(&expr, &mut columns)?;
        if columns.is_empty() {
            return Err(format!("`{text}` looks at no score"));
        }
        Ok(Self { text: text.to_owned(), columns, expr })
    }

    /// Whether it holds, for each row; `None` where values are missing.
    pub(super) fn evaluate(&self, rows: &DataFrame) -> Result<Vec<Option<bool>>, String> {
        let held = self.of(rows).map_err(|error| self.fault(&error))?;
        Ok(held.bool().map_err(|error| self.fault(&error))?.iter().collect())
    }

    /// The number, for each row; `None` where values are missing.
    pub(super) fn values(&self, rows: &DataFrame) -> Result<Vec<Option<f64>>, String> {
        let values = self.of(rows).map_err(|error| self.fault(&error))?;
        if !values.dtype().is_primitive_numeric() && !values.dtype().is_null() {
            return Err(format!("`{}` has the type {} on the scores: a number is wanted", self.text, values.dtype()));
        }
        let values = values.cast(&DataType::Float64).map_err(|error| self.fault(&error))?;
        let values = values.f64().map_err(|error| self.fault(&error))?;
        Ok(values.iter().map(|value| value.filter(|value| !value.is_nan())).collect())
    }

    fn of(&self, rows: &DataFrame) -> PolarsResult<Series> {
        const VALUE: &str = "value";
        let values = rows.clone().lazy().select([self.expr.clone().alias(VALUE)]).collect()?;
        Ok(values.column(VALUE)?.as_materialized_series().clone())
    }

    fn fault(&self, error: &PolarsError) -> String {
        format!("`{}` cannot be evaluated on the scores: {error}", self.text)
    }

    /// Which value is missing in a row of which it says nothing.
    pub(super) fn missing(&self, rows: &DataFrame, row: usize) -> String {
        let is_null = |name: &&String| rows.column(name).is_ok_and(|column| column.get(row).is_ok_and(|v| v.is_null()));
        self.columns.iter().find(is_null).cloned().unwrap_or_else(|| format!("a value of `{}`", self.text))
    }
}

/// Collects the columns; refuses what looks beyond a row, or can fail on the values of one.
fn check(expr: &Expr, columns: &mut BTreeSet<String>) -> Result<(), String> {
    match expr {
        Expr::Column(name) if name.as_str() == "*" || (name.starts_with('^') && name.ends_with('$')) => {
            return Err(format!("`{name}` is no single column: name each score"));
        }
        Expr::Column(name) => {
            columns.insert(name.to_string());
        }
        Expr::Literal(_) => {}
        // The list of an IN: constants, not rows.
        Expr::Agg(AggExpr::Implode { input, .. }) if matches!(**input, Expr::Literal(_)) => {}
        Expr::BinaryExpr { left, right, .. } => {
            check(left, columns)?;
            check(right, columns)?;
        }
        Expr::Ternary { predicate, truthy, falsy } => {
            for part in [predicate, truthy, falsy] {
                check(part, columns)?;
            }
        }
        // What NOT puts around its condition.
        Expr::Cast { expr, dtype: DataTypeExpr::Literal(DataType::Boolean), .. } if is_boolean(expr) => {
            check(expr, columns)?;
        }
        Expr::Function { input, function } if is_rowwise(function) => {
            for part in input {
                check(part, columns)?;
            }
        }
        other => {
            return Err(format!(
                "`{other}` is more than columns, numbers, texts, comparisons, AND, OR, NOT, IN, BETWEEN, IS NULL, ABS and CASE",
            ));
        }
    }
    Ok(())
}

/// Makes the results of arithmetic null where they are NaN, as those of 0 / 0: to polars NaN is above every number, and
/// the row would pass `a / b > 3`.
fn without_nan(expr: Expr) -> Expr {
    let inner = |expr: Arc<Expr>| Arc::new(without_nan(Arc::unwrap_or_clone(expr)));
    match expr {
        Expr::BinaryExpr { left, op, right } => {
            let expr = Expr::BinaryExpr { left: inner(left), op, right: inner(right) };
            if op.is_arithmetic() { when(expr.clone().is_nan()).then(lit(NULL)).otherwise(expr) } else { expr }
        }
        Expr::Ternary { predicate, truthy, falsy } => {
            Expr::Ternary { predicate: inner(predicate), truthy: inner(truthy), falsy: inner(falsy) }
        }
        Expr::Cast { expr, dtype, options } => Expr::Cast { expr: inner(expr), dtype, options },
        Expr::Function { input, function } => {
            Expr::Function { input: input.into_iter().map(without_nan).collect(), function }
        }
        other => other,
    }
}

fn is_rowwise(function: &FunctionExpr) -> bool {
    match function {
        FunctionExpr::Abs | FunctionExpr::Negate => true,
        FunctionExpr::Boolean(function) => !matches!(
            function,
            BooleanFunction::Any { .. }
                | BooleanFunction::All { .. }
                | BooleanFunction::IsEmpty { .. }
                | BooleanFunction::HasNulls
                | BooleanFunction::IsSorted { .. }
        ),
        _ => false,
    }
}

/// Whether it is a condition by its form: the types of the scores are not known before they are there.
fn is_boolean(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryExpr { op, .. } if op.is_comparison() => true,
        Expr::BinaryExpr { op, left, right } => {
            let joins =
                matches!(op, Operator::And | Operator::Or | Operator::Xor | Operator::LogicalAnd | Operator::LogicalOr);
            joins && is_boolean(left) && is_boolean(right)
        }
        Expr::Cast { expr, dtype: DataTypeExpr::Literal(DataType::Boolean), .. } => is_boolean(expr),
        Expr::Ternary { truthy, falsy, .. } => is_boolean(truthy) && is_boolean(falsy),
        Expr::Function { input, function: FunctionExpr::Boolean(BooleanFunction::Not) } => input.iter().all(is_boolean),
        Expr::Function { function: FunctionExpr::Boolean(_), .. } => true,
        Expr::Literal(value) => value.get_datatype() == DataType::Boolean,
        _ => false,
    }
}
