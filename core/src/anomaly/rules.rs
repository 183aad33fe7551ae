//! What operators set: rules, canaries and what is muted, as stored and ready to be asked. A part of the catalog, so every
//! node goes by what its view holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use conclave_anomaly::{Hours, Kind, Rule, RuleSet, Severity, Zone};
use conclave_engine_api::{Millis, Page};

use crate::anomaly::holds::Holds;
use crate::anomaly::hooks::{HOOKS, HookRecord};
use crate::anomaly::limits::Limits;
use crate::catalog::{CONFIG, decode_record};
use crate::error::Error;
use crate::store::Opened;

/// Where rules are stored that are not as they are from the start, by name.
pub const RULES: &str = "anomaly/rule/";
/// Where canaries are stored, by a hash of their path.
pub const CANARIES: &str = "anomaly/canary/";
/// Where it is stored what is muted, by name.
pub const MUTES: &str = "anomaly/mute/";
/// Where it is stored what holds for all rules.
pub const CONFIGURED: &str = "anomaly/config";

/// What is done about a finding, beside telling of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// Nothing.
    #[default]
    Alert,
    /// The token of the last request is revoked.
    RevokeToken,
    /// The identity's entity is disabled: none of its tokens is good for anything.
    LockIdentity,
    /// The identity, or the token if no entity stands behind it, is held back to so many requests a second for a time.
    RateLimit,
    /// The identity's tokens are refused until it has logged in with a second factor; without one it is locked.
    RequireMfa,
}

impl Response {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::RevokeToken => "revoke_token",
            Self::LockIdentity => "lock_identity",
            Self::RateLimit => "rate_limit",
            Self::RequireMfa => "require_mfa",
        }
    }
}

/// How far and for how long a rule whose response it is holds somebody back.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// Requests in a second that pass.
    pub rate: f64,
    /// For how long, in milliseconds.
    pub ttl: Millis,
}

impl Default for Limit {
    /// Enough to work by hand, for an hour.
    fn default() -> Self {
        Self {
            rate: 5.0,
            ttl: 3_600_000,
        }
    }
}

/// A rule as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RuleRecord {
    /// Whether it finds anything.
    pub enabled: bool,
    /// How bad what it finds is.
    pub severity: String,
    /// Parameters that are not as they are from the start.
    pub params: BTreeMap<String, f64>,
    /// Numbers of namespaces it holds in, by path; empty for all.
    pub namespaces: BTreeMap<String, u32>,
    /// Numbers of mounts it holds at, by path; empty for all.
    pub mounts: BTreeMap<String, u32>,
    /// Ids of groups whose members it is about; empty for everybody.
    pub groups: Vec<String>,
    /// Working hours; empty to learn them.
    pub hours: String,
    /// What is done.
    pub response: Response,
    /// If somebody is held back: how far, and for how long.
    #[serde(default)]
    pub limit: Limit,
}

impl RuleRecord {
    /// A rule as it is from the start.
    pub fn usual(kind: Kind) -> Self {
        Self {
            enabled: true,
            severity: kind.severity().name().to_owned(),
            params: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            mounts: BTreeMap::new(),
            groups: Vec::new(),
            hours: String::new(),
            response: Response::Alert,
            limit: Limit::default(),
        }
    }

    /// The rule it describes.
    ///
    /// # Errors
    /// What is wrong with it, in words for who wrote it.
    pub fn rule(&self, kind: Kind) -> Result<Rule, Error> {
        let invalid = |error: conclave_anomaly::Error| Error::invalid(error.to_string());
        let mut rule = Rule::usual(kind);
        rule.enabled = self.enabled;
        rule.severity = Severity::parse(&self.severity)
            .ok_or_else(|| Error::invalid("severity must be low, medium, high or critical"))?;
        for (name, value) in &self.params {
            rule.set(name, *value).map_err(invalid)?;
        }
        rule.scope.namespaces = self.namespaces.values().copied().collect();
        rule.scope.mounts = self.mounts.values().copied().collect();
        if !self.hours.is_empty() {
            rule.hours = Some(Hours::parse(&self.hours).map_err(invalid)?);
        }
        Ok(rule)
    }
}

/// A canary as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryRecord {
    /// Its path from the root namespace, as it was given.
    pub path: String,
    /// Number of the namespace.
    pub namespace: u32,
    /// The path in it that requests ask for; with a `*` for all that begin so.
    pub asked: String,
    /// Whether the token of who reads it is revoked.
    pub revoke: bool,
    /// What it is for.
    pub note: String,
}

/// What nobody wants to hear of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MuteRecord {
    /// Its name.
    pub name: String,
    /// The rule; empty for all of them.
    pub rule: String,
    /// What the subject's name begins with; empty for all of them.
    pub subject: String,
    /// Until when.
    pub until: Millis,
    /// Why.
    pub note: String,
}

/// What holds for all rules, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigRecord {
    /// Whether anything is watched.
    pub enabled: bool,
    /// Minutes in which things are counted together.
    pub window_minutes: u64,
    /// Days of learning.
    pub learning_days: u64,
    /// Where working hours are.
    pub time_zone: String,
}

impl Default for ConfigRecord {
    fn default() -> Self {
        let usual = conclave_anomaly::Settings::default();
        Self {
            enabled: true,
            window_minutes: usual.window_minutes,
            learning_days: usual.learning_days,
            time_zone: usual.zone.as_str().to_owned(),
        }
    }
}

