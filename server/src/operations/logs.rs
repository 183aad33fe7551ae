//! The operational log: lines on standard error, as text or JSON. What is logged names no secret and no path of one; this
//! file only gives it its form.

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::Error;

/// Form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Standard,
    /// One JSON object a line.
    Json,
}

/// Changes the level while the server runs.
#[derive(Clone)]
pub struct Level(reload::Handle<LevelFilter, Registry>);

impl Level {
    /// From now on, lines of `level` and graver ones.
    pub fn set(&self, level: LevelFilter) -> Result<(), Error> {
        self.0
            .reload(level)
            .map_err(|error| Error::Settings(format!("log level: {error}")))
    }
}

/// Starts the log of this process. An error if it has one already.
pub fn start(level: LevelFilter, format: Format) -> Result<Level, Error> {
    let (filter, handle) = reload::Layer::new(level);
    // Colours are for eyes: not for files, nor for who asked for none (no-color.org).
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let lines = match format {
        Format::Standard => lines.with_target(false).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines.with_filter(own_voices(level)))
        .try_init()
        .map_err(|error| Error::Settings(format!("log: {error}")))?;
    Ok(Level(handle))
}

/// Libraries repeat themselves while a peer is away and list their settings at each start: of them only errors are
/// kept, unless more is asked for than usual.
fn own_voices(level: LevelFilter) -> Targets {
    let libraries = if level > LevelFilter::INFO {
        level
    } else {
        LevelFilter::ERROR
    };
    Targets::new()
        .with_default(LevelFilter::TRACE)
        .with_target("openraft", libraries)
        .with_target("rocksdb", libraries)
        .with_target("tonic", libraries)
        .with_target("h2", libraries)
        .with_target("hyper", libraries)
}

/// Reads a level as Vault writes it.
pub fn level(text: &str) -> Result<LevelFilter, Error> {
    Ok(match text.trim().to_ascii_lowercase().as_str() {
        "trace" => LevelFilter::TRACE,
        "debug" => LevelFilter::DEBUG,
        "" | "info" | "notice" => LevelFilter::INFO,
        "warn" | "warning" => LevelFilter::WARN,
        "err" | "error" => LevelFilter::ERROR,
        "off" => LevelFilter::OFF,
        _ => return Err(Error::Settings(format!("unknown log level {text:?}"))),
    })
}

/// Reads a form as Vault writes it.
pub fn format(text: &str) -> Result<Format, Error> {
    match text.trim().to_ascii_lowercase().as_str() {
        "" | "standard" => Ok(Format::Standard),
        "json" => Ok(Format::Json),
        _ => Err(Error::Settings(format!("unknown log format {text:?}"))),
    }
}
