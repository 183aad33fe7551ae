//! Settings of a whole mount, and what they and a key's own settings add up to.

use conclave_engine_api::env::Millis;
use conclave_engine_api::{Error, Fields, Outcome, Reply, Txn, format_duration};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::body;
use super::record::Record;
use crate::record;

/// Where the settings lie.
const ROW: &str = "config";

/// Format number of their row.
const FORMAT: u8 = 1;

/// Versions kept of a key when neither mount nor key say.
const DEFAULT_MAX_VERSIONS: u32 = 10;

/// Settings of a mount. The default is what a mount without a row has.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Config {
    /// Versions to keep; 0 for the key's setting or the default.
    #[serde(rename = "n", skip_serializing_if = "is_default")]
    max_versions: u32,
    /// Whether every write must carry `options.cas`.
    #[serde(rename = "c", skip_serializing_if = "is_default")]
    pub(super) cas_required: bool,
    /// Whether every metadata write must carry `metadata_cas`.
    #[serde(rename = "m", skip_serializing_if = "is_default")]
    pub(super) metadata_cas_required: bool,
    /// After how long new versions are deleted.
    #[serde(rename = "d", skip_serializing_if = "is_default")]
    delete_version_after: Expiry,
}

/// When versions are deleted by themselves.
#[derive(Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Expiry {
    /// As the key says.
    #[default]
    #[serde(rename = "u")]
    Unset,
    /// Never, whatever the key says.
    #[serde(rename = "n")]
    Never,
    /// After this long, or earlier if the key says so.
    #[serde(rename = "a")]
    After(Millis),
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Config {
    /// The settings of the mount.
    pub(super) fn load(txn: &mut Txn<'_>) -> Result<Self, Error> {
        match txn.get(ROW)? {
            Some(stored) => record::decode(FORMAT, &stored.value),
            None => Ok(Self::default()),
        }
    }

    /// How many versions of a key are kept: the greater of both settings, as OpenBao has it.
    pub(super) fn versions_kept(&self, record: &Record) -> u32 {
        match self.max_versions.max(record.max_versions) {
            0 => DEFAULT_MAX_VERSIONS,
            kept => kept,
        }
    }

    /// When a version made at `created` is deleted: the earlier of both settings.
    pub(super) fn deletion_of(&self, record: &Record, created: Millis) -> Option<Millis> {
        let own = Some(record.delete_version_after).filter(|after| *after > 0);
        let after = match self.delete_version_after {
            Expiry::Never => None,
            Expiry::Unset => own,
            Expiry::After(mount) => Some(own.map_or(mount, |own| own.min(mount))),
        };
        after.map(|after| created.saturating_add(after))
    }
}

/// `GET config`.
pub(super) fn read(txn: &mut Txn<'_>) -> Result<Outcome, Error> {
    let config = Config::load(txn)?;
    let after = match config.delete_version_after {
        Expiry::Unset => format_duration(0),
        Expiry::Never => "-1s".to_owned(),
        Expiry::After(after) => format_duration(after),
    };
    Ok(Reply::json(json!({
        "max_versions": config.max_versions,
        "cas_required": config.cas_required,
        "metadata_cas_required": config.metadata_cas_required,
        "delete_version_after": after,
    }))
    .into())
}

/// `POST config`: changes what is given.
pub(super) fn write(txn: &mut Txn<'_>, fields: Fields<'_>) -> Result<Outcome, Error> {
    let max_versions = body::max_versions(fields)?;
    let cas_required = body::bool(fields, "cas_required")?;
    let metadata_cas_required = body::bool(fields, "metadata_cas_required")?;
    let after = fields.signed_duration("delete_version_after")?;
    if max_versions.is_none() && cas_required.is_none() && metadata_cas_required.is_none() && after.is_none()
    {
        return Ok(Reply::empty().into());
    }
    let mut config = Config::load(txn)?;
    config.max_versions = max_versions.unwrap_or(config.max_versions);
    config.cas_required = cas_required.unwrap_or(config.cas_required);
    config.metadata_cas_required = metadata_cas_required.unwrap_or(config.metadata_cas_required);
    config.delete_version_after = match after.map(whole_seconds) {
        None => config.delete_version_after,
        Some(0) => Expiry::Unset,
        Some(after) => u64::try_from(after).map_or(Expiry::Never, Expiry::After),
    };
    txn.put(ROW, record::encode(FORMAT, &config)?)?;
    Ok(Reply::empty().into())
}

fn whole_seconds(ms: i64) -> i64 {
    ms - ms % 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_rows() {
        let full = Config {
            max_versions: 7,
            cas_required: true,
            metadata_cas_required: true,
            delete_version_after: Expiry::After(3_600_000),
        };
        let never = Config {
            delete_version_after: Expiry::Never,
            ..Config::default()
        };
        for (config, bytes) in [
            (Config::default(), &b"\x01{}"[..]),
            (full, b"\x01{\"n\":7,\"c\":true,\"m\":true,\"d\":{\"a\":3600000}}"),
            (never, b"\x01{\"d\":\"n\"}"),
        ] {
            let written = record::encode(FORMAT, &config).unwrap();
            assert_eq!(written.as_slice(), bytes);
            let read: Config = record::decode(FORMAT, bytes).unwrap();
            assert_eq!(record::encode(FORMAT, &read).unwrap().as_slice(), bytes);
        }
        assert!(record::decode::<Config>(FORMAT, b"\x01{\"later\":1}").is_err());
    }
}
