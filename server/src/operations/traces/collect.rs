//! Takes spans when they end. What a span says is chosen here, by name: numbers, and words of closed sets. What anybody else puts
//! into a span stays where it is.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::super::trace_context::random;

/// What spans may say.
const SAID: [&str; 7] = [
    "index",
    "method",
    "mount_type",
    "operation",
    "status",
    "term",
    "transport",
];
/// Longest word.
const MAX_WORD: usize = 64;

/// A span that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// Its trace.
    pub trace: u128,
    /// Itself.
    pub span: u64,
    /// The one it is part of; 0 for none.
    pub parent: u64,
    /// Whether it is how the request came in.
    pub is_entry: bool,
    /// What was done.
    pub name: &'static str,
    /// When it began, in nanoseconds since 1970.
    pub began: u64,
    /// When it ended.
    pub ended: u64,
    /// What it says.
    pub said: Vec<(&'static str, Word)>,
}

/// One thing a span says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// A number.
    Number(i64),
    /// A word of a closed set.
    Text(String),
}

/// Takes spans.
pub struct Collect {
    sender: mpsc::Sender<Ended>,
    /// The wall clock at a moment of the steady one: spans are placed by the steady one.
    anchor: (u64, Instant),
}

impl Collect {
    /// Hands them to `sender`; never waits.
    pub fn new(sender: mpsc::Sender<Ended>) -> Self {
        // Collectors place spans of many processes by the wall clock; nothing here decides by it.
        #[allow(clippy::disallowed_methods)]
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self {
            sender,
            anchor: (nanos(since), Instant::now()),
        }
    }

    fn now(&self) -> u64 {
        let (wall, steady) = self.anchor;
        wall.saturating_add(nanos(steady.elapsed()))
    }
}

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for Collect {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut seen = Seen::default();
        attributes.record(&mut seen);
        let Some(span) = context.span(id) else { return };
        let above = span.parent().and_then(|parent| {
            let extensions = parent.extensions();
            extensions.get::<Ended>().map(|ended| (ended.trace, ended.span))
        });
        // What belongs to no request that is traced is not.
        let (trace, own, parent) = match (seen.trace, above) {
            (0, None) => return,
            (0, Some((trace, parent))) => (trace, (random() as u64).max(1), parent),
            (trace, _) => (trace, seen.span, seen.parent),
        };
        let now = self.now();
        span.extensions_mut().insert(Ended {
            trace,
            span: own,
            parent,
            is_entry: seen.trace != 0,
            name: span.name(),
            began: now.saturating_sub(seen.took),
            ended: now,
            said: seen.said,
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        if let Some(ended) = extensions.get_mut::<Ended>() {
            let mut seen = Seen::default();
            values.record(&mut seen);
            for (name, word) in seen.said {
                ended.said.retain(|(known, _)| *known != name);
                ended.said.push((name, word));
            }
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let taken = context
            .span(&id)
            .and_then(|span| span.extensions_mut().remove::<Ended>());
        if let Some(mut ended) = taken {
            ended.ended = self.now();
            // A full queue loses spans, never a request.
            let _ = self.sender.try_send(ended);
        }
    }
}

/// What a span was given.
#[derive(Default)]
struct Seen {
    trace: u128,
    span: u64,
    parent: u64,
    /// For how long what it tells of went on before it was told, in nanoseconds.
    took: u64,
    said: Vec<(&'static str, Word)>,
}

impl Seen {
    fn say(&mut self, field: &Field, word: Word) {
        if SAID.contains(&field.name()) {
            self.said.push((field.name(), word));
        }
    }
}

impl Visit for Seen {
    fn record_u128(&mut self, field: &Field, value: u128) {
        if field.name() == "trace_id" {
            self.trace = value;
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "span_id" => self.span = value,
            "parent_id" => self.parent = value,
            "took_nanos" => self.took = value,
            _ => self.say(field, Word::Number(i64::try_from(value).unwrap_or(i64::MAX))),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if value.len() <= MAX_WORD {
            self.say(field, Word::Text(value.to_owned()));
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// As they fit.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
