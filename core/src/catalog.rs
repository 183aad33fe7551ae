//! Mounts, policies and audit devices of the namespace, as one compiled value. Rebuilt when the epoch row moves, which
//! every change to any of them touches; so a catalog is either exactly the view's or not used.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use conclave_engine_api::{Millis, Mount, Page};

use crate::auth::Lockout;
use crate::canon::CanonPath;
use crate::error::Error;
use crate::policy::{Policy, RESPONSE_WRAPPING, WRAPPING_POLICY};
use crate::store::{Opened, Space, Table};

/// Where configuration lives.
pub const CONFIG: Space = Space::root(Table::Config);
/// Moves with every change to configuration or keyring.
pub const EPOCH: &str = "epoch";
/// Format of every record written here.
const RECORD_FORMAT: u8 = 1;

/// Whether a mount serves secrets or logins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// Beneath the root.
    Secret,
    /// Beneath `auth/`.
    Auth,
}

/// A mount as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRecord {
    /// Its number in keys; never reused.
    pub id: u32,
    /// Shown to clients.
    pub uuid: String,
    /// Shown to clients; stays through a move.
    pub accessor: String,
    /// With trailing slash, without `auth/`.
    pub path: String,
    /// Type.
    pub kind: String,
    /// For people.
    pub description: String,
    /// Options, for example `version`.
    pub options: BTreeMap<String, String>,
    /// 0: the system's.
    pub default_lease_ttl: Millis,
    /// 0: the system's.
    pub max_lease_ttl: Millis,
    /// Secrets or logins.
    pub category: Category,
    /// `unauth`, `hidden` or empty.
    #[serde(default)]
    pub listing_visibility: String,
    /// What `secrets enable` was told and only echoes.
    #[serde(default)]
    pub local: bool,
    /// As above.
    #[serde(default)]
    pub seal_wrap: bool,
    /// As above.
    #[serde(default)]
    pub told: Told,
    /// What holds for the logins of an auth method.
    #[serde(default)]
    pub logins: Logins,
}

/// What holds for the logins of a mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Logins {
    /// One more with each move: tokens of the logins before it have ended.
    pub era: u32,
    /// When names are locked out; `None`: as the node's configuration says.
    pub lockout: Option<Lockout>,
}

/// What a mount was told that changes nothing here: kept, and shown again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Told {
    /// There is no cache that could serve an old value.
    pub force_no_cache: bool,
    /// Audit hides the values of all keys.
    pub audit_non_hmac_request_keys: Vec<String>,
    /// As above.
    pub audit_non_hmac_response_keys: Vec<String>,
    /// Engines see no headers.
    pub passthrough_request_headers: Vec<String>,
    /// Engines set no headers.
    pub allowed_response_headers: Vec<String>,
    /// Every token is a service token.
    pub token_type: String,
}

impl MountRecord {
    /// The path of its row.
    pub fn row(&self) -> String {
        format!("mount/{}", self.accessor)
    }

    /// What an engine sees of it.
    pub fn to_mount(&self, default_lease_ttl: Millis, max_lease_ttl: Millis) -> Mount {
        let or = |own: Millis, system: Millis| if own == 0 { system } else { own };
        Mount {
            path: self.path.clone(),
            kind: self.kind.clone(),
            options: self.options.clone(),
            default_lease_ttl: or(self.default_lease_ttl, default_lease_ttl),
            max_lease_ttl: or(self.max_lease_ttl, max_lease_ttl),
        }
    }
}

/// An audit device as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// With trailing slash.
    pub path: String,
    /// Type: `file`.
    pub kind: String,
    /// For people.
    pub description: String,
    /// `file_path`, ...
    pub options: BTreeMap<String, String>,
    /// Salt of its HMACs, hexadecimal.
    pub salt: String,
    /// Shown to clients.
    #[serde(default)]
    pub accessor: String,
}

/// Everything a request needs to be routed and authorised.
pub struct Catalog {
    secret: BTreeMap<String, Arc<MountRecord>>,
    auth: BTreeMap<String, Arc<MountRecord>>,
    policies: HashMap<String, Arc<Policy>>,
    /// What tokens that hold wrapped answers may do.
    wrapping: Arc<Policy>,
    /// Audit devices, by path.
    pub audit: BTreeMap<String, AuditRecord>,
}

/// Where a path leads.
pub struct Routed<'c> {
    /// The mount.
    pub mount: &'c Arc<MountRecord>,
    /// The path beneath it.
    pub rest: &'c str,
}

impl Catalog {
    /// Reads the whole configuration of a view.
    pub fn load(opened: &Opened) -> Result<Self, Error> {
        let config = opened.space(CONFIG);
        let mut catalog = Self {
            secret: BTreeMap::new(),
            auth: BTreeMap::new(),
            policies: HashMap::new(),
            wrapping: Arc::new(Policy::parse(WRAPPING_POLICY, RESPONSE_WRAPPING)?),
            audit: BTreeMap::new(),
        };
        for name in config.names("mount/", &Page::default())? {
            let mount: MountRecord = read_record(opened, &format!("mount/{name}"))?;
            let table = match mount.category {
                Category::Secret => &mut catalog.secret,
                Category::Auth => &mut catalog.auth,
            };
            table.insert(mount.path.clone(), Arc::new(mount));
        }
        for name in config.names("policy/", &Page::default())? {
            let stored: PolicyRecord = read_record(opened, &format!("policy/{name}"))?;
            let policy = Policy::parse(&name, &stored.text)?;
            catalog.policies.insert(name, Arc::new(policy));
        }
        for name in config.names("audit/", &Page::default())? {
            let device: AuditRecord = read_record(opened, &format!("audit/{name}"))?;
            catalog.audit.insert(device.path.clone(), device);
        }
        Ok(catalog)
    }

