//! Mounts, policies and audit devices of a namespace, as one compiled value. Rebuilt when the epoch row moves, which every
//! change to any of them in any namespace touches; so a catalog is either exactly the view's or not used. A namespace whose
//! own epoch row stands is taken over as it was.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use conclave_engine_api::{Millis, Mount, Page};

use crate::anomaly::Watched;
use crate::auth::Lockout;
use crate::browsers::Browsers;
use crate::canon::CanonPath;
use crate::error::Error;
use crate::identity::mfa::Mfa;
use crate::namespaces::{NamespaceRecord, Node, RECORDS, Tree};
use crate::policy::{Policy, RESPONSE_WRAPPING, WRAPPING_POLICY};
use crate::quota;
use crate::store::layout::{RING, ROOT_NAMESPACE, owner_of, ring_of};
use crate::store::{Opened, Space, Table};

/// Where the configuration of the root namespace lives, and of the cluster.
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
    /// Its number in keys; never reused, in no namespace.
    pub id: u32,
    /// The namespace it is in.
    #[serde(default)]
    pub namespace: u32,
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
    /// Randomness is the system's.
    pub external_entropy_access: bool,
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

    /// Its path as requests name it: with `auth/` before that of an auth method.
    pub fn full_path(&self) -> String {
        match self.category {
            Category::Secret => self.path.clone(),
            Category::Auth => format!("auth/{}", self.path),
        }
    }

    /// Where what it stores lies.
    pub fn space(&self) -> Space {
        Space::of_mount(self.namespace, self.id)
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
    /// `file`, `socket`, `syslog`, `http`.
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

/// Headers that audit devices record, by name in lower case, and whether their values are hashed.
pub type AuditedHeaders = BTreeMap<String, bool>;
/// Where they are stored, in the root namespace alone.
pub const AUDITED_HEADERS: &str = "audited-headers";

/// Everything a request in a namespace needs to be routed and authorised.
#[derive(Clone)]
pub struct Catalog {
    namespace: Arc<NamespaceRecord>,
    own: Arc<Own>,
    tree: Arc<Tree>,
    /// Rate limits, which are the cluster's.
    pub quotas: Arc<quota::Rules>,
    /// What detection goes by, which is the cluster's.
    pub watched: Arc<Watched>,
}

/// What a namespace has of its own, as of its own epoch.
#[derive(Default)]
pub(crate) struct Own {
    epoch: u64,
    /// Whether its keys are not here, so that nothing is known of it.
    sealed: bool,
    secret: BTreeMap<String, Arc<MountRecord>>,
    auth: BTreeMap<String, Arc<MountRecord>>,
    policies: HashMap<String, Arc<Policy>>,
    audit: BTreeMap<String, AuditRecord>,
    headers: AuditedHeaders,
    browsers: Arc<Browsers>,
    mfa: Mfa,
}

/// Where a path leads.
pub struct Routed<'c> {
    /// The mount.
    pub mount: &'c Arc<MountRecord>,
    /// The path beneath it.
    pub rest: &'c str,
}

impl Own {
    fn load(opened: &Opened, namespace: u32, epoch: u64) -> Result<Self, Error> {
        let space = Space::within(Table::Config, namespace);
        let config = opened.space(space);
        let mut own = Self {
            epoch,
            ..Self::default()
        };
        for name in config.names("mount/", &Page::default())? {
            let mount: MountRecord = read_record(opened, space, &format!("mount/{name}"))?;
            let table = match mount.category {
                Category::Secret => &mut own.secret,
                Category::Auth => &mut own.auth,
            };
            table.insert(mount.path.clone(), Arc::new(mount));
        }
        for name in config.names("policy/", &Page::default())? {
            let stored: PolicyRecord = read_record(opened, space, &format!("policy/{name}"))?;
            let policy = Policy::parse(&name, &stored.text)?.until(stored.expires);
            own.policies.insert(name, Arc::new(policy));
        }
        for name in config.names("audit/", &Page::default())? {
            let device: AuditRecord = read_record(opened, space, &format!("audit/{name}"))?;
            own.audit.insert(device.path.clone(), device);
        }
        if let Some(row) = config.row(AUDITED_HEADERS)? {
            own.headers = decode_record(&row.value)?;
        }
        own.browsers = Arc::new(Browsers::load(&config)?);
        own.mfa = Mfa::load(&config)?;
        Ok(own)
    }

