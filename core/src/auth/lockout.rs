//! Locking out names whose logins fail too often. A failure is a row, written by the command that refuses the login and
//! expected by every other login under the same name: so all nodes count the same, in whatever order, and of logins at the
//! same time no more are answered than the threshold allows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use conclave_engine_api::{Millis, Page, Txn};

use crate::catalog::{Catalog, Category, MountRecord, decode_record, encode_record};
use crate::core::Settings;
use crate::error::Error;
use crate::store::{Opened, Space, Table};
use crate::work::Work;

/// Failed logins of a namespace: `<mount's accessor>/<HMAC of the name>`.
const fn failures(namespace: u32) -> Space {
    Space::within(Table::LoginFailures, namespace)
}

/// Most failures under one name that are known again when they are sent again: a client sends one after the other.
const MAX_NAMED: usize = 8;
/// Settings under this name are for every type that has none of its own.
pub const ALL: &str = "all";
/// Types of auth methods whose mounts may be tuned.
const TUNABLE: [&str; 3] = ["userpass", "approle", "ldap"];

/// When a name is locked out, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockoutSettings {
    /// Failures after which a name is locked out.
    pub threshold: u64,
    /// For how long, counted from the last failure.
    pub duration: Millis,
    /// After this long without a failure, counting starts over.
    pub counter_reset: Millis,
    /// Whether nobody is locked out.
    pub disabled: bool,
}

impl Default for LockoutSettings {
    fn default() -> Self {
        const QUARTER: Millis = 15 * 60_000;
        Self {
            threshold: 5,
            duration: QUARTER,
            counter_reset: QUARTER,
            disabled: false,
        }
    }
}

/// What a mount's tuning says; 0: as the node's configuration says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lockout {
    /// Failures.
    pub threshold: u64,
    /// For how long.
    pub duration: Millis,
    /// Counting starts over.
    pub counter_reset: Millis,
    /// Whether nobody is locked out.
    pub disabled: bool,
}

/// Whether mounts of this type may be tuned.
pub fn is_tunable(kind: &str) -> bool {
    TUNABLE.contains(&kind)
}

/// What holds for a mount.
pub fn settings_of(settings: &Settings, mount: &MountRecord) -> LockoutSettings {
    let configured = &settings.lockout;
    let base = configured.get(&mount.kind).or_else(|| configured.get(ALL));
    let base = base.copied().unwrap_or_default();
    let Some(tuned) = mount.logins.lockout else {
        return base;
    };
    let or = |own: u64, base: u64| if own == 0 { base } else { own };
    LockoutSettings {
        threshold: or(tuned.threshold, base.threshold),
        duration: or(tuned.duration, base.duration),
        counter_reset: or(tuned.counter_reset, base.counter_reset),
        disabled: tuned.disabled,
    }
}

/// Failures under one name.
#[derive(Clone, Serialize, Deserialize)]
struct Failed {
    alias: String,
    count: u64,
    last: Millis,
    /// The last of them that may be sent again, by their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    named: Vec<String>,
}

impl Failed {
    fn is_locked(&self, settings: &LockoutSettings, now: Millis) -> bool {
        self.count >= settings.threshold && now < self.last.saturating_add(settings.duration)
    }
}

/// The failures under the name of one login.
pub struct Failures<'a> {
    namespace: u32,
    txn: Txn<'a>,
    row: String,
    alias: String,
    login: Option<String>,
    known: Option<Failed>,
    settings: LockoutSettings,
}

