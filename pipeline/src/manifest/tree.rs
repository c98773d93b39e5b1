//! The spanned TOML tree as JSON, for the schemas, with a map back to the text.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeFloat, DeInteger, DeTable, DeValue};

use super::pointer::{Place, SpanMap, child};
use super::report::{At, Report};

/// A value that TOML can say and JSON cannot.
pub(super) struct Unfit {
    pub(super) pointer: String,
    pub(super) message: String,
    pub(super) help: &'static str,
}

/// The manifest as JSON.
#[derive(Default)]
pub(super) struct Tree {
    pub(super) root: Value,
    pub(super) spans: SpanMap,
    pub(super) unfit: Vec<Unfit>,
    /// Where the values of `unfit` are; the JSON has a null there, about which nothing must be said twice.
    pub(super) holes: BTreeSet<String>,
}

impl Tree {
    /// Depth is bounded by the parser, so that recursion is safe.
    pub(super) fn new(table: &DeTable<'_>) -> Self {
        let mut tree = Self::default();
        tree.spans.insert(String::new(), Place { key: None, value: 0..0, element: false });
        tree.root = tree.table("", table);
        tree
    }

    /// Reports the values that JSON cannot say.
    pub(super) fn report_unfit(&self, report: &mut Report<'_>) {
        for unfit in &self.unfit {
            let help = Some(unfit.help.to_owned());
            report.add(&self.spans, &unfit.pointer, At::Value, unfit.message.clone(), help);
        }
    }

    fn table(&mut self, pointer: &str, table: &DeTable<'_>) -> Value {
        let mut object = Map::new();
        for (key, value) in table {
            let child = child(pointer, key.get_ref());
            let value = self.value(&child, Some(key.span()), value, false);
            object.insert(key.get_ref().to_string(), value);
        }
        Value::Object(object)
    }

    fn value(
        &mut self,
        pointer: &str,
        key: Option<Range<usize>>,
        value: &Spanned<DeValue<'_>>,
        element: bool,
    ) -> Value {
        self.spans.insert(pointer.to_owned(), Place { key, value: value.span(), element });
        match value.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(flag) => Value::Bool(*flag),
            DeValue::Integer(integer) => self.integer(pointer, integer),
            DeValue::Float(float) => self.float(pointer, float),
            DeValue::Datetime(date) => self.unfit(
                pointer,
                format!("found the date or time {date}, which no key takes"),
                "put it into quotes if it is meant as text",
            ),
            DeValue::Array(array) => Value::Array(
                array
                    .iter()
                    .enumerate()
                    .map(|(index, value)| self.value(&format!("{pointer}/{index}"), None, value, true))
                    .collect(),
            ),
            DeValue::Table(table) => self.table(pointer, table),
        }
    }

    fn integer(&mut self, pointer: &str, integer: &DeInteger<'_>) -> Value {
        let signed = i64::from_str_radix(integer.as_str(), integer.radix()).map(Number::from);
        let number = signed.or_else(|_| u64::from_str_radix(integer.as_str(), integer.radix()).map(Number::from));
        number.map(Value::Number).unwrap_or_else(|_| {
            self.unfit(pointer, format!("the integer {integer} does not fit 64 bits"), "write a smaller number")
        })
    }

    fn float(&mut self, pointer: &str, float: &DeFloat<'_>) -> Value {
        let number = float.as_str().parse().ok().and_then(Number::from_f64);
        number.map(Value::Number).unwrap_or_else(|| {
            let message = format!("found {float}, which is not a number that can be used");
            self.unfit(pointer, message, "write a finite number, or leave the key out")
        })
    }

    fn unfit(&mut self, pointer: &str, message: String, help: &'static str) -> Value {
        self.unfit.push(Unfit { pointer: pointer.to_owned(), message, help });
        self.holes.insert(pointer.to_owned());
        Value::Null
    }
}
