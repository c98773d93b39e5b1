//! Progress of files that are brought: a bar on a terminal, a line now and then elsewhere.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::format::bytes;

/// Where there is no terminal, a file is spoken of so often.
const PERIOD: Duration = Duration::from_secs(10);

/// A bar that goes away when it is dropped.
pub(crate) struct Transfer {
    bar: ProgressBar,
    name: Mutex<String>,
    said: Mutex<Instant>,
}

/// Shows files that are brought.
pub(crate) fn transfer() -> Transfer {
    // Hidden by itself where stderr is no terminal.
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}") {
        bar.set_style(style);
    }
    Transfer { bar, name: Mutex::default(), said: Mutex::new(Instant::now()) }
}

impl Transfer {
    /// What comes now is of the file `name`; `what` is done with it.
    pub(crate) fn begin(&self, what: &str, name: &str) {
        let text = format!("{what} {name}");
        self.bar.set_message(text.clone());
        self.bar.set_length(0);
        self.bar.set_position(0);
        self.bar.reset_eta();
        *self.name.lock().unwrap_or_else(PoisonError::into_inner) = text;
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// So many bytes are there, of so many.
    pub(crate) fn at(&self, n_bytes: u64, total: Option<u64>) {
        self.bar.set_length(total.unwrap_or(n_bytes));
        self.bar.set_position(n_bytes);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if self.bar.is_hidden() && said.elapsed() >= PERIOD {
            *said = Instant::now();
            let name = self.name.lock().unwrap_or_else(PoisonError::into_inner);
            let of = total.map(|total| format!(" of {}", bytes(total))).unwrap_or_default();
            eprintln!("{name}: {}{of}", bytes(n_bytes));
        }
    }

    /// Says something, above the bar.
    pub(crate) fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
