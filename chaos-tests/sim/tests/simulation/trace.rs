//! What happened, line by line. Two runs of one seed must write the same bytes.

use std::fmt::Write;
use std::time::Duration;

#[derive(Default)]
pub struct Trace {
    text: String,
    lines: u64,
    hash: u64,
}

impl Trace {
    pub fn line(&mut self, now: Duration, what: std::fmt::Arguments<'_>) {
        let from = self.text.len();
        writeln!(self.text, "{:>10.3} {what}", now.as_secs_f64()).unwrap();
        for byte in self.text.as_bytes()[from..].iter() {
            // FNV-1a: no secret depends on it.
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.lines += 1;
    }

    /// Something too frequent for a line.
    pub fn mark(&mut self, what: u64) {
        self.hash = (self.hash ^ what).wrapping_mul(0x0000_0100_0000_01b3);
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn lines(&self) -> u64 {
        self.lines
    }

    pub fn text(&self) -> &str {
        &self.text
    }
}
