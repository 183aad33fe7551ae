//! What is kept of a key: its settings, and the life of each version. The data of versions lie in rows of their own.

use std::collections::BTreeMap;

use conclave_engine_api::env::Millis;
use conclave_engine_api::{Error, Txn};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::record;
use crate::secret::document;

/// Where records lie.
pub(super) const RECORDS: &str = "m/";

/// Where the data of versions lie.
pub(super) const VERSIONS: &str = "d/";

/// Format number of a record's row.
const FORMAT: u8 = 1;

/// A key's record.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// Number of the latest version; 0 before the first.
    #[serde(rename = "c")]
    pub(super) current: u64,
    /// Number of the oldest version that may still be there; 0 until versions are trimmed for the first time.
    #[serde(rename = "o")]
    pub(super) oldest: u64,
    /// When the key came to be.
    #[serde(rename = "t")]
    pub(super) created: Millis,
    /// When a version was added or a setting changed.
    #[serde(rename = "u")]
    pub(super) updated: Millis,
    /// How often the settings were written.
    #[serde(rename = "r", default, skip_serializing_if = "is_default")]
    pub(super) metadata_version: u64,
    /// Versions to keep; 0 for the mount's setting or the default.
    #[serde(rename = "n", default, skip_serializing_if = "is_default")]
    pub(super) max_versions: u32,
    /// Whether writes must carry `options.cas`.
    #[serde(rename = "k", default, skip_serializing_if = "is_default")]
    pub(super) cas_required: bool,
    /// Whether metadata writes must carry `metadata_cas`.
    #[serde(rename = "m", default, skip_serializing_if = "is_default")]
    pub(super) metadata_cas_required: bool,
    /// After how long new versions are deleted; 0 for the mount's setting.
    #[serde(rename = "d", default, skip_serializing_if = "is_default")]
    pub(super) delete_version_after: Millis,
    /// What users noted about the key.
    #[serde(rename = "x", default, skip_serializing_if = "is_default")]
    pub(super) custom: BTreeMap<String, String>,
    /// The versions that are not trimmed.
    #[serde(rename = "v")]
    pub(super) versions: BTreeMap<u64, Version>,
}

/// The life of one version.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(from = "(Millis, Option<Millis>, u8)", into = "(Millis, Option<Millis>, u8)")]
pub(super) struct Version {
    /// When it was written.
    pub(super) created: Millis,
    /// When it is or was deleted.
    pub(super) deletion: Option<Millis>,
    /// Whether its data is gone for ever.
    pub(super) destroyed: bool,
}

impl From<(Millis, Option<Millis>, u8)> for Version {
    fn from((created, deletion, destroyed): (Millis, Option<Millis>, u8)) -> Self {
        Self {
            created,
            deletion,
            destroyed: destroyed != 0,
        }
    }
}

