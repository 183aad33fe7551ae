//! Those who follow the log: each gets the lines of its level in its form, and loses some rather than hold up the process.
//! While nobody follows, no line is made for them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use conclave_core::logs::{Format, Level, Lines};
use futures::Stream;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::Metadata;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use super::filter_of;
use super::voices::Voices;

/// Most followers at once, of all forms.
const MAX_FOLLOWERS: usize = 16;
/// Lines that wait for one follower; what comes then is dropped, and the follower told so.
const MAX_WAITING: usize = 1024;

/// All followers, by form.
#[derive(Clone)]
pub struct Following(Arc<All>);

struct All {
    standard: Audience,
    json: Audience,
    /// Numbers the next follower.
    next: AtomicU64,
}

/// Followers who want lines in one form.
struct Audience {
    followers: Fan,
    /// Lets through what any of them wants.
    wanted: reload::Handle<Targets, Registry>,
}

/// Where lines of one form go.
#[derive(Clone, Default)]
struct Fan(Arc<Mutex<Vec<Follower>>>);

struct Follower {
    number: u64,
    level: LevelFilter,
    lines: mpsc::Sender<Vec<u8>>,
    dropped: u64,
}

impl Following {
    /// Nobody yet, and the layer that makes lines for whoever comes.
    pub fn new() -> (Self, Box<dyn Layer<Registry> + Send + Sync>) {
        let (standard, of_standard) = Audience::new();
        let (json, of_json) = Audience::new();
        let lines = fmt::layer().with_ansi(false).with_target(false);
        let lines = lines
            .with_writer(standard.followers.clone())
            .with_filter(of_standard);
        let objects = fmt::layer().json().flatten_event(true);
        let objects = objects.with_writer(json.followers.clone()).with_filter(of_json);
        (
            Self(Arc::new(All {
                standard,
                json,
                next: AtomicU64::new(0),
            })),
            vec![lines.boxed(), objects.boxed()].boxed(),
        )
    }

    /// See [`conclave_core::logs::Logs::follow`].
    pub fn begin(&self, level: Level, format: Format) -> Result<Lines, conclave_core::Error> {
        if self.0.standard.followers.count() + self.0.json.followers.count() >= MAX_FOLLOWERS {
            let message = format!("the log of this node is followed by {MAX_FOLLOWERS} already");
            return Err(conclave_core::Error::Overloaded(message));
        }
        let audience = self.audience(format);
        let (lines, received) = mpsc::channel(MAX_WAITING);
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        audience.followers.0.lock().push(Follower {
            number,
            level: filter_of(level),
            lines,
            dropped: 0,
        });
        audience.listen();
        Ok(Box::pin(Followed {
            number,
            received,
            format,
            following: self.clone(),
        }))
    }

    /// Ends all streams.
    pub fn end(&self) {
        for audience in [&self.0.standard, &self.0.json] {
            audience.followers.0.lock().clear();
            audience.listen();
        }
    }

    fn audience(&self, format: Format) -> &Audience {
        match format {
            Format::Standard => &self.0.standard,
            Format::Json => &self.0.json,
        }
    }

    fn leave(&self, number: u64, format: Format) {
        let audience = self.audience(format);
        audience
            .followers
            .0
            .lock()
            .retain(|follower| follower.number != number);
        audience.listen();
    }
}

impl Audience {
    fn new() -> (Self, reload::Layer<Targets, Registry>) {
        let (filter, wanted) = reload::Layer::new(Targets::new());
        let followers = Fan::default();
        (Self { followers, wanted }, filter)
    }

    /// Lets through what those want who are here now. A log that is gone needs no filter.
    fn listen(&self) {
        let levels = self
            .followers
            .0
            .lock()
            .iter()
            .map(|follower| follower.level)
            .max();
        let filter = levels.map_or_else(Targets::new, |level| Voices::new(level).filter());
        let _ = self.wanted.reload(filter);
    }
}

impl Fan {
    fn count(&self) -> usize {
        self.0.lock().len()
    }
}

impl<'a> MakeWriter<'a> for Fan {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            fan: self,
            level: LevelFilter::ERROR,
        }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        Line {
            fan: self,
            level: LevelFilter::from_level(*metadata.level()),
        }
    }
}

/// One line on its way to all who want it; it comes in one piece.
struct Line<'a> {
    fan: &'a Fan,
    level: LevelFilter,
}

impl io::Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut followers = self.fan.0.lock();
        for follower in followers
            .iter_mut()
            .filter(|follower| self.level <= follower.level)
        {
            follower.give(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Follower {
    fn give(&mut self, line: &[u8]) {
        let mut text = Vec::new();
        if self.dropped > 0 {
            text = format!("Monitor dropped {} logs during monitor request\n", self.dropped).into_bytes();
        }
        text.extend_from_slice(line);
        match self.lines.try_send(text) {
            Ok(()) => self.dropped = 0,
            Err(_) => self.dropped += 1,
        }
    }
}

/// The lines of one follower, who leaves by dropping them.
struct Followed {
    number: u64,
    received: mpsc::Receiver<Vec<u8>>,
    format: Format,
    following: Following,
}

impl Stream for Followed {
    type Item = Vec<u8>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        self.received.poll_recv(cx)
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.following.leave(self.number, self.format);
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn now(lines: &mut Lines) -> Option<String> {
        let line = lines.next().now_or_never().flatten()?;
        Some(String::from_utf8(line).unwrap())
    }

    #[test]
    fn each_follower_gets_its_level_in_its_form() {
        let (following, layer) = Following::new();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!("nobody is there");
            let mut warnings = following.begin(Level::Warn, Format::Standard).unwrap();
            let mut all = following.begin(Level::Debug, Format::Json).unwrap();
            tracing::debug!(name = 7, "small");
            tracing::warn!("large");
            let line = now(&mut warnings).unwrap();
            assert!(line.contains("WARN") && line.ends_with("large\n"), "{line:?}");
            assert!(now(&mut warnings).is_none());
            let object: serde_json::Value = serde_json::from_str(&now(&mut all).unwrap()).unwrap();
            assert_eq!(
                (&object["level"], &object["message"]),
                (&"DEBUG".into(), &"small".into())
            );
            assert_eq!(object["name"], 7);
            drop(warnings);
            following.end();
            assert!(now(&mut all).unwrap().contains("large"));
            assert_eq!(all.next().now_or_never(), Some(None), "told that it ended");
        });
    }

    #[test]
    fn a_slow_follower_is_told_what_it_lost_and_there_are_not_too_many() {
        let (following, layer) = Following::new();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let mut slow = following.begin(Level::Info, Format::Standard).unwrap();
            for _ in 0..MAX_WAITING + 3 {
                tracing::info!("one");
            }
            assert!(now(&mut slow).unwrap().contains("one"));
            tracing::info!("two");
            let mut last = String::new();
            while let Some(line) = now(&mut slow) {
                last = line;
            }
            assert!(last.starts_with("Monitor dropped 3 logs"), "{last:?}");
            let _others: Vec<_> = (1..MAX_FOLLOWERS)
                .map(|_| following.begin(Level::Info, Format::Json).unwrap())
                .collect();
            assert!(following.begin(Level::Info, Format::Standard).is_err());
            drop(slow);
            assert!(following.begin(Level::Info, Format::Standard).is_ok());
        });
    }
}
