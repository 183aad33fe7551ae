//! `sys/anomaly/rules` and `sys/anomaly/config`: what is unusual.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use conclave_anomaly::{Kind, Severity, Zone};

use crate::anomaly::{CONFIGURED, ConfigRecord, RULES, Response, RuleRecord};
use crate::canon::CanonPath;
use crate::catalog::{decode_record, encode_record};
use crate::error::Error;
use crate::routes::{Answer, Call};
use crate::sys::object;

/// Most namespaces, mounts or groups of a rule.
const MAX_SCOPE: usize = 100;
/// What rules have in common.
const NAMED: [&str; 9] = [
    "enabled",
    "severity",
    "response",
    "limit_rate",
    "limit_ttl",
    "hours",
    "namespaces",
    "mounts",
    "groups",
];
/// Bounds of the window in minutes.
const WINDOW: std::ops::RangeInclusive<u64> = 2..=60;
/// Bounds of learning in days.
const LEARNING: std::ops::RangeInclusive<u64> = 1..=90;
/// Bounds of how many requests a second pass of who is held back.
const LIMIT_RATE: std::ops::RangeInclusive<f64> = 0.01..=10_000.0;
/// Bounds of how long somebody is held back, in milliseconds: a minute to 30 days.
const LIMIT_TTL: std::ops::RangeInclusive<u64> = 60_000..=30 * 24 * 3_600_000;

/// `GET sys/anomaly/config`.
pub fn config(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let config = &call.work.catalog.watched.config;
    Ok(Answer::data(object(json!({
        "enabled": config.enabled,
        "window_minutes": config.window_minutes,
        "learning_days": config.learning_days,
        "time_zone": config.time_zone,
    }))))
}

/// Changes what holds for all rules; what is not named stays.
pub fn change_config(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let fields = call.fields();
    let mut config = match call.work.config.get(CONFIGURED)? {
        Some(row) => decode_record(&row.value)?,
        None => ConfigRecord::default(),
    };
    config.enabled = fields.bool("enabled")?.unwrap_or(config.enabled);
    for (name, slot, bounds) in [
        ("window_minutes", &mut config.window_minutes, WINDOW),
        ("learning_days", &mut config.learning_days, LEARNING),
    ] {
        if let Some(value) = fields.count(name)? {
            if !bounds.contains(&value) {
                let (from, to) = bounds.into_inner();
                return Err(Error::invalid(format!("{name} must be between {from} and {to}")));
            }
            *slot = value;
        }
    }
    if let Some(zone) = fields.string("time_zone")? {
        let zone = Zone::parse(&zone).map_err(|error| Error::invalid(error.to_string()))?;
        config.time_zone = zone.as_str().to_owned();
    }
    call.work.config.put(CONFIGURED, encode_record(&config)?)?;
    Ok(Answer::empty())
}

/// `LIST sys/anomaly/rules`.
pub fn rules(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let watched = &call.work.catalog.watched;
    let infos: Map<String, Value> = Kind::ALL
        .into_iter()
        .map(|kind| {
            let record = watched.record(kind);
            let info = json!({
                "about": kind.about(),
                "enabled": record.enabled,
                "severity": record.severity,
                "response": record.response,
            });
            (kind.name().to_owned(), info)
        })
        .collect();
    Ok(Answer::data(object(json!({"keys": names(), "key_info": infos}))))
}

/// `GET sys/anomaly/rules/:name`.
pub fn rule(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let kind = kind_of(call)?;
    let record = call.work.catalog.watched.record(kind);
    Ok(Answer::data(describe(kind, &record)))
}

fn describe(kind: Kind, record: &RuleRecord) -> Map<String, Value> {
    let params: Map<String, Value> = kind
        .params()
        .iter()
        .map(|param| {
            let value = record.params.get(param.name).copied().unwrap_or(param.usual);
            let (min, max) = param.bounds;
            let told = json!({
                "value": value, "default": param.usual, "min": min, "max": max, "help": param.help,
            });
            (param.name.to_owned(), told)
        })
        .collect();
    object(json!({
        "name": kind.name(),
        "about": kind.about(),
        "enabled": record.enabled,
        "severity": record.severity,
        "response": record.response,
        "limit_rate": record.limit.rate,
        "limit_ttl": record.limit.ttl / 1000,
        "namespaces": record.namespaces.keys().collect::<Vec<_>>(),
        "mounts": record.mounts.keys().collect::<Vec<_>>(),
        "groups": record.groups,
        "hours": record.hours,
        "params": params,
    }))
}

/// Changes a rule; what is not named stays.
pub fn change_rule(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let kind = kind_of(call)?;
    let row = row_of(kind);
    let mut record = match call.work.config.get(&row)? {
        Some(row) => decode_record(&row.value)?,
        None => RuleRecord::usual(kind),
    };
    let fields = call.fields();
    record.enabled = fields.bool("enabled")?.unwrap_or(record.enabled);
    if let Some(severity) = fields.string("severity")? {
        if Severity::parse(&severity).is_none() {
            return Err(Error::invalid("severity must be low, medium, high or critical"));
        }
        record.severity = severity;
    }
    if let Some(response) = fields.string("response")? {
        record.response = response_of(&response)?;
    }
    limit(call, &mut record)?;
    if let Some(hours) = fields.string("hours")? {
        if kind != Kind::OffHoursAccess && !hours.is_empty() {
            return Err(Error::invalid("hours are those of off_hours_access alone"));
        }
        record.hours = hours.trim().to_owned();
    }
    scope(call, &mut record)?;
    set_params(kind, &mut record, call.data)?;
    // What does not make a rule is refused before it is stored.
    record.rule(kind)?;
    call.work.config.put(&row, encode_record(&record)?)?;
    Ok(Answer::empty())
}

