//! Cells of CSV files that people open in spreadsheets: what begins like a formula would be carried out there.

use std::borrow::Cow;

/// Characters with which a spreadsheet's formula may begin.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// `text` as a cell that no spreadsheet takes for a formula.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    // A text that looks escaped is escaped again, so that it comes back as it was.
    if text.trim_start_matches('\'').starts_with(FORMULA) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// What [`escape`] was given.
pub(super) fn unescape(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|rest| rest.trim_start_matches('\'').starts_with(FORMULA)).unwrap_or(cell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_become_text_and_come_back() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "'=1", "''-"] {
            let cell = escape(text);
            assert!(cell.starts_with('\'') && cell.len() == text.len() + 1, "{cell}");
            assert_eq!(unescape(&cell), text);
        }
        for text in ["", "a dog", "'tis", "1-1"] {
            assert_eq!((escape(text).as_ref(), unescape(text)), (text, text));
        }
    }
}
