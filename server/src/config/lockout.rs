//! `user_lockout "TYPE"`: when names are locked out whose logins fail, by type of auth method or for `all`.

use std::collections::HashMap;

use conclave_core::auth::LockoutSettings;
use conclave_core::auth::lockout::{ALL, is_tunable};
use conclave_hcl::{Body, Section};

use super::keys;
use super::source::Source;
use crate::error::Error;

/// Reads all stanzas of a file. What a type's stanza leaves out is as in that for `all`.
pub(super) fn read(body: &Body, source: &mut Source<'_>) -> Result<HashMap<String, LockoutSettings>, Error> {
    let sections = body.sections("user_lockout", 1);
    let sections = sections.map_err(|error| source.wrong(error))?;
    let kind = |section: &Section<'_>| {
        let label = section.labels.first();
        label.map_or(String::new(), |label| label.name.to_lowercase())
    };
    let mut read = HashMap::new();
    let mut base = LockoutSettings::default();
    for section in sections.iter().filter(|section| kind(section) == ALL) {
        base = settings(section, source, base)?;
        read.insert(ALL.to_owned(), base);
    }
    for section in sections.iter().filter(|section| kind(section) != ALL) {
        let kind = kind(section);
        if !is_tunable(&kind) {
            let message =
                format!("user_lockout {kind:?}: use \"all\", \"userpass\", \"approle\" or \"ldap\"");
            return Err(source.at(section.pos, message));
        }
        read.insert(kind, settings(section, source, base)?);
    }
    Ok(read)
}

fn settings(
    section: &Section<'_>,
    source: &mut Source<'_>,
    base: LockoutSettings,
) -> Result<LockoutSettings, Error> {
    let body = section.body;
    source.check_keys(body, keys::USER_LOCKOUT)?;
    let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    // The helper for bounds takes 0 for "as usual"; here whoever writes it wants no lockout, and must say so.
    if source.number(body, "lockout_threshold")? == Some(0) {
        let message = "lockout_threshold must not be 0: disable_lockout = true locks nobody out";
        return Err(source.at_key(body, "lockout_threshold", message));
    }
    Ok(LockoutSettings {
        threshold: source.bound(body, "lockout_threshold")?.unwrap_or(base.threshold),
        duration: source
            .duration(body, "lockout_duration")?
            .map_or(base.duration, millis),
        counter_reset: source
            .duration(body, "lockout_counter_reset")?
            .map_or(base.counter_reset, millis),
        disabled: source.flag(body, "disable_lockout")?.unwrap_or(base.disabled),
    })
}