    /// The mounts of a category, by path.
    pub fn mounts(&self, category: Category) -> &BTreeMap<String, Arc<MountRecord>> {
        match category {
            Category::Secret => &self.secret,
            Category::Auth => &self.auth,
        }
    }

    /// The policy `name`.
    pub fn policy(&self, name: &str) -> Option<&Arc<Policy>> {
        if name == WRAPPING_POLICY {
            return Some(&self.wrapping);
        }
        self.policies.get(name)
    }

    /// All policy names, sorted.
    pub fn policy_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.policies.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// The mount with the longest path that `path` lies beneath.
    pub fn route<'c>(&'c self, path: &'c CanonPath) -> Option<Routed<'c>> {
        match path.as_str().strip_prefix("auth/") {
            Some(beneath) => longest(&self.auth, beneath),
            None => longest(&self.secret, path.as_str()),
        }
    }

    /// The mount with this id.
    pub fn mount_by_id(&self, id: u32) -> Option<&Arc<MountRecord>> {
        self.secret
            .values()
            .chain(self.auth.values())
            .find(|mount| mount.id == id)
    }
}

fn longest<'c>(table: &'c BTreeMap<String, Arc<MountRecord>>, path: &'c str) -> Option<Routed<'c>> {
    // Try "a/b/", then "a/": a mount's path always ends in a slash.
    let ends = path.match_indices('/').map(|(at, _)| at + 1).rev();
    for end in ends {
        let (prefix, rest) = path.split_at_checked(end)?;
        if let Some(mount) = table.get(prefix) {
            return Some(Routed { mount, rest });
        }
    }
    None
}

/// A policy as stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRecord {
    /// Its text, as written.
    pub text: String,
    /// One more with each write; 0 was written before versions were counted.
    #[serde(default)]
    pub version: u64,
    /// When it was written last.
    #[serde(default)]
    pub modified: Millis,
    /// Whether a write must name the version it replaces.
    #[serde(default)]
    pub cas_required: bool,
}

/// Encodes a record: a format byte, then JSON.
pub fn encode_record<T: Serialize>(record: &T) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut bytes = Zeroizing::new(vec![RECORD_FORMAT]);
    serde_json::to_writer(&mut *bytes, record)
        .map_err(|e| Error::internal(format!("encoding a record: {e}")))?;
    Ok(bytes)
}

/// Decodes a record; an unknown format is an error, never skipped.
pub fn decode_record<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    match bytes.split_first() {
        Some((&RECORD_FORMAT, json)) => {
            // serde's message may quote what it read: say where, not what.
            serde_json::from_slice(json)
                .map_err(|e| Error::internal(format!("a stored record is damaged at column {}", e.column())))
        }
        Some((format, _)) => Err(Error::internal(format!(
            "a stored record has unknown format {format}"
        ))),
        None => Err(Error::internal("a stored record is empty")),
    }
}

fn read_record<T: DeserializeOwned>(opened: &Opened, path: &str) -> Result<T, Error> {
    let row = opened.space(CONFIG).row(path)?;
    let row = row.ok_or_else(|| Error::internal("a listed configuration record is gone"))?;
    decode_record(&row.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(path: &str) -> (String, Arc<MountRecord>) {
        let record = MountRecord {
            id: 1,
            uuid: String::new(),
            accessor: path.to_owned(),
            path: path.to_owned(),
            kind: "kv".to_owned(),
            description: String::new(),
            options: BTreeMap::new(),
            default_lease_ttl: 0,
            max_lease_ttl: 0,
            category: Category::Secret,
            listing_visibility: String::new(),
            local: false,
            seal_wrap: false,
            told: Told::default(),
            logins: Logins::default(),
        };
        (path.to_owned(), Arc::new(record))
    }

    #[test]
    fn the_longest_mount_wins() {
        let catalog = Catalog {
            secret: BTreeMap::from([mount("a/"), mount("a/b/"), mount("ab/")]),
            auth: BTreeMap::from([mount("token/")]),
            policies: HashMap::new(),
            wrapping: Arc::new(Policy::parse(WRAPPING_POLICY, RESPONSE_WRAPPING).unwrap()),
            audit: BTreeMap::new(),
        };
        let route = |path: &str| {
            let path = CanonPath::parse(path).unwrap();
            catalog
                .route(&path)
                .map(|routed| (routed.mount.path.clone(), routed.rest.to_owned()))
        };
        assert_eq!(route("a/x"), Some(("a/".into(), "x".into())));
        assert_eq!(route("a/b/x/y"), Some(("a/b/".into(), "x/y".into())));
        assert_eq!(route("ab/"), Some(("ab/".into(), String::new())));
        assert_eq!(
            route("auth/token/create"),
            Some(("token/".into(), "create".into()))
        );
        assert_eq!(route("abc/x"), None);
        assert_eq!(route("a"), None);
    }

    #[test]
    fn records_of_another_format_are_errors() {
        let bytes = encode_record(&PolicyRecord {
            text: "x".into(),
            ..PolicyRecord::default()
        })
        .unwrap();
        assert_eq!(decode_record::<PolicyRecord>(&bytes).unwrap().text, "x");
        assert!(decode_record::<PolicyRecord>(&[]).is_err());
        assert!(decode_record::<PolicyRecord>(&[2, b'{', b'}']).is_err());
        let error = decode_record::<PolicyRecord>(b"\x01{\"text\": hunter2}")
            .unwrap_err()
            .to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
