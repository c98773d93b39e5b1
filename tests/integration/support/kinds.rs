//! Stage kinds small enough to be run thousands of times: `count` (source), `square` (row by row, journaled), `even`
//! (a barrier) and `total` (over all).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cafe_pipeline::stage::{
    BatchOutcome, Bounds, CompileContext, ConfigIssue, ErrorClass, FanOut, Lister, NodeDecl, QuarantinedRow, ROW, Read,
    RowWork, StageDecl, StageKind, StageRegistry, TableDecl, WholeOutcome, WholeWork, Work, WorkContext, WorkError,
};
use polars::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

/// All of them.
pub(crate) fn registry(treated: &Treated) -> StageRegistry {
    StageRegistry::default().with(Count).with(Square(treated.clone())).with(Even).with(Total)
}

/// How often each row was squared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Treated(Arc<AtomicU64>);

impl Treated {
    pub(crate) fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

fn table(name: &str, columns: &[&str]) -> TableDecl {
    let id = Field::new("id".into(), DataType::String);
    let values = columns.iter().map(|name| Field::new((*name).into(), DataType::Int64));
    TableDecl { name: name.to_owned(), columns: Arc::new(Schema::from_iter([id].into_iter().chain(values))) }
}

fn ints(rows: &DataFrame, name: &str) -> Vec<i64> {
    rows.column(name).unwrap().i64().unwrap().iter().flatten().collect()
}

fn frame(ids: &DataFrame, name: &str, values: Vec<i64>, row: bool) -> DataFrame {
    let mut columns = vec![ids.column("id").unwrap().clone(), Column::new(name.into(), values)];
    if row {
        columns.push(Column::new(ROW.into(), (0..ids.height() as u32).collect::<Vec<_>>()));
    }
    DataFrame::new_infer_height(columns).unwrap()
}

struct Count;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CountConfig {
    /// Rows.
    n: u32,
}

struct Numbers(u32);

impl Lister for Numbers {
    fn list(&self, _: &WorkContext) -> Result<DataFrame, WorkError> {
        let ids: Vec<String> = (0..self.0).map(|number| format!("r{number:06}")).collect();
        Ok(df!("id" => ids, "number" => (0..i64::from(self.0)).collect::<Vec<_>>())?)
    }
}

impl StageKind for Count {
    fn kind(&self) -> &'static str {
        "count"
    }

    fn about(&self) -> &'static str {
        "counts from zero"
    }

    fn config_schema(&self) -> schemars::Schema {
        schemars::schema_for!(CountConfig)
    }

    fn compile(&self, stage: &StageDecl, _: &CompileContext<'_>) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
        let config: CountConfig = stage.config()?;
        Ok(vec![NodeDecl {
            part: None,
            output_version: 1,
            settings: json!({}),
            reads: vec![],
            writes: vec![table("numbers", &["number"])],
            bounds: Bounds::Source(Arc::new(Numbers(config.n))),
            work: Work::Rows(Arc::new(Copy)),
        }])
    }
}

struct Copy;

impl RowWork for Copy {
    fn row_id(&self) -> &str {
        "id"
    }

    fn process(&self, _: &WorkContext, rows: &DataFrame) -> Result<BatchOutcome, WorkError> {
        let tables = BTreeMap::from([("numbers".to_owned(), frame(rows, "number", ints(rows, "number"), true))]);
        Ok(BatchOutcome { tables, ..BatchOutcome::default() })
    }
}

struct Square(Treated);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SquareConfig {
    /// Added to each square.
    #[serde(default)]
    plus: i64,
    /// Whether rows are journaled.
    #[serde(default)]
    journal: bool,
    /// Numbers that are refused.
    #[serde(default)]
    refuse: Vec<i64>,
}

impl StageKind for Square {
    fn kind(&self) -> &'static str {
        "square"
    }

    fn about(&self) -> &'static str {
        "squares numbers"
    }

    fn config_schema(&self) -> schemars::Schema {
        schemars::schema_for!(SquareConfig)
    }

    fn compile(&self, stage: &StageDecl, _: &CompileContext<'_>) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
        let config: SquareConfig = stage.config()?;
        Ok(vec![NodeDecl {
            part: None,
            output_version: 1,
            settings: json!({ "plus": config.plus, "refuse": config.refuse }),
            reads: vec![Read::aligned("numbers")],
            writes: vec![table("squares", &["square"])],
            bounds: Bounds::Aligned,
            work: Work::Rows(Arc::new(Squares { treated: self.0.clone(), config })),
        }])
    }
}

