//! What is kept of entities, aliases and groups. It must not know where.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use conclave_engine_api::Millis;

/// Longest name of an entity, alias or group in bytes.
pub const MAX_NAME_BYTES: usize = 512;
/// Most policies of an entity or group.
pub const MAX_POLICIES: usize = 1000;
/// Most aliases of an entity.
pub const MAX_ALIASES: usize = 500;
/// Most members of a group, of each kind.
pub const MAX_MEMBERS: usize = 10_000;
/// Most entities that were merged into one.
pub const MAX_MERGED: usize = 1000;

/// Pairs somebody chose.
pub type Metadata = BTreeMap<String, String>;

/// Somebody, by whatever names they log in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// Random; never used again.
    pub id: String,
    /// One entity's alone, whatever its case.
    pub name: String,
    /// `None`: never given.
    pub metadata: Option<Metadata>,
    /// Names of policies, sorted.
    pub policies: Vec<String>,
    /// Whether its tokens are refused.
    pub disabled: bool,
    /// At most one for each mount.
    pub aliases: Vec<Alias>,
    /// Ids of entities that were merged into it, all of them.
    pub merged: Vec<String>,
    /// Ids of the methods of second factors that it has a secret for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub factors: Vec<String>,
    /// When it was made.
    pub created: Millis,
    /// When it was changed last.
    pub updated: Millis,
}

/// The name of an entity, or of an external group, at a mount.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    /// Random; never used again.
    pub id: String,
    /// The name there; one alias's alone, whatever its case.
    pub name: String,
    /// The mount's id.
    pub mount: u32,
    /// The mount's accessor, as clients name it.
    pub accessor: String,
    /// What the last login said.
    pub metadata: Option<Metadata>,
    /// What somebody wrote beside it.
    pub custom: Option<Metadata>,
    /// Entities it belonged to before they were merged.
    pub merged_from: Vec<String>,
    /// When it was made.
    pub created: Millis,
    /// When it was changed last.
    pub updated: Millis,
}

/// Where a group's members come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupKind {
    /// From whoever writes the group.
    Internal,
    /// From an auth method, which knows the group by an alias.
    External,
}

impl GroupKind {
    /// By its name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "internal" => Some(Self::Internal),
            "external" => Some(Self::External),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::External => "external",
        }
    }
}

/// Entities and groups that share policies.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Random; never used again.
    pub id: String,
    /// One group's alone, whatever its case.
    pub name: String,
    /// Where members come from.
    pub kind: GroupKind,
    /// `None`: never given.
    pub metadata: Option<Metadata>,
    /// Names of policies, sorted; `None`: never given.
    pub policies: Option<Vec<String>>,
    /// Ids of entities, sorted; `None`: never given.
    pub entities: Option<Vec<String>>,
    /// Ids of groups, sorted.
    pub groups: Vec<String>,
    /// Its name at a mount, if it is external.
    pub alias: Option<Alias>,
    /// One more with each change.
    pub changes: u64,
    /// When it was made.
    pub created: Millis,
    /// When it was changed last.
    pub updated: Millis,
}

impl Entity {
    /// A new one that nobody has given anything.
    pub fn new(id: String, name: String, now: Millis) -> Self {
        Self {
            id,
            name,
            metadata: None,
            policies: Vec::new(),
            disabled: false,
            aliases: Vec::new(),
            merged: Vec::new(),
            factors: Vec::new(),
            created: now,
            updated: now,
        }
    }
}

impl Group {
    /// A new one without members.
    pub fn new(id: String, name: String, kind: GroupKind, now: Millis) -> Self {
        Self {
            id,
            name,
            kind,
            metadata: None,
            policies: None,
            entities: None,
            groups: Vec::new(),
            alias: None,
            changes: 0,
            created: now,
            updated: now,
        }
    }

    /// All members, of both kinds.
    pub fn members(&self) -> impl Iterator<Item = &String> {
        self.entities.iter().flatten().chain(&self.groups)
    }
}
