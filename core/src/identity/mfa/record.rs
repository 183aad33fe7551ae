//! Methods and enforcements as stored, and all of a namespace ready to be asked. It must not know how codes are made.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use conclave_engine_api::Page;

use crate::catalog::{Catalog, decode_record};
use crate::error::Error;
use crate::identity::mfa::totp::Algorithm;
use crate::namespaces::NamespaceRecord;
use crate::store::SpaceReader;

/// Where methods are stored, by id.
pub const METHODS: &str = "mfa/method/";
/// Where enforcements are stored, by name.
pub const ENFORCEMENTS: &str = "mfa/enforcement/";

/// A way to prove oneself a second time: codes from a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Method {
    /// Random; never used again.
    pub id: String,
    /// What people call it; one method's alone in its namespace. May be empty.
    pub name: String,
    /// Shown by the device beside the code.
    pub issuer: String,
    /// How long a code holds, in seconds.
    pub period: u64,
    /// What makes codes of a secret.
    pub algorithm: Algorithm,
    /// 6 or 8.
    pub digits: u8,
    /// Codes of how many periods before and after are taken too: 0 or 1.
    pub skew: u8,
    /// Bytes of new secrets.
    pub key_size: usize,
    /// Pixels of a side of the barcode that shows a new secret; 0 for none.
    pub qr_size: u32,
    /// Wrong codes after which an entity has to wait for a period.
    pub max_validation_attempts: u32,
}

/// Who must show a second factor, and which.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforcement {
    /// One enforcement's alone in its namespace.
    pub name: String,
    /// Shown to clients.
    pub id: String,
    /// Any of these methods will do.
    pub mfa_method_ids: Vec<String>,
    /// Logins at these mounts ...
    pub auth_method_accessors: Vec<String>,
    /// ... and at mounts of these types ...
    pub auth_method_types: Vec<String>,
    /// ... and of members of these groups, directly or through others ...
    pub identity_group_ids: Vec<String>,
    /// ... and of these entities.
    pub identity_entity_ids: Vec<String>,
}

/// Those of a namespace.
#[derive(Debug, Default)]
pub struct Mfa {
    /// By id.
    pub methods: BTreeMap<String, Arc<Method>>,
    /// By name.
    pub enforcements: BTreeMap<String, Arc<Enforcement>>,
}

impl Mfa {
    /// Reads those among the configuration rows of a namespace.
    ///
    /// # Errors
    /// The store's own, and a row that cannot be read.
    pub fn load(config: &SpaceReader<'_>) -> Result<Self, Error> {
        let mut mfa = Self::default();
        for id in config.names(METHODS, &Page::default())? {
            if let Some(row) = config.row(&format!("{METHODS}{id}"))? {
                mfa.methods.insert(id, Arc::new(decode_record(&row.value)?));
            }
        }
        for name in config.names(ENFORCEMENTS, &Page::default())? {
            if let Some(row) = config.row(&format!("{ENFORCEMENTS}{name}"))? {
                mfa.enforcements
                    .insert(name, Arc::new(decode_record(&row.value)?));
            }
        }
        Ok(mfa)
    }
}

/// A method and the namespace it is of.
#[derive(Clone)]
pub struct Placed<'c> {
    /// The method.
    pub method: &'c Arc<Method>,
    /// Its namespace.
    pub namespace: &'c NamespaceRecord,
}

impl Placed<'_> {
    /// What a client may call it beside its id: the path of its namespace and its name. `None` without a name.
    pub fn full_name(&self) -> Option<String> {
        let name = self.method.name.as_str();
        (!name.is_empty()).then(|| format!("{}{name}", self.namespace.path))
    }
}

/// All methods that hold in the namespace of a catalog: its own and those of the namespaces above.
pub fn methods(catalog: &Catalog) -> impl Iterator<Item = Placed<'_>> {
    let way = catalog.tree().way(catalog.namespace().number);
    way.into_iter().flat_map(|node| {
        let placed = |method| Placed {
            method,
            namespace: &node.record,
        };
        node.mfa().methods.values().map(placed)
    })
}

/// The one of them with this id.
pub fn method<'c>(catalog: &'c Catalog, id: &str) -> Option<Placed<'c>> {
    methods(catalog).find(|placed| placed.method.id == id)
}
