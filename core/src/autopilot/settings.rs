//! The settings of autopilot: what is stored, what they are when nothing is, and what is refused. It must not know members.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use conclave_engine_api::{Fields, Millis, format_duration};

use crate::catalog::{CONFIG, decode_record};
use crate::error::Error;
use crate::store::Opened;

/// Where they are stored.
pub const SETTINGS: &str = "autopilot";
/// Shortest silence after which a member may count as dead.
const MIN_DEAD: Millis = 60_000;
/// Fewest members that a cluster keeps which removes dead ones by itself.
const MIN_QUORUM: u64 = 3;
/// Most of what is a number: of members, of entries.
const MAX_NUMBER: u64 = i64::MAX.unsigned_abs();

/// What autopilot goes by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Whether dead members are removed.
    pub cleanup_dead_servers: bool,
    /// Silence after which a member is unhealthy.
    pub last_contact_threshold: Millis,
    /// Silence after which it is dead.
    pub dead_server_last_contact_threshold: Millis,
    /// Entries that a healthy member may be behind.
    pub max_trailing_logs: u64,
    /// Voters that are left when dead ones are removed, at least.
    pub min_quorum: u64,
    /// How long a member must be healthy before it votes.
    pub server_stabilization_time: Millis,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cleanup_dead_servers: false,
            last_contact_threshold: 10_000,
            dead_server_last_contact_threshold: 24 * 3_600_000,
            max_trailing_logs: 1000,
            min_quorum: 0,
            server_stabilization_time: 0,
        }
    }
}

impl Settings {
    /// Those of a view.
    pub fn load(opened: &Opened) -> Result<Self, Error> {
        match opened.space(CONFIG).row(SETTINGS)? {
            Some(row) => decode_record(&row.value),
            None => Ok(Self::default()),
        }
    }

    /// The same with what a request names.
    ///
    /// # Errors
    /// [`Error::Invalid`] in the original's words.
    pub fn changed(mut self, fields: &Fields<'_>) -> Result<Self, Error> {
        let number = |name: &str| match fields.int(name)? {
            Some(number) => u64::try_from(number)
                .map(Some)
                .map_err(|_| Error::invalid(format!("{name} must be between 0 and {MAX_NUMBER}"))),
            None => Ok(None),
        };
        let dead = fields.duration("dead_server_last_contact_threshold")?;
        if let Some(dead) = dead.filter(|dead| *dead < MIN_DEAD) {
            return Err(Error::invalid(format!(
                "dead_server_last_contact_threshold should not be set to less than 1m; received: {}",
                dead / 1000
            )));
        }
        replace(
            &mut self.cleanup_dead_servers,
            fields.bool("cleanup_dead_servers")?,
        );
        replace(
            &mut self.last_contact_threshold,
            fields.duration("last_contact_threshold")?,
        );
        replace(&mut self.dead_server_last_contact_threshold, dead);
        replace(&mut self.max_trailing_logs, number("max_trailing_logs")?);
        replace(&mut self.min_quorum, number("min_quorum")?);
        replace(
            &mut self.server_stabilization_time,
            fields.duration("server_stabilization_time")?,
        );
        if self.cleanup_dead_servers && self.min_quorum < MIN_QUORUM {
            return Err(Error::invalid(format!(
                "min_quorum must be set when cleanup_dead_servers is set and it should at least be 3; \
                 cleanup_dead_servers: true, min_quorum: {:#x}",
                self.min_quorum
            )));
        }
        Ok(self)
    }

    /// As they are shown.
    pub fn shown(&self) -> Map<String, Value> {
        let shown = json!({
            "cleanup_dead_servers": self.cleanup_dead_servers,
            "last_contact_threshold": format_duration(self.last_contact_threshold),
            "dead_server_last_contact_threshold": format_duration(self.dead_server_last_contact_threshold),
            "max_trailing_logs": self.max_trailing_logs,
            "min_quorum": self.min_quorum,
            "server_stabilization_time": format_duration(self.server_stabilization_time),
        });
        crate::sys::object(shown)
    }
}

fn replace<T>(value: &mut T, new: Option<T>) {
    if let Some(new) = new {
        *value = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(change: Value) -> Result<Settings, String> {
        let change = change.as_object().unwrap().clone();
        Settings::default()
            .changed(&Fields::new(&change))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_named_stays_and_what_cannot_be_is_refused() {
        let settings =
            changed(json!({"cleanup_dead_servers": true, "min_quorum": 3, "last_contact_threshold": "1m"}));
        let settings = settings.unwrap();
        assert_eq!(settings.last_contact_threshold, 60_000);
        assert_eq!(settings.max_trailing_logs, Settings::default().max_trailing_logs);
        assert_eq!(settings.shown()["dead_server_last_contact_threshold"], "24h0m0s");
        for (change, told) in [
            (json!({"cleanup_dead_servers": true}), "min_quorum: 0x0"),
            (
                json!({"cleanup_dead_servers": true, "min_quorum": 2}),
                "min_quorum: 0x2",
            ),
            (
                json!({"dead_server_last_contact_threshold": "30s"}),
                "received: 30",
            ),
            (
                json!({"max_trailing_logs": -1}),
                "max_trailing_logs must be between",
            ),
            (
                json!({"server_stabilization_time": "zz"}),
                "server_stabilization_time",
            ),
        ] {
            let why = changed(change).unwrap_err();
            assert!(why.contains(told), "{why}");
        }
    }
}
