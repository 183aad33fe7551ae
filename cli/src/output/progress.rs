//! A bar for people at a terminal. Knows counts only.

use crate::ui::Ui;

/// Characters of the bar.
const WIDTH: u64 = 30;

/// Draws a bar when it would look different.
#[derive(Default)]
pub struct Progress {
    shown: String,
}

impl Progress {
    /// Shows how much of `what` is done.
    pub fn show(&mut self, ui: &mut Ui, what: &str, done: u64, all: u64) {
        let full = done.saturating_mul(WIDTH).checked_div(all).unwrap_or(WIDTH);
        let full = usize::try_from(full.min(WIDTH)).unwrap_or_default();
        let bar = format!("{}{}", "#".repeat(full), "-".repeat(WIDTH as usize - full));
        let text = format!("[{bar}] {done}/{all} {what}");
        if text != self.shown {
            ui.status(&text);
            self.shown = text;
        }
    }

    /// Takes the bar away.
    pub fn clear(&mut self, ui: &mut Ui) {
        if !self.shown.is_empty() {
            ui.status("");
            self.shown.clear();
        }
    }
}