    /// What is known of a namespace whose keys are not here.
    fn sealed() -> Self {
        Self {
            sealed: true,
            ..Self::default()
        }
    }

    /// Whether its keys are not here.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// The mounts of a category, by path.
    pub fn mounts(&self, category: Category) -> &BTreeMap<String, Arc<MountRecord>> {
        match category {
            Category::Secret => &self.secret,
            Category::Auth => &self.auth,
        }
    }

    /// Second factors of logins.
    pub fn mfa(&self) -> &Mfa {
        &self.mfa
    }

    /// Every mount.
    pub fn all_mounts(&self) -> impl Iterator<Item = &Arc<MountRecord>> {
        self.secret.values().chain(self.auth.values())
    }
}

impl Catalog {
    /// Reads the whole configuration of a view, and gives the root's. What `before` knows of namespaces that have not
    /// changed since is not read again.
    pub fn load(opened: &Opened, before: Option<&Self>) -> Result<Self, Error> {
        let epoch_of = |number: u32| opened.space(Space::within(Table::Config, number)).revision(EPOCH);
        let root = Own::load(opened, ROOT_NAMESPACE, epoch_of(ROOT_NAMESPACE)?)?;
        let mut all = vec![(Arc::new(NamespaceRecord::root()), Arc::new(root))];
        let mut found = records(opened, ROOT_NAMESPACE)?;
        while let Some(record) = found.pop() {
            let ring = ring_of(record.number);
            let is_open = opened.barrier().has_ring(ring);
            if is_open && ring != RING && record.number == owner_of(ring) {
                found.extend(records(opened, record.number)?);
            }
            let own = if !is_open {
                Arc::new(Own::sealed())
            } else if record.closing {
                // Its rows are being removed: nothing in it answers any more.
                Arc::default()
            } else {
                let epoch = epoch_of(record.number)?;
                let known = before.and_then(|before| before.tree.node(record.number));
                match known.filter(|known| known.own.epoch == epoch && epoch > 0) {
                    Some(known) => known.own.clone(),
                    None => Arc::new(Own::load(opened, record.number, epoch)?),
                }
            };
            all.push((Arc::new(record), own));
        }
        let wrapping = match before {
            Some(before) => before.tree.wrapping.clone(),
            None => Arc::new(Policy::parse(WRAPPING_POLICY, RESPONSE_WRAPPING)?),
        };
        let cluster = (
            Arc::new(quota::Rules::load(opened)?),
            Arc::new(Watched::load(opened)?),
        );
        Self::of_tree(Arc::new(Tree::new(all, wrapping)), cluster, ROOT_NAMESPACE)
    }

    fn of_tree(
        tree: Arc<Tree>,
        (quotas, watched): (Arc<quota::Rules>, Arc<Watched>),
        number: u32,
    ) -> Result<Self, Error> {
        let node = tree.node(number);
        let (namespace, own) = node
            .map(|node| (node.record.clone(), node.own.clone()))
            .ok_or(Error::NoNamespace)?;
        Ok(Self {
            namespace,
            own,
            tree,
            quotas,
            watched,
        })
    }

    /// The catalog of another namespace of the same view.
    ///
    /// # Errors
    /// [`Error::NoNamespace`] if there is none of this number.
    pub fn of(&self, number: u32) -> Result<Self, Error> {
        match number == self.namespace.number {
            true => Ok(self.clone()),
            false => {
                let cluster = (self.quotas.clone(), self.watched.clone());
                Self::of_tree(self.tree.clone(), cluster, number)
            }
        }
    }

    /// The namespace whose catalog this is.
    pub fn namespace(&self) -> &Arc<NamespaceRecord> {
        &self.namespace
    }

    /// All namespaces of the view.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// This namespace among all of them.
    pub fn node(&self) -> Result<&Node, Error> {
        let node = self.tree.node(self.namespace.number);
        node.ok_or_else(|| Error::internal("a namespace is missing among its like"))
    }

