//! `backup/` and `restore/`: a key with all its versions as one text, in the form that OpenBao and Vault write and read.

use conclave_engine_api::{Env, Error, Outcome, Reply, Request, Txn, format_time};
use serde_json::{Map, Value, json};

use super::entry;
use super::policy::{Policy, Stamp, Version};
use super::text;
use super::{Kind, is_name};

/// Nanoseconds of a millisecond: the unit of durations in a backup.
const NANOS: u64 = 1_000_000;

/// `GET backup/<name>`. When it was taken is kept with the key.
pub(super) fn backup(txn: &mut Txn<'_>, name: &str, env: &Env<'_>) -> Result<Outcome, Error> {
    let policy = Policy::load(txn, name)?;
    let mut policy = policy.ok_or_else(|| Error::invalid(format!("key {name:?} not found")))?;
    policy.check_usable()?;
    if !policy.exportable {
        return Err(Error::invalid("exporting is disallowed on the policy"));
    }
    if !policy.allow_plaintext_backup {
        return Err(Error::invalid("plaintext backup is disallowed on the policy"));
    }
    policy.backup = Some(Stamp {
        time: format_time(env.now()),
        version: policy.latest,
    });
    policy.store(txn)?;
    let mut keys = Map::new();
    let mut archived = Vec::new();
    if policy.min_available == 0 {
        // The archive counts from zero, versions from one.
        archived.push(entry::blank());
    }
    for number in policy.first()..=policy.latest {
        let version = entry::write(policy.kind, &policy.kept_version(txn, number)?)?;
        if number >= policy.min_decryption {
            keys.insert(number.to_string(), version.clone());
        }
        archived.push(version);
    }
    let document = json!({"policy": written(&policy, keys), "archived_keys": {"keys": archived}});
    Ok(Reply::json(json!({"backup": text::encode(document.to_string().as_bytes())})).into())
}

fn written(policy: &Policy, keys: Map<String, Value>) -> Value {
    let stamp = |stamp: &Option<Stamp>| match stamp {
        Some(stamp) => json!({"time": stamp.time, "version": stamp.version}),
        None => Value::Null,
    };
    let mut written = json!({
        "name": policy.name,
        "keys": keys,
        "derived": policy.derived,
        "kdf": u8::from(policy.derived),
        "convergent_encryption": policy.convergent,
        "exportable": policy.exportable,
        "min_decryption_version": policy.min_decryption,
        "min_encryption_version": policy.min_encryption,
        "latest_version": policy.latest,
        "archive_version": policy.latest,
        "archive_min_version": policy.min_available,
        "min_available_version": policy.min_available,
        "deletion_allowed": policy.deletion_allowed,
        "convergent_version": policy.convergent_version,
        "type": policy.kind.number(),
        "backup_info": stamp(&policy.backup),
        "restore_info": stamp(&policy.restore),
        "allow_plaintext_backup": policy.allow_plaintext_backup,
        "version_template": "",
        "storage_prefix": "",
        "auto_rotate_period": policy.auto_rotate_period.saturating_mul(NANOS),
        "Imported": policy.imported,
        "AllowImportedKeyRotation": policy.imported_may_rotate,
        "soft_deleted": policy.soft_deleted,
    });
    if let (true, Some(map)) = (policy.key_size > 0, written.as_object_mut()) {
        map.insert("key_size".to_owned(), json!(policy.key_size));
    }
    written
}

/// `POST restore[/<name>]`. Nothing is written unless all of the backup makes sense.
pub(super) fn restore(
    txn: &mut Txn<'_>,
    name: &str,
    request: &Request<'_>,
    env: &Env<'_>,
) -> Result<Outcome, Error> {
    let fields = request.fields();
    let backup = fields
        .string("backup")?
        .filter(|text| !text.is_empty())
        .ok_or_else(|| Error::invalid("'backup' must be supplied"))?;
    let force = fields.bool("force")?.unwrap_or(false);
    let document = text::decode(&backup)?;
    let document: Value =
        serde_json::from_slice(&document).map_err(|_| Error::invalid("the backup is no JSON object"))?;
    let (mut policy, versions) = env.heavy(|| read(&document, name))??;
    if let Some(old) = Policy::load(txn, &policy.name)? {
        if !force {
            return Err(Error::invalid(format!("key {:?} already exists", policy.name)));
        }
        old.remove(txn)?;
    }
    policy.restore = Some(Stamp {
        time: format_time(env.now()),
        version: policy.latest,
    });
    for (number, version) in (policy.first()..).zip(&versions) {
        policy.store_version(txn, number, version)?;
    }
    policy.store(txn)?;
    Ok(Reply::empty().into())
}