struct Squares {
    treated: Treated,
    config: SquareConfig,
}

impl RowWork for Squares {
    fn row_id(&self) -> &str {
        "id"
    }

    fn batch_rows(&self) -> usize {
        4
    }

    fn journaled(&self) -> bool {
        self.config.journal
    }

    fn process(&self, _: &WorkContext, rows: &DataFrame) -> Result<BatchOutcome, WorkError> {
        self.treated.0.fetch_add(rows.height() as u64, Ordering::Relaxed);
        let numbers = ints(rows, "number");
        let squares = numbers.iter().map(|number| number * number + self.config.plus).collect();
        let mut table = frame(rows, "square", squares, true);
        let refused = |number: &i64| self.config.refuse.contains(number);
        let quarantined = (0_u32..).zip(&numbers).filter(|(_, number)| refused(number)).map(|(row, number)| {
            QuarantinedRow { row, class: ErrorClass::Invalid, message: format!("{number} is refused") }
        });
        let quarantined: Vec<QuarantinedRow> = quarantined.collect();
        if !quarantined.is_empty() {
            let done: BooleanChunked = numbers.iter().map(|number| Some(!refused(number))).collect();
            table = table.filter(&done)?;
        }
        Ok(BatchOutcome { tables: [("squares".to_owned(), table)].into(), quarantined, ..BatchOutcome::default() })
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

struct Even;

struct Evens;

impl Lister for Evens {
    fn list(&self, context: &WorkContext) -> Result<DataFrame, WorkError> {
        let squares = context.table("squares", None)?;
        let even: BooleanChunked = ints(&squares, "square").iter().map(|square| Some(square % 2 == 0)).collect();
        Ok(squares.filter(&even)?)
    }
}

impl RowWork for Evens {
    fn row_id(&self) -> &str {
        "id"
    }

    fn fan_out(&self) -> FanOut {
        FanOut::Many
    }

    fn process(&self, _: &WorkContext, rows: &DataFrame) -> Result<BatchOutcome, WorkError> {
        let tables = [("evens".to_owned(), frame(rows, "even", ints(rows, "square"), true))].into();
        Ok(BatchOutcome { tables, ..BatchOutcome::default() })
    }
}

impl StageKind for Even {
    fn kind(&self) -> &'static str {
        "even"
    }

    fn about(&self) -> &'static str {
        "picks even squares, once all are known"
    }

    fn config_schema(&self) -> schemars::Schema {
        schemars::schema_for!(Nothing)
    }

    fn compile(&self, _: &StageDecl, _: &CompileContext<'_>) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
        Ok(vec![NodeDecl {
            part: None,
            output_version: 1,
            settings: json!({}),
            reads: vec![Read::all("squares")],
            writes: vec![table("evens", &["even"])],
            bounds: Bounds::Barrier(Arc::new(Evens)),
            work: Work::Rows(Arc::new(Evens)),
        }])
    }
}

struct Total;

struct Sum;

impl WholeWork for Sum {
    fn run(&self, context: &WorkContext) -> Result<WholeOutcome, WorkError> {
        let evens = context.table("evens", None)?;
        let total: i64 = ints(&evens, "even").iter().sum();
        let table = df!("id" => ["total"], "total" => [total])?;
        Ok(WholeOutcome {
            tables: [("totals".to_owned(), table)].into(),
            n_in: evens.height() as u64,
            ..WholeOutcome::default()
        })
    }
}

impl StageKind for Total {
    fn kind(&self) -> &'static str {
        "total"
    }

    fn about(&self) -> &'static str {
        "sums up"
    }

    fn config_schema(&self) -> schemars::Schema {
        schemars::schema_for!(Nothing)
    }

    fn compile(&self, _: &StageDecl, _: &CompileContext<'_>) -> Result<Vec<NodeDecl>, Vec<ConfigIssue>> {
        Ok(vec![NodeDecl {
            part: None,
            output_version: 1,
            settings: json!({}),
            reads: vec![Read::all("evens")],
            writes: vec![table("totals", &["total"])],
            bounds: Bounds::Single,
            work: Work::Whole(Arc::new(Sum)),
        }])
    }
}
