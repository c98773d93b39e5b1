//! What a round looks like: text and image for a person at a terminal, a line of JSON for a program.

use std::io::{IsTerminal, Write, stdout};
use std::path::Path;

use image::{DynamicImage, RgbImage};

use super::history::Round;
use crate::failure::Failure;

/// Columns of an image on a terminal.
const COLUMNS: u32 = 48;

/// A round that was just made.
pub(super) fn round(round: &Round, folder: &Path, image: Option<RgbImage>) -> Result<(), Failure> {
    if !stdout().is_terminal() {
        let line = serde_json::to_string(round).map_err(|error| Failure::Internal(error.to_string()))?;
        writeln!(stdout().lock(), "{line}")?;
        return Ok(());
    }
    writeln!(stdout().lock(), "{}", printable(&round.assistant))?;
    if let (Some(image), Some(name)) = (image, &round.image) {
        let config = viuer::Config { absolute_offset: false, width: Some(COLUMNS), ..viuer::Config::default() };
        // A terminal that cannot show it has its name all the same.
        let _ = viuer::print(&DynamicImage::from(image), &config);
        writeln!(stdout().lock(), "{}", folder.join(name).display())?;
    }
    Ok(())
}

/// A round of an earlier session, for a person.
pub(super) fn past(round: &Round) {
    if stdout().is_terminal() {
        let _ = writeln!(stdout().lock(), "you: {}\n{}", printable(&round.user), printable(&round.assistant));
    }
}

/// Without what a terminal would obey: a language model may write anything.
fn printable(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control() || *letter == '\n').collect()
}

/// How to begin, for a person.
pub(super) fn begin(image: &Path) {
    if stdout().is_terminal() {
        eprintln!("Say what is to become of {}. /help lists what else can be done, /quit ends.", image.display());
    }
}

/// Which commands there are.
pub(super) fn help() {
    eprintln!(
        "/like FILE [ALPHA]  the next images are like FILE too, by the share ALPHA (0.5)\n\
         /like               no longer\n\
         /seed N             other noise\n\
         /quit               the end; all rounds are kept"
    );
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_reply_commands_no_terminal() {
        assert_eq!(super::printable("a\u{1b}[2Jb\nc\u{7}\u{9b}31m é"), "a[2Jb\nc31m é");
    }
}