impl From<Version> for (Millis, Option<Millis>, u8) {
    fn from(version: Version) -> Self {
        (version.created, version.deletion, version.destroyed.into())
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Version {
    /// Whether it is deleted at `now`. A deletion time to come leaves it readable.
    pub(super) fn is_deleted(&self, now: Millis) -> bool {
        self.deletion.is_some_and(|deletion| deletion <= now)
    }

    /// Whether its data can be read at `now`.
    pub(super) fn is_readable(&self, now: Millis) -> bool {
        !self.destroyed && !self.is_deleted(now)
    }
}

impl Record {
    /// A key that begins at `now` without versions.
    pub(super) fn new(now: Millis) -> Self {
        Self {
            created: now,
            updated: now,
            ..Self::default()
        }
    }

    /// The record of `key`.
    pub(super) fn load(txn: &mut Txn<'_>, key: &str) -> Result<Option<Self>, Error> {
        txn.get(&row(key))?
            .map(|stored| record::decode(FORMAT, &stored.value))
            .transpose()
    }

    /// Writes the record of `key`.
    pub(super) fn store(&self, txn: &mut Txn<'_>, key: &str) -> Result<(), Error> {
        txn.put(&row(key), record::encode(FORMAT, self)?)
    }

    /// Adds a version and forgets those beyond `kept`, counted from the latest. Gives the data rows to remove. As in
    /// OpenBao, `oldest` is 0 until `kept` versions were written.
    pub(super) fn add(&mut self, version: Version, kept: u32) -> Vec<u64> {
        self.current = self.current.saturating_add(1);
        self.versions.insert(self.current, version);
        self.updated = version.created;
        let kept = u64::from(kept);
        if self.current.saturating_sub(self.oldest) < kept {
            return Vec::new();
        }
        self.oldest = self.current.saturating_sub(kept).saturating_add(1);
        let stay = self.versions.split_off(&self.oldest);
        let gone = std::mem::replace(&mut self.versions, stay);
        gone.into_iter()
            .filter(|(_, version)| !version.destroyed)
            .map(|(number, _)| number)
            .collect()
    }
}

/// The directory of the records of the keys beneath `dir` (without a trailing slash; empty for all).
pub(super) fn dir(dir: &str) -> String {
    match dir {
        "" => RECORDS.to_owned(),
        dir => format!("{RECORDS}{dir}/"),
    }
}

/// The data of a version that its record says is there.
pub(super) fn load_data(
    txn: &mut Txn<'_>,
    key: &str,
    number: u64,
) -> Result<Option<Map<String, Value>>, Error> {
    let stored = txn
        .get(&data_row(key, number))?
        .ok_or_else(|| Error::internal("could not find version data"))?;
    document::decode(&stored.value)
}

/// Writes the data of a version.
pub(super) fn store_data(
    txn: &mut Txn<'_>,
    key: &str,
    number: u64,
    data: Option<&Map<String, Value>>,
) -> Result<(), Error> {
    txn.put(&data_row(key, number), document::encode(data)?)
}

/// Removes the data of a version.
pub(super) fn remove_data(txn: &mut Txn<'_>, key: &str, number: u64) -> Result<(), Error> {
    txn.delete(&data_row(key, number))
}

/// Removes the record of `key`.
pub(super) fn remove(txn: &mut Txn<'_>, key: &str) -> Result<(), Error> {
    txn.delete(&row(key))
}

fn row(key: &str) -> String {
    format!("{RECORDS}{key}")
}

fn data_row(key: &str, number: u64) -> String {
    format!("{VERSIONS}{key}/{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(created: Millis) -> Version {
        Version {
            created,
            deletion: None,
            destroyed: false,
        }
    }

    #[test]
    fn golden_rows() {
        let mut record = Record::new(1000);
        record.add(version(1000), 10);
        let small = b"\x01{\"c\":1,\"o\":0,\"t\":1000,\"u\":1000,\"v\":{\"1\":[1000,null,0]}}";
        assert_eq!(record::encode(FORMAT, &record).unwrap().as_slice(), small);
        record.oldest = 1;
        record.metadata_version = 2;
        record.max_versions = 3;
        record.cas_required = true;
        record.metadata_cas_required = true;
        record.delete_version_after = 60_000;
        record.custom.insert("owner".to_owned(), "me".to_owned());
        record.versions.insert(
            2,
            Version {
                deletion: Some(2000),
                destroyed: true,
                ..version(1500)
            },
        );
        let full =
            b"\x01{\"c\":1,\"o\":1,\"t\":1000,\"u\":1000,\"r\":2,\"n\":3,\"k\":true,\"m\":true,\"d\":60000,\
            \"x\":{\"owner\":\"me\"},\"v\":{\"1\":[1000,null,0],\"2\":[1500,2000,1]}}";
        assert_eq!(record::encode(FORMAT, &record).unwrap().as_slice(), full);
        for bytes in [&small[..], full] {
            let read: Record = record::decode(FORMAT, bytes).unwrap();
            assert_eq!(record::encode(FORMAT, &read).unwrap().as_slice(), bytes);
        }
        assert!(record::decode::<Record>(FORMAT, b"\x01{}").is_err());
        assert!(record::decode::<Record>(FORMAT, b"\x02{}").is_err());
    }

    #[test]
    fn trims_from_the_oldest() {
        let mut record = Record::new(0);
        assert!(record.add(version(1), 2).is_empty());
        assert_eq!(record.oldest, 0);
        assert!(record.add(version(2), 2).is_empty());
        assert_eq!(record.oldest, 1);
        assert_eq!(record.add(version(3), 2), [1]);
        assert_eq!(record.oldest, 2);
        for time in 4..8 {
            record.add(version(time), 6);
        }
        assert_eq!(record.add(version(8), 1), [2, 3, 4, 5, 6, 7]);
        assert_eq!((record.oldest, record.versions.len()), (8, 1));
    }
}
