//! The run as one page: faults against calls, client by client, and how long answers took. Nothing in it is loaded from anywhere.

use std::fmt::Write as _;
use std::time::Duration;

use super::clients::{CLIENTS, Fate, Stroke};
use super::report::{Report, Span};

/// Columns of the picture; each stands for an equal part of the run.
const COLUMNS: usize = 2400;
const DRAW: &str = include_str!("page.js");

/// One run, over all its clusters.
pub struct Told<'r> {
    pub report: &'r Report,
    pub length: Duration,
    /// How it ended, in a line.
    pub verdict: &'r str,
    /// The command that repeats it.
    pub again: &'r str,
    pub commit: &'r str,
}

impl Told<'_> {
    /// The page.
    pub fn page(&self) -> String {
        let mut page = String::from(
            "<!doctype html><meta charset=utf-8><title>Chaos</title><style>body{font:14px sans-serif;margin:2em}\
             canvas{display:block;margin:.5em 0}td,th{padding:.1em 1em .1em 0;text-align:left}</style><h1>Chaos</h1>",
        );
        let report = self.report;
        let _ = write!(
            page,
            "<p><b>{}</b></p><p>{} operations checked in {:.1} minutes, commit {}. Again: <code>{}</code></p>",
            escaped(self.verdict),
            report.operations(),
            self.length.as_secs_f64() / 60.0,
            escaped(self.commit),
            escaped(self.again)
        );
        page.push_str(
            "<p>One row a client. Green: answered, the darker the slower (a second and more is darkest). Orange: certainly not \
             done. Red: nobody knows. Grey bands: faults; their names stand when pointed at. Below: the slowest answer of each \
             moment, up to five seconds.</p><canvas id=c></canvas><div id=n></div>",
        );
        page.push_str("<table><tr><th>Fault<th>Times</tr>");
        for (name, times) in report.faults() {
            let _ = write!(page, "<tr><td>{name}<td>{times}</tr>");
        }
        page.push_str("</table><script>");
        let _ = write!(
            page,
            "const columns={COLUMNS},clients={CLIENTS},length={},faults={},calls={};{DRAW}</script>",
            self.length.as_millis().max(1),
            spans(&report.spans),
            self.strokes()
        );
        page
    }

    /// By client and column: 0 nothing, 1 to 9 answered within so many ninths of a second, 10 refused, 11 unknown; then a row
    /// of the slowest answers in milliseconds.
    fn strokes(&self) -> String {
        let mut rows = vec![vec![0_u64; COLUMNS]; CLIENTS + 1];
        let column = |at: Duration| {
            let part = at.as_secs_f64() / self.length.as_secs_f64().max(0.001);
            ((part * COLUMNS as f64) as usize).min(COLUMNS - 1)
        };
        for stroke in &self.report.strokes {
            let shade = shade(stroke);
            let cells = &mut rows[stroke.client][column(stroke.from)..=column(stroke.from + stroke.took)];
            for cell in cells {
                *cell = shade.max(*cell);
            }
            if stroke.fate == Fate::Answered {
                let slowest = &mut rows[CLIENTS][column(stroke.from + stroke.took)];
                *slowest = u64::try_from(stroke.took.as_millis())
                    .unwrap_or(u64::MAX)
                    .max(*slowest);
            }
        }
        format!("{rows:?}").replace(' ', "")
    }
}

fn shade(stroke: &Stroke) -> u64 {
    match stroke.fate {
        Fate::Answered => 1 + (u64::try_from(stroke.took.as_millis()).unwrap_or(u64::MAX) * 9 / 1000).min(8),
        Fate::Refused => 10,
        Fate::Unknown => 11,
    }
}

fn spans(spans: &[Span]) -> String {
    let each = spans.iter().map(|span| {
        format!(
            "[{:?},{},{}]",
            span.name,
            span.from.as_millis(),
            span.to.as_millis()
        )
    });
    format!("[{}]", each.collect::<Vec<_>>().join(","))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