/// All of it, ready to be asked.
#[derive(Debug, Default)]
pub struct Watched {
    /// What holds for all rules.
    pub config: ConfigRecord,
    /// The rules.
    pub rules: Arc<RuleSet>,
    /// The same as they were written.
    pub records: BTreeMap<Kind, RuleRecord>,
    /// What nobody wants to hear of.
    pub mutes: Vec<MuteRecord>,
    /// Who is told of events.
    pub hooks: Vec<Arc<HookRecord>>,
    /// Who is held back.
    pub limits: Limits,
    /// Who must show a second factor.
    pub holds: Holds,
    /// By namespace: paths.
    exact: HashMap<u32, HashMap<String, bool>>,
    /// Namespace, and what paths begin with.
    beginnings: Vec<(u32, String, bool)>,
}

impl Watched {
    /// Reads those of a view.
    pub fn load(opened: &Opened) -> Result<Self, Error> {
        let config = opened.space(CONFIG);
        let mut watched = Self::default();
        if let Some(row) = config.row(CONFIGURED)? {
            watched.config = decode_record(&row.value)?;
        }
        let mut rules = RuleSet::default();
        rules.settings.window_minutes = watched.config.window_minutes;
        rules.settings.learning_days = watched.config.learning_days;
        rules.settings.zone = Zone::parse(&watched.config.time_zone).unwrap_or_default();
        for name in config.names(RULES, &Page::default())? {
            // A rule that only a later version knows is left alone.
            let (Some(kind), Some(row)) = (Kind::parse(&name), config.row(&format!("{RULES}{name}"))?) else {
                continue;
            };
            let record: RuleRecord = decode_record(&row.value)?;
            if let Ok(rule) = record.rule(kind) {
                rules.replace(rule);
            }
            watched.records.insert(kind, record);
        }
        watched.rules = Arc::new(rules);
        for name in config.names(CANARIES, &Page::default())? {
            if let Some(row) = config.row(&format!("{CANARIES}{name}"))? {
                watched.add_canary(decode_record(&row.value)?);
            }
        }
        for name in config.names(HOOKS, &Page::default())? {
            if let Some(row) = config.row(&format!("{HOOKS}{name}"))? {
                watched.hooks.push(Arc::new(decode_record(&row.value)?));
            }
        }
        watched.limits = Limits::load(opened)?;
        watched.holds = Holds::load(opened)?;
        for name in config.names(MUTES, &Page::default())? {
            if let Some(row) = config.row(&format!("{MUTES}{name}"))? {
                watched.mutes.push(decode_record(&row.value)?);
            }
        }
        Ok(watched)
    }

    fn add_canary(&mut self, canary: CanaryRecord) {
        match canary.asked.strip_suffix('*') {
            Some(beginning) => {
                self.beginnings
                    .push((canary.namespace, beginning.to_owned(), canary.revoke));
            }
            None => {
                let of_namespace = self.exact.entry(canary.namespace).or_default();
                of_namespace.insert(canary.asked, canary.revoke);
            }
        }
    }

    /// Whether a path is a canary's, and if so whether who reads it loses the token.
    pub fn canary(&self, namespace: u32, path: &str) -> Option<bool> {
        let exact = self
            .exact
            .get(&namespace)
            .and_then(|paths| paths.get(path).copied());
        exact.or_else(|| {
            let begins = |(number, beginning, _): &&(u32, String, bool)| {
                *number == namespace && path.starts_with(beginning.as_str())
            };
            self.beginnings.iter().find(begins).map(|(_, _, revoke)| *revoke)
        })
    }

    /// A rule as it was written, or as it is from the start.
    pub fn record(&self, kind: Kind) -> RuleRecord {
        let written = self.records.get(&kind).cloned();
        written.unwrap_or_else(|| RuleRecord::usual(kind))
    }

    /// Whether nobody wants to hear of this now.
    pub fn mutes(&self, rule: &str, subject: &str, now: Millis) -> bool {
        self.mutes.iter().any(|mute| {
            now < mute.until
                && (mute.rule.is_empty() || mute.rule == rule)
                && subject.starts_with(mute.subject.as_str())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canaries_are_found_by_path_and_by_what_paths_begin_with() {
        let mut watched = Watched::default();
        for (namespace, asked, revoke) in [(0, "secret/data/honey", true), (2, "secret/data/trap/*", false)] {
            watched.add_canary(CanaryRecord {
                path: asked.to_owned(),
                namespace,
                asked: asked.to_owned(),
                revoke,
                note: String::new(),
            });
        }
        assert_eq!(watched.canary(0, "secret/data/honey"), Some(true));
        assert_eq!(watched.canary(2, "secret/data/trap/a"), Some(false));
        for (namespace, path) in [
            (0, "secret/data/honey2"),
            (1, "secret/data/honey"),
            (0, "secret/data/trap/a"),
        ] {
            assert_eq!(watched.canary(namespace, path), None, "{namespace} {path}");
        }
    }

    #[test]
    fn mutes_end() {
        let watched = Watched {
            mutes: vec![MuteRecord {
                name: "ci".to_owned(),
                rule: "bulk_read".to_owned(),
                subject: "approle-ci".to_owned(),
                until: 100,
                note: String::new(),
            }],
            ..Watched::default()
        };
        assert!(watched.mutes("bulk_read", "approle-ci (entity 1)", 99));
        assert!(!watched.mutes("bulk_read", "approle-ci (entity 1)", 100));
        assert!(!watched.mutes("bulk_read", "userpass-ada", 99));
        assert!(!watched.mutes("canary_read", "approle-ci", 99));
    }
}
