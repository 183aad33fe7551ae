//! `metadata/<key>`: a key's settings and the list of its versions.

use conclave_engine_api::env::Millis;
use conclave_engine_api::{Error, Fields, Outcome, Reply, Txn};

use super::body::{self, Object};
use super::config::Config;
use super::record::{self, Record};
use super::{custom, view};

/// `GET metadata/<key>`.
pub(super) fn read(txn: &mut Txn<'_>, key: &str) -> Result<Outcome, Error> {
    if key.is_empty() {
        return Err(Error::not_found());
    }
    let record = Record::load(txn, key)?.ok_or_else(Error::not_found)?;
    Ok(Reply::data(view::key(&record)).into())
}

/// `POST metadata/<key>`: changes the settings that are given; makes the key if need be.
pub(super) fn write(txn: &mut Txn<'_>, key: &str, fields: Fields<'_>, now: Millis) -> Result<Outcome, Error> {
    let settings = Settings::parse(fields.unprefixed())?;
    if settings.is_empty() {
        return Ok(Reply::empty().into());
    }
    let custom = match &settings.custom {
        Object::Absent => None,
        Object::Null => Some(Default::default()),
        Object::Map(map) => Some(custom::parse(map)?),
    };
    let config = Config::load(txn)?;
    let mut record = Record::load(txn, key)?.unwrap_or_else(|| Record::new(now));
    settings.check_cas(&config, &record)?;
    record.custom = custom.unwrap_or(record.custom);
    settings.apply(&mut record, now);
    record.store(txn, key)?;
    Ok(settings.reply(&config).into())
}

/// `PATCH metadata/<key>`: as a write, but the key must exist, and custom metadata is merged (RFC 7396).
pub(super) fn patch(txn: &mut Txn<'_>, key: &str, fields: Fields<'_>, now: Millis) -> Result<Outcome, Error> {
    let settings = Settings::parse(fields)?;
    if settings.is_empty() {
        return Ok(Reply::empty().into());
    }
    let config = Config::load(txn)?;
    let mut record = Record::load(txn, key)?.ok_or_else(Error::not_found)?;
    settings.check_cas(&config, &record)?;
    match &settings.custom {
        Object::Absent => {}
        Object::Null => record.custom.clear(),
        Object::Map(map) => custom::patch(&mut record.custom, map)?,
    }
    settings.apply(&mut record, now);
    record.store(txn, key)?;
    Ok(settings.reply(&config).into())
}

/// `DELETE metadata/<key>`: the key is gone with all versions.
pub(super) fn delete(txn: &mut Txn<'_>, key: &str) -> Result<Outcome, Error> {
    if !key.is_empty()
        && let Some(record) = Record::load(txn, key)?
    {
        for (number, version) in &record.versions {
            if !version.destroyed {
                record::remove_data(txn, key, *number)?;
            }
        }
        record::remove(txn, key)?;
    }
    Ok(Reply::empty().into())
}

/// The settings that a request gives.
struct Settings<'a> {
    max_versions: Option<u32>,
    cas_required: Option<bool>,
    metadata_cas_required: Option<bool>,
    delete_version_after: Option<Millis>,
    custom: Object<'a>,
    metadata_cas: Option<i64>,
}

impl<'a> Settings<'a> {
    fn parse(fields: Fields<'a>) -> Result<Self, Error> {
        Ok(Self {
            max_versions: body::max_versions(fields)?,
            cas_required: body::bool(fields, "cas_required")?,
            metadata_cas_required: body::bool(fields, "metadata_cas_required")?,
            delete_version_after: fields.duration("delete_version_after")?.map(|ms| ms - ms % 1000),
            custom: body::object(fields, "custom_metadata")?,
            metadata_cas: body::int(fields, "metadata_cas")?,
        })
    }

    /// Whether there is nothing to change. `metadata_cas` alone changes nothing.
    fn is_empty(&self) -> bool {
        self.max_versions.is_none()
            && self.cas_required.is_none()
            && self.metadata_cas_required.is_none()
            && self.delete_version_after.is_none()
            && matches!(self.custom, Object::Absent)
    }

    fn check_cas(&self, config: &Config, record: &Record) -> Result<(), Error> {
        match self.metadata_cas {
            Some(cas) if u64::try_from(cas) == Ok(record.metadata_version) => Ok(()),
            Some(_) => Err(Error::invalid(
                "metadata check-and-set parameter does not match the current version",
            )),
            None if config.metadata_cas_required || record.metadata_cas_required => Err(Error::invalid(
                "metadata check-and-set parameter required for this call",
            )),
            None => Ok(()),
        }
    }

    /// Sets what is given, but for custom metadata.
    fn apply(&self, record: &mut Record, now: Millis) {
        record.max_versions = self.max_versions.unwrap_or(record.max_versions);
        record.cas_required = self.cas_required.unwrap_or(record.cas_required);
        record.metadata_cas_required = self.metadata_cas_required.unwrap_or(record.metadata_cas_required);
        record.delete_version_after = self.delete_version_after.unwrap_or(record.delete_version_after);
        record.metadata_version = record.metadata_version.saturating_add(1);
        record.updated = now;
    }

    /// Done, with warnings where the mount's settings overrule the key's.
    fn reply(&self, config: &Config) -> Reply {
        let mut reply = Reply::empty();
        let overruled = [
            ("cas_required", self.cas_required, config.cas_required),
            (
                "metadata_cas_required",
                self.metadata_cas_required,
                config.metadata_cas_required,
            ),
        ];
        for (name, given, mandated) in overruled {
            if given == Some(false) && mandated {
                reply = reply.warn(format!(
                    "\"{name}\" set to false, but is mandated by backend config. This value will be ignored."
                ));
            }
        }
        reply
    }
}
