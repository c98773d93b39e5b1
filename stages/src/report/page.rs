//! From the figures to a page, and to JSON.

use cafe_pipeline::text::{bytes, count, duration};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::Value;

use super::{Report, figure};

/// Keys that are for the page's eyes only.
const FOR_EYES: [&str; 2] = ["plot", "src"];

/// Where templates of pages are rendered: all that comes from data is escaped. They find the style of pages under `style`.
pub(crate) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    // A name that is misspelt is a defect, not an empty place on the page.
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.add_global("style", include_str!("page.css"));
    environment
}

/// The page.
pub(super) fn html(report: &Report) -> Result<String, minijinja::Error> {
    let mut environment = environment();
    environment.add_filter("count", count);
    environment.add_filter("bytes", bytes);
    environment.add_filter("duration", duration);
    environment.add_filter("figure", figure);
    environment.add_filter("percent", percent);
    environment.add_filter("time", time);
    environment.add_template("page.html", include_str!("page.html"))?;
    environment.get_template("page.html")?.render(report)
}

/// A share: `6.9 %`.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    // Whatever is not none and not all must not look so.
    let digits = if percent == percent.trunc() { 0 } else { 1 };
    let shown = match percent {
        percent if percent > 0.0 && percent < 0.1 => return "< 0.1 %".to_owned(),
        percent if percent < 100.0 => percent.min(99.9),
        percent => percent,
    };
    format!("{shown:.digits$} %")
}

/// A time, which may be years of a machine: `4.2 s`, `7 h 02 min`, `10,000 h`.
fn time(secs: f64) -> String {
    const HOUR: f64 = 3600.0;
    if secs < 100.0 * HOUR {
        duration((secs * 1000.0).round() as u64)
    } else {
        format!("{} h", count((secs / HOUR).round() as u64))
    }
}

/// The figures, without pictures and geometry.
pub(super) fn json(report: &Report) -> Value {
    // A report is made of maps with text for keys, and always has a JSON.
    let mut value = serde_json::to_value(report).unwrap_or_default();
    strip(&mut value);
    value
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !FOR_EYES.contains(&name.as_str()));
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_never_rounded_to_none_or_all() {
        let shown = [0.0, 0.0004, 0.069, 0.5, 0.9999, 1.0].map(percent);
        assert_eq!(shown, ["0 %", "< 0.1 %", "6.9 %", "50 %", "99.9 %", "100 %"]);
    }

    #[test]
    fn times_are_told_from_seconds_to_years() {
        let shown = [0.0, 1.25, 25_320.0, 36_000_000.0].map(time);
        assert_eq!(shown, ["0 ms", "1.2 s", "7 h 02 min", "10,000 h"]);
    }
}
