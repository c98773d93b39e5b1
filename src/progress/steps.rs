//! Progress of one piece of work in steps: a bar on a terminal, nothing elsewhere.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that goes away when it is dropped.
pub(crate) struct Steps {
    bar: ProgressBar,
}

/// Shows the work `name`.
pub(crate) fn steps(name: &str) -> Steps {
    // Hidden by itself where stderr is no terminal.
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {per_sec} {eta}") {
        bar.set_style(style);
    }
    bar.set_message(name.to_owned());
    Steps { bar }
}

impl Steps {
    /// So many are done, of so many.
    pub(crate) fn at(&self, n_done: usize, n_steps: usize) {
        self.bar.set_length(n_steps as u64);
        self.bar.set_position(n_done as u64);
    }

    /// What stands beside the bar.
    pub(crate) fn say(&self, text: String) {
        self.bar.set_message(text);
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