    /// Headers that audit devices record. The root alone has any.
    pub fn audited_headers(&self) -> &AuditedHeaders {
        &self.own.headers
    }

    /// What browsers are told. The root alone has anything to tell.
    pub fn browsers(&self) -> &Arc<Browsers> {
        &self.own.browsers
    }

    /// Audit devices, by path. The root alone has any.
    pub fn audit(&self) -> &BTreeMap<String, AuditRecord> {
        &self.own.audit
    }

    /// Second factors that this namespace itself asks for.
    pub fn mfa(&self) -> &Mfa {
        &self.own.mfa
    }

    /// The mounts of a category, by path.
    pub fn mounts(&self, category: Category) -> &BTreeMap<String, Arc<MountRecord>> {
        self.own.mounts(category)
    }

    /// The policy `name`.
    pub fn policy(&self, name: &str) -> Option<&Arc<Policy>> {
        if name == WRAPPING_POLICY {
            return Some(&self.tree.wrapping);
        }
        self.own.policies.get(name)
    }

    /// All policy names, sorted.
    pub fn policy_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.own.policies.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// The mount with the longest path that `path` lies beneath.
    pub fn route<'c>(&'c self, path: &'c CanonPath) -> Option<Routed<'c>> {
        match path.as_str().strip_prefix("auth/") {
            Some(beneath) => longest(&self.own.auth, beneath),
            None => longest(&self.own.secret, path.as_str()),
        }
    }

    /// The mount with this id, in whatever namespace.
    pub fn mount_by_id(&self, id: u32) -> Option<&Arc<MountRecord>> {
        self.tree.mount(id)
    }
}

/// The records of namespaces that lie among the configuration of one.
fn records(opened: &Opened, home: u32) -> Result<Vec<NamespaceRecord>, Error> {
    let space = Space::within(Table::Config, home);
    let numbers = opened.space(space).names(RECORDS, &Page::default())?;
    let read = |number: &String| read_record(opened, space, &format!("{RECORDS}{number}"));
    numbers.iter().map(read).collect()
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
    // The mount's own name is the mount too, as upstream.
    let mount = table.get(&format!("{path}/"))?;
    Some(Routed { mount, rest: "" })
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
    /// From when on it is as if it were not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Millis>,
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

fn read_record<T: DeserializeOwned>(opened: &Opened, space: Space, path: &str) -> Result<T, Error> {
    let row = opened.space(space).row(path)?;
    let row = row.ok_or_else(|| Error::internal("a listed configuration record is gone"))?;
    decode_record(&row.value)
}

#[cfg(test)]
impl Catalog {
    /// The root of a tree of namespaces without anything in them.
    pub fn of_namespaces(records: Vec<NamespaceRecord>) -> Self {
        let root = (Arc::new(NamespaceRecord::root()), Arc::default());
        let others = records
            .into_iter()
            .map(|record| (Arc::new(record), Arc::default()));
        let wrapping = Arc::new(Policy::parse(WRAPPING_POLICY, RESPONSE_WRAPPING).unwrap());
        let tree = Tree::new(std::iter::once(root).chain(others).collect(), wrapping);
        Self::of_tree(Arc::new(tree), Default::default(), ROOT_NAMESPACE).unwrap()
    }

    fn of_mounts(own: Own) -> Self {
        let root = Self::of_namespaces(Vec::new());
        Self {
            own: Arc::new(own),
            ..root
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(path: &str) -> (String, Arc<MountRecord>) {
        let record = MountRecord {
            id: 1,
            namespace: 0,
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
        let catalog = Catalog::of_mounts(Own {
            secret: BTreeMap::from([mount("a/"), mount("a/b/"), mount("ab/")]),
            auth: BTreeMap::from([mount("token/")]),
            ..Own::default()
        });
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
        assert_eq!(route("a"), Some(("a/".into(), String::new())));
        assert_eq!(route("a/b"), Some(("a/".into(), "b".into())));
        assert_eq!(route("b"), None);
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
