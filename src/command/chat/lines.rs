//! What a person types, or a program writes.

use std::io::{IsTerminal, stdin};
use std::path::PathBuf;

use dialoguer::{BasicHistory, Input};

use crate::failure::Failure;

/// A line, understood.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    Said(String),
    /// `/seed N`
    Seed(u64),
    /// `/like FILE [ALPHA]`; alone: as before.
    Like(Option<(PathBuf, f64)>),
    /// `/help`, and what is no command.
    Help,
}

/// Lines, one after the other: edited on a terminal, as they come from elsewhere.
pub(super) struct Lines {
    history: BasicHistory,
    is_terminal: bool,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self { history: BasicHistory::new().no_duplicates(true), is_terminal: stdin().is_terminal() }
    }

    /// The next one that says anything; `None` at the end, and when a person wants to stop.
    pub(super) fn next(&mut self) -> Result<Option<Line>, Failure> {
        loop {
            let text = if self.is_terminal { self.typed() } else { written() };
            let failed = |error: std::io::Error| Failure::usage(format!("stdin: {error}"), "lines of UTF-8 are read");
            let Some(text) = text.map_err(failed)? else { return Ok(None) };
            let text = text.trim();
            if ["/quit", "/exit"].contains(&text) {
                return Ok(None);
            }
            if !text.is_empty() {
                return Ok(Some(Line::parse(text)));
            }
        }
    }

    fn typed(&mut self) -> std::io::Result<Option<String>> {
        let line = Input::<String>::new().with_prompt("you").allow_empty(true).history_with(&mut self.history);
        match line.interact_text() {
            Ok(text) => Ok(Some(text)),
            Err(dialoguer::Error::IO(error)) if error.kind() == std::io::ErrorKind::Interrupted => Ok(None),
            Err(dialoguer::Error::IO(error)) => Err(error),
        }
    }
}

fn written() -> std::io::Result<Option<String>> {
    let mut text = String::new();
    Ok((stdin().read_line(&mut text)? > 0).then_some(text))
}

impl Line {
    fn parse(text: &str) -> Self {
        let Some(command) = text.strip_prefix('/') else { return Self::Said(text.to_owned()) };
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim();
        match (name, rest) {
            ("seed", rest) => rest.parse().map_or(Self::Help, Self::Seed),
            ("like", "") => Self::Like(None),
            ("like", rest) => match rest.rsplit_once(char::is_whitespace).map(|(file, alpha)| (file, alpha.parse())) {
                Some((file, Ok(alpha))) if (0.0..=1.0).contains(&alpha) => {
                    Self::Like(Some((file.trim().into(), alpha)))
                }
                _ => Self::Like(Some((rest.into(), 0.5))),
            },
            _ => Self::Help,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_from_what_is_said() {
        assert_eq!(Line::parse("paint it blue"), Line::Said("paint it blue".to_owned()));
        assert_eq!(Line::parse("/seed 7"), Line::Seed(7));
        assert_eq!(Line::parse("/like"), Line::Like(None));
        assert_eq!(Line::parse("/like my w.png 0.25"), Line::Like(Some(("my w.png".into(), 0.25))));
        assert_eq!(Line::parse("/like my w.png"), Line::Like(Some(("my w.png".into(), 0.5))));
        assert_eq!(Line::parse("/like w.png 7"), Line::Like(Some(("w.png 7".into(), 0.5))));
        assert!(["/seed", "/seed x", "/help", "/what", "/"].iter().all(|text| Line::parse(text) == Line::Help));
    }
}