/// Reads the failures under `alias`. `login` names one that may be sent again.
pub fn with_failures<T>(
    opened: &Opened,
    settings: LockoutSettings,
    mount: &MountRecord,
    (alias, login): (String, Option<String>),
    then: impl FnOnce(Failures<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let reader = opened.space(failures(mount.namespace));
    let mut txn = Txn::new(&reader);
    let row = row_of(opened, &mount.accessor, &alias);
    let known = txn.get(&row)?.map(|row| decode_record(&row.value)).transpose()?;
    then(Failures {
        namespace: mount.namespace,
        txn,
        row,
        alias,
        login,
        known,
        settings,
    })
}

impl Failures<'_> {
    /// Whether the name is locked out now.
    pub fn is_locked(&self, now: Millis) -> bool {
        self.known
            .as_ref()
            .is_some_and(|known| known.is_locked(&self.settings, now))
    }

    /// Whether this very login failed before and is counted: it was sent again.
    pub fn is_counted(&self) -> bool {
        let (known, login) = (self.known.as_ref(), self.login.as_ref());
        known
            .zip(login)
            .is_some_and(|(known, login)| known.named.contains(login))
    }

    /// The login failed. Whether this was one too many.
    pub fn count(mut self, work: &mut Work<'_>, now: Millis) -> Result<bool, Error> {
        let counted = self.known.filter(|known| {
            // A lock that is over begins anew.
            known.count < self.settings.threshold
                && now < known.last.saturating_add(self.settings.counter_reset)
        });
        let (count, mut named) = counted.map_or((0, Vec::new()), |known| (known.count, known.named));
        named.extend(self.login);
        named.drain(..named.len().saturating_sub(MAX_NAMED));
        let failed = Failed {
            alias: self.alias,
            count: count.saturating_add(1),
            last: now,
            named,
        };
        let kept = self.settings.duration.max(self.settings.counter_reset).max(1);
        let deadline = Some(now.saturating_add(kept));
        self.txn.put_due(&self.row, encode_record(&failed)?, deadline)?;
        work.draft
            .include(failures(self.namespace), self.txn.into_changes())?;
        Ok(failed.is_locked(&self.settings, now))
    }

    /// The login succeeded: failures before it count no more.
    pub fn clear(mut self, work: &mut Work<'_>) -> Result<(), Error> {
        if self.known.is_some() {
            self.txn.delete(&self.row)?;
        }
        work.draft
            .include(failures(self.namespace), self.txn.into_changes())
    }
}

/// Removes failures that count no more.
pub fn forget(work: &mut Work<'_>, namespace: u32, path: &str) -> Result<(), Error> {
    let reader = work.opened().space(failures(namespace));
    let mut txn = Txn::new(&reader);
    txn.get(path)?;
    txn.delete(path)?;
    work.draft.include(failures(namespace), txn.into_changes())
}

/// Lets a name in again. One that is not locked out stays as it is.
pub fn unlock(work: &mut Work<'_>, accessor: &str, alias: &str) -> Result<(), Error> {
    if accessor.is_empty() || accessor.contains('/') {
        return Ok(());
    }
    let row = row_of(work.opened(), accessor, alias);
    forget(work, work.namespace(), &row)
}

/// Names that are locked out in a namespace, by the accessor of their mount.
pub fn locked(
    opened: &Opened,
    catalog: &Catalog,
    settings: &Settings,
    only: Option<&str>,
    now: Millis,
) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let reader = opened.space(failures(catalog.namespace().number));
    let mut locked = BTreeMap::new();
    for mount in catalog.mounts(Category::Auth).values() {
        if only.is_some_and(|only| only != mount.accessor) {
            continue;
        }
        let settings = settings_of(settings, mount);
        let dir = format!("{}/", mount.accessor);
        let mut names = Vec::new();
        for name in reader.names(&dir, &Page::default())? {
            let Some(row) = reader.row(&format!("{dir}{name}"))? else {
                continue;
            };
            let failed: Failed = decode_record(&row.value)?;
            if !settings.disabled && failed.is_locked(&settings, now) {
                names.push(failed.alias);
            }
        }
        if !names.is_empty() {
            names.sort_unstable();
            locked.insert(mount.accessor.clone(), names);
        }
    }
    Ok(locked)
}

/// Names are chosen by whoever tries to log in: hashed, they are one segment of a path.
fn row_of(opened: &Opened, accessor: &str, alias: &str) -> String {
    let mut text = b"failed login\0".to_vec();
    text.extend_from_slice(alias.as_bytes());
    format!("{accessor}/{}", hex::encode(opened.barrier().lease_hmac(&text)))
}
