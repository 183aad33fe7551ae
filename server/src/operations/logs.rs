//! The operational log: lines on standard error, as text or JSON, and for those who follow it. What is logged names no
//! secret and no path of one; this file only gives it its form.

mod follow;
mod voices;

use std::io::IsTerminal;
use std::sync::Arc;

use conclave_core::logs::{Level, Lines, Logs};
use parking_lot::Mutex;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::Error;
use follow::Following;
use voices::Voices;

pub use conclave_core::logs::Format;

/// What lets lines through and can be changed while they come.
type Handle = reload::Handle<Targets, Registry>;

/// The log of this process, to be turned and followed while the server runs.
#[derive(Clone)]
pub struct Log(Arc<Parts>);

struct Parts {
    voices: Mutex<Voices>,
    kept: Handle,
    following: Following,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

impl Log {
    /// The configuration's level is another one: it holds for all voices, whatever each was turned to.
    pub fn configure(&self, level: LevelFilter) -> Result<(), Error> {
        let mut voices = self.0.voices.lock();
        *voices = Voices::new(level);
        self.keep(&voices)
            .map_err(|error| Error::Settings(format!("log level: {error}")))
    }

    /// Ends what is followed: the server stops.
    pub fn end_following(&self) {
        self.0.following.end();
    }

    fn keep(&self, voices: &Voices) -> Result<(), reload::Error> {
        self.0.kept.reload(voices.filter())
    }
}

impl Logs for Log {
    fn levels(&self) -> Vec<(&'static str, Level)> {
        self.0.voices.lock().levels()
    }

    fn set(&self, name: Option<&str>, level: Option<Level>) -> Result<bool, conclave_core::Error> {
        let mut voices = self.0.voices.lock();
        if !voices.set(name, level) {
            return Ok(false);
        }
        self.keep(&voices)
            .map_err(|error| conclave_core::Error::internal(format!("log level: {error}")))?;
        Ok(true)
    }

    fn follow(&self, level: Level, format: Format) -> Result<Lines, conclave_core::Error> {
        self.0.following.begin(level, format)
    }
}

/// Something else that listens to what the process says.
pub type More = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts the log of this process. An error if it has one already.
pub fn start(level: LevelFilter, format: Format, more: Option<More>) -> Result<Log, Error> {
    let voices = Voices::new(level);
    let (filter, kept) = reload::Layer::new(voices.filter());
    // Colours are for eyes: not for files, nor for who asked for none (no-color.org).
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let lines = match format {
        Format::Standard => lines.with_target(false).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let (following, followed) = Following::new();
    let mut layers = vec![lines.with_filter(filter).boxed(), followed];
    layers.extend(more);
    tracing_subscriber::registry()
        .with(layers)
        .try_init()
        .map_err(|error| Error::Settings(format!("log: {error}")))?;
    Ok(Log(Arc::new(Parts {
        voices: Mutex::new(voices),
        kept,
        following,
    })))
}

/// Reads a level as Vault writes it.
pub fn level(text: &str) -> Result<LevelFilter, Error> {
    let text = text.trim().to_ascii_lowercase();
    let level = match text.as_str() {
        "" => Some(Level::Info),
        "off" => Some(Level::Off),
        text => Level::parse(text),
    };
    let level = level.ok_or_else(|| Error::Settings(format!("unknown log level {text:?}")))?;
    Ok(filter_of(level))
}

/// Reads a form as Vault writes it.
pub fn format(text: &str) -> Result<Format, Error> {
    match text.trim().to_ascii_lowercase().as_str() {
        "" | "standard" => Ok(Format::Standard),
        "json" => Ok(Format::Json),
        _ => Err(Error::Settings(format!("unknown log format {text:?}"))),
    }
}

fn filter_of(level: Level) -> LevelFilter {
    match level {
        Level::Trace => LevelFilter::TRACE,
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
        Level::Warn => LevelFilter::WARN,
        Level::Error => LevelFilter::ERROR,
        Level::Off => LevelFilter::OFF,
    }
}