/// Everything that is none of the names above is a parameter.
fn set_params(kind: Kind, record: &mut RuleRecord, data: &Map<String, Value>) -> Result<(), Error> {
    for (name, value) in data.iter().filter(|(name, _)| !NAMED.contains(&name.as_str())) {
        let number = match value {
            Value::Number(number) => number.as_f64(),
            // The command line knows texts only.
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        if kind.params().iter().all(|param| param.name != name) {
            let known: Vec<_> = kind
                .params()
                .iter()
                .map(|param| param.name)
                .chain(NAMED)
                .collect();
            let known = known.join(", ");
            return Err(Error::invalid(format!(
                "{} has no {name:?}; it has: {known}",
                kind.name()
            )));
        }
        let number = number.ok_or_else(|| Error::invalid(format!("{name:?} is no number")))?;
        record.params.insert(name.clone(), number);
    }
    Ok(())
}

fn response_of(name: &str) -> Result<Response, Error> {
    match name {
        "alert" => Ok(Response::Alert),
        "revoke_token" => Ok(Response::RevokeToken),
        "lock_identity" => Ok(Response::LockIdentity),
        "rate_limit" => Ok(Response::RateLimit),
        "require_mfa" => Ok(Response::RequireMfa),
        _ => Err(Error::invalid(
            "response must be alert, rate_limit, require_mfa, revoke_token or lock_identity",
        )),
    }
}

/// How far and for how long the response `rate_limit` holds back.
fn limit(call: &Call<'_, '_>, record: &mut RuleRecord) -> Result<(), Error> {
    let fields = call.fields();
    if let Some(text) = fields.string("limit_rate")? {
        let rate = text.parse().ok().filter(|rate| LIMIT_RATE.contains(rate));
        record.limit.rate = rate
            .ok_or_else(|| Error::invalid("limit_rate must be between 0.01 and 10000 requests a second"))?;
    }
    if let Some(ttl) = fields.duration("limit_ttl")? {
        if !LIMIT_TTL.contains(&ttl) {
            return Err(Error::invalid("limit_ttl must be between a minute and 30 days"));
        }
        record.limit.ttl = ttl;
    }
    Ok(())
}

fn scope(call: &mut Call<'_, '_>, record: &mut RuleRecord) -> Result<(), Error> {
    let fields = call.fields();
    let tree = call.work.catalog.tree();
    if let Some(paths) = fields.strings("namespaces")? {
        let mut namespaces = BTreeMap::new();
        for path in few("namespaces", paths)? {
            let shown = path.trim_matches('/').to_owned();
            let wanted = if shown.is_empty() {
                shown
            } else {
                format!("{shown}/")
            };
            let all = tree.beneath(call.work.namespace());
            let own = tree.node(call.work.namespace());
            let found = own.into_iter().chain(all).find(|node| node.record.path == wanted);
            let found = found.ok_or_else(|| Error::invalid(format!("there is no namespace {path:?}")))?;
            namespaces.insert(wanted, found.record.number);
        }
        record.namespaces = namespaces;
    }
    if let Some(paths) = fields.strings("mounts")? {
        let mut mounts = BTreeMap::new();
        for path in few("mounts", paths)? {
            let no_mount = || Error::invalid(format!("there is no mount {path:?}"));
            let canon = CanonPath::parse(&path.replace('%', "%25")).map_err(|_| no_mount())?;
            let directory = canon.as_directory();
            let routed = call.work.catalog.route(&directory).ok_or_else(no_mount)?;
            if routed.mount.full_path() != directory.as_str() {
                return Err(no_mount());
            }
            mounts.insert(routed.mount.full_path(), routed.mount.id);
        }
        record.mounts = mounts;
    }
    if let Some(groups) = fields.strings("groups")? {
        record.groups = few("groups", groups)?;
    }
    Ok(())
}

fn few(name: &str, texts: Vec<String>) -> Result<Vec<String>, Error> {
    match texts.len() > MAX_SCOPE || texts.iter().any(|text| text.len() > super::MAX_TEXT) {
        true => Err(Error::invalid(format!("{name} are too many or too long"))),
        false => Ok(texts),
    }
}

/// Makes a rule what it is from the start.
pub fn reset_rule(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let row = row_of(kind_of(call)?);
    if call.work.config.get(&row)?.is_some() {
        call.work.config.delete(&row)?;
    }
    Ok(Answer::empty())
}

fn kind_of(call: &Call<'_, '_>) -> Result<Kind, Error> {
    let name = call.params.get("name");
    let known = || names().join(", ");
    Kind::parse(name)
        .ok_or_else(|| Error::Missing(format!("there is no rule {name:?}; there are: {}", known())))
}

fn names() -> [&'static str; Kind::ALL.len()] {
    Kind::ALL.map(Kind::name)
}

fn row_of(kind: Kind) -> String {
    format!("{RULES}{}", kind.name())
}
