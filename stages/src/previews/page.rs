//! The page of previews.

use serde::Serialize;
use serde_json::json;

use super::shelf::Picture;
use crate::report::environment;

/// The page loads itself anew after so many seconds.
const REFRESH_SECS: u32 = 5;

/// The pictures of a node, the newest first.
#[derive(Debug, Serialize)]
pub(super) struct Section<'a> {
    pub(super) node: &'a str,
    pub(super) pictures: Vec<Picture>,
}

/// The page; its template escapes all that comes from data.
pub(super) fn html(sections: &[Section<'_>]) -> Result<String, minijinja::Error> {
    let mut environment = environment();
    environment.add_template("page.html", include_str!("page.html"))?;
    let context = json!({ "sections": sections, "refresh_secs": REFRESH_SECS });
    environment.get_template("page.html")?.render(context)
}
