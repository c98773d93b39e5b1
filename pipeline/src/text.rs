//! Words and numbers laid out for a terminal: tables, sizes, times. Pure: nothing here prints.

use std::fmt::Write as _;

/// Which edge of a table's column the cells stand at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// For words.
    Left,
    /// For numbers.
    Right,
}

/// A table with a line of headers, ended by a line break. Missing cells are empty, cells without a header are left out.
#[must_use]
pub fn table(headers: &[&str], rows: &[Vec<String>], alignment: &[Align]) -> String {
    let headers: Vec<String> = headers.iter().map(|header| one_line(header)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| one_line(cell)).collect()).collect();
    let widths: Vec<usize> = headers
        .iter()
        .enumerate()
        .map(|(at, header)| {
            rows.iter().filter_map(|row| row.get(at)).map(|cell| width(cell)).fold(width(header), usize::max)
        })
        .collect();
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut text = String::new();
    for row in [&headers, &rule].into_iter().chain(&rows) {
        let mut line = String::new();
        for (at, wanted) in widths.iter().enumerate() {
            let cell = row.get(at).map_or("", String::as_str);
            let padding = " ".repeat(wanted.saturating_sub(width(cell)));
            let separator = if at == 0 { "" } else { "  " };
            // Writing to a string cannot fail.
            let _ = match alignment.get(at) {
                Some(Align::Right) => write!(line, "{separator}{padding}{cell}"),
                _ => write!(line, "{separator}{cell}{padding}"),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Columns that `text` takes on a terminal: East Asian characters and emoji take two, combining marks none.
#[must_use]
pub fn width(text: &str) -> usize {
    text.chars()
        .map(|character| match u32::from(character) {
            0x300..=0x36f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
            0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f => 2,
            0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd => 2,
            _ => 1,
        })
        .sum()
}

/// `text` cut to `limit` terminal columns, with an ellipsis where something was cut.
#[must_use]
pub fn truncated(text: &str, limit: usize) -> String {
    if width(text) <= limit {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut buffer = [0; 4];
    let mut taken = 0;
    for character in text.chars() {
        taken += width(character.encode_utf8(&mut buffer));
        if taken >= limit {
            break;
        }
        kept.push(character);
    }
    kept.push('…');
    kept
}

/// `text` without line breaks and other control characters, which would break a table or drive the terminal.
#[must_use]
pub fn one_line(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

/// A size: `812 B`, `1.2 KB`, `34 MB`.
#[must_use]
pub fn bytes(n_bytes: u64) -> String {
    if n_bytes < 1000 {
        return format!("{n_bytes} B");
    }
    let mut value = n_bytes as f64;
    let mut unit = "";
    for name in ["KB", "MB", "GB", "TB", "PB", "EB"] {
        // What would be shown as 1000 belongs to the next unit.
        if !unit.is_empty() && value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = name;
    }
    if value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// A time: `35 ms`, `4.2 s`, `3 min 05 s`, `7 h 02 min`.
#[must_use]
pub fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match milliseconds {
        0..1000 => format!("{milliseconds} ms"),
        1000..60_000 => format!("{seconds}.{} s", milliseconds % 1000 / 100),
        60_000..3_600_000 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A whole number with its thousands apart: `3,000,000`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 row`, `2 rows`: the noun takes an `s` unless there is one.
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// `a`, `b` and `c`, each in backticks; a long list is cut after `limit`.
#[must_use]
pub fn listed<'a>(words: impl IntoIterator<Item = &'a str>, limit: usize) -> String {
    let mut words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    if words.len() > limit {
        let n_more = words.len() - limit;
        words.truncate(limit);
        return format!("{} and {n_more} more", words.join(", "));
    }
    match words.pop() {
        None => "none".to_owned(),
        Some(only) if words.is_empty() => only,
        Some(last) => format!("{} and {last}", words.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_words_left_and_numbers_right() {
        let rows = [vec!["collect".to_owned(), "12".to_owned()], vec!["画像\n".to_owned(), "7".to_owned()]];
        let text = table(&["node", "rows in"], &rows, &[Align::Left, Align::Right]);
        assert_eq!(text, "node     rows in\n-------  -------\ncollect       12\n画像\\n         7\n");
    }

    #[test]
    fn a_short_row_is_filled_and_a_long_one_cut() {
        let rows = [vec!["a".to_owned()], vec!["b".to_owned(), "1".to_owned(), "lost".to_owned()]];
        assert_eq!(table(&["x", "y"], &rows, &[]), "x  y\n-  -\na\nb  1\n");
        assert_eq!(table(&[], &rows, &[]), "\n\n\n\n");
    }

    #[test]
    fn truncation_keeps_to_the_limit() {
        assert_eq!(truncated("abc", 3), "abc");
        assert_eq!(truncated("abcdef", 4), "abc…");
        assert_eq!(truncated("画像画像", 5), "画像…");
        assert!(width(&truncated("画像画像", 4)) <= 4);
        assert_eq!(truncated("abc", 0), "…");
    }

    #[test]
    fn numbers_read_well() {
        let sizes = [0, 999, 1000, 1234, 9_949, 9_950, 34_000_000, 999_499, 999_500, u64::MAX].map(bytes);
        assert_eq!(
            sizes,
            ["0 B", "999 B", "1.0 KB", "1.2 KB", "9.9 KB", "10 KB", "34 MB", "999 KB", "1.0 MB", "18 EB"]
        );
        let times = [0, 999, 4_250, 59_999, 185_000, 25_320_000].map(duration);
        assert_eq!(times, ["0 ms", "999 ms", "4.2 s", "59.9 s", "3 min 05 s", "7 h 02 min"]);
        assert_eq!([0, 999, 1000, 3_000_000].map(count), ["0", "999", "1,000", "3,000,000"]);
        assert_eq!((counted(1, "row"), counted(0, "row")), ("1 row".to_owned(), "0 rows".to_owned()));
    }

    #[test]
    fn lists_read_well() {
        assert_eq!(listed(["a"], 3), "`a`");
        assert_eq!(listed(["a", "b", "c"], 3), "`a`, `b` and `c`");
        assert_eq!(listed(["a", "b", "c"], 2), "`a`, `b` and 1 more");
        assert_eq!(listed([], 2), "none");
    }
}
