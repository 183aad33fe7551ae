//! The voices of the log: which parts of the process have a level of their own, and what each is. Knows names and levels,
//! no lines.

use conclave_core::logs::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::filter_of;

/// Names for operators, and what the voice calls itself in events: a crate or a module of one. A module that is not named
/// has the level of the one it lies in.
const VOICES: [(&str, &str); 22] = [
    ("anomaly", "conclave_core::anomaly"),
    ("audit", "conclave_core::audit"),
    ("core", "conclave_core"),
    ("core.autopilot", "conclave_core::autopilot"),
    ("core.ceremony", "conclave_core::ceremony"),
    ("core.divergence", "conclave_core::divergence"),
    ("core.jobs", "conclave_core::jobs"),
    ("core.seal", "conclave_core::seal"),
    ("core.snapshot", "conclave_core::backup"),
    ("expiration", "conclave_core::leases"),
    ("h2", "h2"),
    ("hyper", "hyper"),
    ("openraft", "openraft"),
    ("rocksdb", "rocksdb"),
    ("server", "conclave_server"),
    ("server.http", "conclave_server::http"),
    ("storage.raft", "conclave_raft"),
    ("storage.raft.log", "conclave_raft::log"),
    ("storage.raft.net", "conclave_raft::net"),
    ("storage.raft.state", "conclave_raft::state"),
    ("targets", "conclave_targets"),
    ("tonic", "tonic"),
];

/// Libraries repeat themselves while a peer is away, list their settings at each start and tell each of their ticks: of
/// them only errors are kept, unless everything is asked for or one is turned by its name.
const LIBRARIES: [&str; 5] = ["h2", "hyper", "openraft", "rocksdb", "tonic"];

/// The level of each voice.
pub struct Voices {
    configured: LevelFilter,
    /// Of voices that are not named.
    others: LevelFilter,
    levels: [LevelFilter; VOICES.len()],
}

impl Voices {
    /// All at the configuration's level.
    pub fn new(configured: LevelFilter) -> Self {
        Self {
            configured,
            others: configured,
            levels: VOICES.map(|(name, _)| usual(name, configured)),
        }
    }

    /// Sets one or all; `None` is the configuration's. Whether there is such a voice.
    pub fn set(&mut self, name: Option<&str>, level: Option<Level>) -> bool {
        let level = level.map_or(self.configured, filter_of);
        let Some(name) = name else {
            let configured = self.configured;
            *self = Self::new(level);
            self.configured = configured;
            return true;
        };
        let found = VOICES
            .iter()
            .zip(&mut self.levels)
            .find(|((known, _), _)| *known == name);
        let Some((_, slot)) = found else {
            return false;
        };
        *slot = if level == self.configured {
            usual(name, level)
        } else {
            level
        };
        true
    }

    /// Names and levels.
    pub fn levels(&self) -> Vec<(&'static str, Level)> {
        let levels = VOICES.iter().zip(&self.levels);
        levels
            .map(|((name, _), level)| (*name, level_of(*level)))
            .collect()
    }

    /// What lets their lines through.
    pub fn filter(&self) -> Targets {
        let named = VOICES.iter().zip(&self.levels);
        Targets::new()
            .with_default(self.others)
            .with_targets(named.map(|((_, target), level)| (*target, *level)))
    }
}

/// The level of a voice where all have one.
fn usual(name: &str, level: LevelFilter) -> LevelFilter {
    if LIBRARIES.contains(&name) && level < LevelFilter::TRACE {
        level.min(LevelFilter::ERROR)
    } else {
        level
    }
}

fn level_of(level: LevelFilter) -> Level {
    match level {
        LevelFilter::TRACE => Level::Trace,
        LevelFilter::DEBUG => Level::Debug,
        LevelFilter::INFO => Level::Info,
        LevelFilter::WARN => Level::Warn,
        LevelFilter::ERROR => Level::Error,
        _ => Level::Off,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(voices: &Voices, name: &str) -> &'static str {
        let levels = voices.levels();
        levels.iter().find(|(known, _)| *known == name).unwrap().1.text()
    }

    #[test]
    fn one_voice_is_turned_and_the_others_stay() {
        let mut voices = Voices::new(LevelFilter::INFO);
        assert!(voices.set(Some("core"), Some(Level::Trace)));
        assert_eq!(of(&voices, "core"), "trace");
        assert_eq!(of(&voices, "core.seal"), "info");
        assert_eq!(of(&voices, "openraft"), "error");
        assert!(!voices.set(Some("nosuch"), Some(Level::Trace)));
        let filter = voices.filter();
        assert!(filter.would_enable("conclave_core::tokens", &tracing::Level::TRACE));
        assert!(!filter.would_enable("conclave_core::seal::tend", &tracing::Level::DEBUG));
        assert!(!filter.would_enable("openraft::core", &tracing::Level::WARN));
        assert!(voices.set(Some("core"), None));
        assert_eq!(of(&voices, "core"), "info");
    }

    #[test]
    fn all_are_turned_and_go_back_to_the_configuration() {
        let mut voices = Voices::new(LevelFilter::WARN);
        assert!(voices.set(None, Some(Level::Debug)));
        assert_eq!(of(&voices, "core"), "debug");
        assert_eq!(of(&voices, "openraft"), "error");
        assert!(voices.filter().would_enable("unnamed", &tracing::Level::DEBUG));
        assert!(voices.set(None, Some(Level::Trace)));
        assert_eq!(of(&voices, "openraft"), "trace");
        assert!(voices.set(None, None));
        assert_eq!(of(&voices, "core"), "warn");
        assert_eq!(of(&voices, "openraft"), "error");
        assert!(!voices.filter().would_enable("unnamed", &tracing::Level::INFO));
    }
}