/// The key in a backup, and its versions from the first that is kept.
fn read(document: &Value, name: &str) -> Result<(Policy, Vec<Version>), Error> {
    let policy = Object::of(document.get("policy"), "policy")?;
    let name = match name {
        "" => policy.text("name")?,
        name => name,
    };
    if !is_name(name) {
        return Err(Error::invalid("the backup's name is no name of a key"));
    }
    let mut read = read_policy(&policy, name)?;
    let archived = document.pointer("/archived_keys/keys").and_then(Value::as_array);
    let mut versions = Vec::new();
    for number in read.first()..=read.latest {
        let of_policy = policy.0.get("keys").and_then(|keys| keys.get(number.to_string()));
        let of_archive = usize::try_from(number.saturating_sub(read.min_available))
            .ok()
            .and_then(|index| archived?.get(index));
        let found = of_policy.or(of_archive).and_then(Value::as_object);
        let found = found.ok_or_else(|| Error::invalid(format!("the backup lacks version {number}")))?;
        let version = entry::read(read.kind, found)?;
        if read.derived {
            version.check_private("a key that derives has no public half alone, as the backup says")?;
        }
        versions.push(version);
    }
    let made = versions.last().map_or(0, |version| version.created);
    read.rotated = u64::try_from(made).unwrap_or(0).saturating_mul(1000);
    Ok((read, versions))
}

fn read_policy(from: &Object<'_>, name: &str) -> Result<Policy, Error> {
    let kind = Kind::numbered(from.number("type")?);
    let kind = kind.ok_or_else(|| Error::Unsupported("keys of the type in this backup".to_owned()))?;
    let mut policy = Policy::new(name, kind);
    policy.derived = from.flag("derived");
    policy.convergent = from.flag("convergent_encryption");
    policy.convergent_version = from
        .0
        .get("convergent_version")
        .and_then(Value::as_i64)
        .unwrap_or(0);
    policy.exportable = from.flag("exportable");
    policy.allow_plaintext_backup = from.flag("allow_plaintext_backup");
    policy.deletion_allowed = from.flag("deletion_allowed");
    policy.soft_deleted = from.flag("soft_deleted");
    policy.imported = from.flag("Imported");
    policy.imported_may_rotate = from.flag("AllowImportedKeyRotation");
    policy.min_decryption = from.number("min_decryption_version")?;
    policy.min_encryption = from.number("min_encryption_version")?;
    policy.min_available = from.number("min_available_version")?;
    policy.latest = from.number("latest_version")?;
    policy.auto_rotate_period = from.number("auto_rotate_period")? / NANOS;
    policy.backup = from.stamp("backup_info");
    policy.key_size = usize::try_from(from.number("key_size")?).unwrap_or(usize::MAX);
    let derived_otherwise = policy.derived && from.number("kdf")? != 1;
    let named_otherwise = ["version_template", "storage_prefix"]
        .iter()
        .any(|name| from.0.get(*name).is_some_and(|value| value != ""));
    if derived_otherwise || named_otherwise {
        return Err(Error::Unsupported(
            "keys that derive or mark their ciphertexts as only old versions did".to_owned(),
        ));
    }
    let in_order = policy.latest >= 1
        && (1..=policy.latest).contains(&policy.min_decryption)
        && policy.min_encryption <= policy.latest
        && policy.min_available <= policy.min_decryption;
    if !in_order || policy.is_overfull() {
        return Err(Error::invalid("the versions in the backup make no sense"));
    }
    if (policy.derived && !kind.derives()) || (policy.convergent && !(policy.derived && kind.is_symmetric()))
    {
        return Err(Error::invalid("the settings in the backup make no sense"));
    }
    Ok(policy)
}

/// An object of a backup, read by member.
struct Object<'a>(&'a Map<String, Value>);

impl<'a> Object<'a> {
    fn of(value: Option<&'a Value>, name: &str) -> Result<Self, Error> {
        let map = value.and_then(Value::as_object);
        map.map(Self)
            .ok_or_else(|| Error::invalid(format!("the backup has no {name}")))
    }

    fn text(&self, name: &str) -> Result<&'a str, Error> {
        let text = self.0.get(name).and_then(Value::as_str);
        text.ok_or_else(|| Error::invalid(format!("the backup has no {name}")))
    }

    fn stamp(&self, name: &str) -> Option<Stamp> {
        let stamp = self.0.get(name)?;
        Some(Stamp {
            time: stamp.get("time")?.as_str()?.to_owned(),
            version: stamp.get("version")?.as_u64()?,
        })
    }

    fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// 0 if it is not there.
    fn number(&self, name: &str) -> Result<u64, Error> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(0),
            Some(value) => value
                .as_u64()
                .ok_or_else(|| Error::invalid(format!("{name} in the backup is no number that can be"))),
        }
    }
}
