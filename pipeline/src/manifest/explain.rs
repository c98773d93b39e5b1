//! What a schema's validator found, in words.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Kind;
use serde_json::Value;

use super::branches::{Verdict, choices, expected_types, judge};
use super::document::NAME_PATTERN;
use super::help::{STAGE_HELP, example, for_name, for_type, range};
use super::models::{MODEL_NAME_PATTERN, SHA256_PATTERN};
use super::pointer::{child, last};
use super::report::{At, Report};
use super::rules::{self, Compiled};
use super::suggest::{closest, list, number, shown, type_name, type_of};
use super::tree::Tree;
use super::vocabulary::Vocabulary;

/// Explains the mistakes of one table of the manifest.
pub(super) struct Explain<'a> {
    /// What it was checked against.
    pub(super) rules: &'a Compiled,
    /// Where the table stands in the manifest.
    pub(super) base: &'a str,
    /// Keys of the table that are checked against another schema.
    pub(super) others: &'a [&'a str],
    /// The manifest.
    pub(super) tree: &'a Tree,
    /// All keys.
    pub(super) vocabulary: &'a Vocabulary,
}

impl Explain<'_> {
    /// Checks `instance` and reports what is wrong with it.
    pub(super) fn check(&self, report: &mut Report<'_>, instance: &Value) {
        let errors: Vec<_> = self.rules.validator.iter_errors(instance).collect();
        self.explain_all(report, &errors);
    }

    fn explain_all(&self, report: &mut Report<'_>, errors: &[ValidationError<'_>]) {
        for error in errors {
            let place = error.instance_path();
            // The list of what is possible says the type, too.
            let listed = errors.iter().any(|other| other.instance_path() == place && choices(other).is_some());
            if !(listed && matches!(error.kind(), Kind::Type { .. })) {
                self.explain(report, error);
            }
        }
    }

    fn explain(&self, report: &mut Report<'_>, error: &ValidationError<'_>) {
        let pointer = format!("{}{}", self.base, error.instance_path().as_str());
        if self.tree.holes.contains(&pointer) {
            return;
        }
        let value = error.instance().as_ref();
        match error.kind() {
            Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
                let valid = self.valid_keys(error);
                for key in unexpected {
                    self.vocabulary.unknown(report, self.tree, &pointer, key, &valid);
                }
            }
            Kind::Required { property } => self.missing(report, &pointer, property.as_str().unwrap_or_default(), error),
            Kind::Type { .. } => self.wrong_type(report, &pointer, value, &expected_types(&self.rules.schema, error)),
            Kind::Constant { .. } | Kind::Enum { .. } => {
                self.not_among(report, &pointer, value, &choices(error).unwrap_or_default());
            }
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
                self.no_branch(report, error.instance_path().as_str(), value, context);
            }
            _ => {
                let (message, help) = self.plain(error, value);
                self.say(report, &pointer, message, help);
            }
        }
    }

    fn say(&self, report: &mut Report<'_>, pointer: &str, message: String, help: Option<String>) {
        report.add(&self.tree.spans, pointer, At::Value, message, help);
    }

    fn no_branch(&self, report: &mut Report<'_>, here: &str, value: &Value, context: &[Vec<ValidationError<'static>>]) {
        let pointer = format!("{}{here}", self.base);
        match judge(&self.rules.schema, here, value, context) {
            Verdict::Meant(errors) => self.explain_all(report, errors),
            Verdict::Types(types) => self.wrong_type(report, &pointer, value, &types),
            Verdict::Value(place, values) => {
                let value = self.tree.root.pointer(&format!("{}{place}", self.base)).unwrap_or(value);
                self.not_among(report, &format!("{}{place}", self.base), value, &values);
            }
            Verdict::Tag(key, values) => {
                let choices = values.iter().map(Value::to_string).collect::<Vec<_>>();
                let help = format!("add `{key} = …` with one of {}", list(choices.iter().map(String::as_str), "or"));
                report.missing(pointer, &key, Some(help));
            }
            Verdict::OneKey(names) => {
                let message = format!("expected one of the keys {}", list(names.iter().map(String::as_str), "or"));
                let written = value.as_object().into_iter().flat_map(|table| table.keys());
                let near =
                    written.filter_map(|key| Some((key, closest(key, names.iter().map(String::as_str))?))).next();
                let help = near.map(|(key, near)| format!("`{key}`: did you mean `{near}`?"));
                self.say(report, &pointer, message, help);
            }
        }
    }

    /// Whether this is the `kind` of the stage at hand.
    fn is_kind(&self, pointer: &str) -> bool {
        self.base.starts_with("/stage/") && pointer.strip_prefix(self.base) == Some("/kind")
    }

    fn kinds(&self) -> String {
        list(self.vocabulary.kinds.iter().copied(), "or")
    }

    fn missing(&self, report: &mut Report<'_>, pointer: &str, key: &str, error: &ValidationError<'_>) {
        if key == "stage" && pointer.is_empty() {
            report.missing(String::new(), key, Some(STAGE_HELP.to_owned()));
            return;
        }
        if self.is_kind(&child(pointer, key)) {
            report.missing(pointer.to_owned(), key, Some(format!("add `kind = …` with one of {}", self.kinds())));
            return;
        }
        let table = self.table_schema(error);
        let property = table.and_then(|table| rules::keys(&self.rules.schema, table).remove(key));
        report.missing(pointer.to_owned(), key, Some(example(&self.rules.schema, key, property)));
    }

    fn wrong_type(&self, report: &mut Report<'_>, pointer: &str, value: &Value, expected: &[String]) {
        let names = expected.iter().map(|name| type_name(name)).collect::<Vec<_>>().join(" or ");
        let place = self.tree.spans.nearest(pointer).map_or(0..0, |place| place.value.clone());
        let help = match pointer.strip_prefix("/stage") {
            _ if self.is_kind(pointer) => Some(format!("write one of {}, in quotes", self.kinds())),
            Some(rest) if rest.matches('/').count() == 1 => Some(STAGE_HELP.to_owned()),
            _ => for_type(&last(pointer), value, expected, report.text(place)),
        };
        self.say(report, pointer, format!("expected {names}, found {}", type_of(value)), help);
    }

    fn not_among(&self, report: &mut Report<'_>, pointer: &str, value: &Value, options: &[Value]) {
        let texts = options.iter().map(Value::to_string).collect::<Vec<_>>();
        let all = list(texts.iter().map(String::as_str), "or");
        let near = value.as_str().and_then(|word| closest(word, options.iter().filter_map(Value::as_str)));
        let help = match near {
            Some(near) => format!("did you mean `{near:?}`? Possible: {all}"),
            None => format!("write {all}"),
        };
        self.say(report, pointer, format!("{} is not a possible value", shown(value)), Some(help));
    }

    fn plain(&self, error: &ValidationError<'_>, value: &Value) -> (String, Option<String>) {
        let found = shown(value);
        let range = || self.table_schema(error).and_then(range);
        let key = last(error.instance_path().as_str());
        match error.kind() {
            Kind::Minimum { limit } => (format!("{found} is too small: at least {}", number(limit)), range()),
            Kind::Maximum { limit } => (format!("{found} is too large: at most {}", number(limit)), range()),
            Kind::ExclusiveMinimum { limit } => (format!("{found} is too small: more than {}", number(limit)), range()),
            Kind::ExclusiveMaximum { limit } => (format!("{found} is too large: less than {}", number(limit)), range()),
            Kind::MultipleOf { multiple_of } => (format!("{found} is no multiple of {multiple_of}"), None),
            Kind::MinLength { limit: 1 } => {
                ("the text is empty".to_owned(), Some(format!("write a {key}, or leave the key out")))
            }
            Kind::MinLength { limit } => (format!("{found} is too short: at least {limit} characters"), None),
            Kind::MaxLength { limit } => (format!("{found} is too long: at most {limit} characters"), None),
            Kind::MinItems { .. } if self.base.is_empty() && key == "stage" => {
                ("there is no stage".to_owned(), Some(STAGE_HELP.to_owned()))
            }
            Kind::MinItems { limit: 1 } => {
                ("the list is empty".to_owned(), Some(format!("`{key}` needs at least one entry")))
            }
            Kind::MinItems { limit } => (format!("the list is too short: at least {limit} entries"), None),
            Kind::MaxItems { limit } => (format!("the list is too long: at most {limit} entries"), None),
            Kind::MinProperties { limit } => (format!("the table has too few keys: at least {limit}"), None),
            Kind::MaxProperties { limit } => (format!("the table has too many keys: at most {limit}"), None),
            Kind::UniqueItems => {
                ("an entry stands twice in the list".to_owned(), Some("write each entry once".to_owned()))
            }
            Kind::Pattern { pattern } if pattern == NAME_PATTERN => for_name(value),
            Kind::Pattern { pattern } if pattern == SHA256_PATTERN => (
                format!("{found} is no SHA-256"),
                Some("write 64 lower-case hexadecimal digits, as `sha256sum FILE` prints them".to_owned()),
            ),
            Kind::Pattern { pattern } => (
                format!("{found} does not have the right form"),
                Some(format!("it must match the regular expression `{pattern}`")),
            ),
            Kind::Format { format } => (format!("{found} is no {format}"), None),
            Kind::PropertyNames { error } if matches!(error.kind(), Kind::Pattern { pattern } if pattern == MODEL_NAME_PATTERN) =>
            {
                let name = shown(error.instance());
                let rule = "lower-case letters, digits, `.`, `_` and `-`, a letter or digit first, at most 64";
                (format!("{name} is not a valid name for a model"), Some(rule.to_owned()))
            }
            Kind::PropertyNames { error } => {
                (format!("the key {} is not possible here: {error}", shown(error.instance())), None)
            }
            Kind::OneOfMultipleValid { .. } => {
                let help = "leave out the keys of all forms but one".to_owned();
                ("fits more than one of the forms that are possible here".to_owned(), Some(help))
            }
            Kind::Custom { keyword, message } if keyword == rules::WHOLE => {
                let whole =
                    value.as_f64().map(|number| format!("write `{key} = {number:.0}`, without a decimal point"));
                (message.clone(), whole)
            }
            _ => (format!("not possible here: {}", error.masked_with("the value")), None),
        }
    }

    /// The schema to which the keyword that failed belongs.
    fn table_schema(&self, error: &ValidationError<'_>) -> Option<&Value> {
        [error.schema_path(), error.evaluation_path()].into_iter().find_map(|path| {
            let (around, _) = path.as_str().rsplit_once('/')?;
            rules::at(&self.rules.schema, around)
        })
    }

    fn valid_keys(&self, error: &ValidationError<'_>) -> Vec<&str> {
        let table = self.table_schema(error);
        let mut valid: Vec<_> =
            table.into_iter().flat_map(|table| rules::keys(&self.rules.schema, table).into_keys()).collect();
        if error.instance_path().as_str().is_empty() {
            valid.extend(self.others);
        }
        valid
    }
}

/// The pointer of a stage.
pub(super) fn stage_pointer(index: usize) -> String {
    child("/stage", &index.to_string())
}
