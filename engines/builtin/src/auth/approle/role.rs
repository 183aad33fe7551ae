//! A role: made, changed, shown and deleted. A role that is made again under the same name is another one: secret ids and
//! tokens of the first are none of the second's.

use conclave_engine_api::cidr::check_blocks;
use conclave_engine_api::{Env, Error, Fields, Millis, Outcome, Reply, Request, TokenSettings, Txn};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::auth::old_names::OldNames;
use crate::record;

/// Format of a role's row.
const FORMAT: u8 = 1;
/// Bytes of the key under which a role's secret ids are hashed.
const KEY_BYTES: usize = 32;
/// Bytes that tell a role from all others, also of its name.
const UID_BYTES: usize = 16;
/// Longest id that somebody chooses, in bytes.
const MAX_ID_BYTES: usize = 4096;
/// What parameters were called before.
pub(super) const OLD_NAMES: &[(&str, &str)] = &[("policies", "token_policies"), ("period", "token_period")];
/// A parameter that is taken under its old name and shown under the new one.
const OLD_CIDRS: &[(&str, &str)] = &[("bound_cidr_list", "secret_id_bound_cidrs")];

/// A role as stored, at `role/<name>`; its name again at `role_id/<hash of the id>`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Role {
    /// What it logs in by.
    pub role_id: String,
    /// Tells it from other roles of its name.
    pub uid: String,
    /// Key of its secret ids' hashes, hexadecimal.
    #[serde(with = "crate::wiped")]
    key: Zeroizing<String>,
    /// Whether a login needs a secret id.
    pub bind_secret_id: bool,
    /// Networks from which secret ids are good; `None`: never set.
    pub secret_id_bound_cidrs: Option<Vec<String>>,
    /// 0: unlimited.
    pub secret_id_num_uses: u64,
    /// 0: for ever.
    pub secret_id_ttl: Millis,
    /// Kept and shown: there is one cluster.
    pub local_secret_ids: bool,
    /// What tokens may be.
    pub token: TokenSettings,
    pub old_names: OldNames,
}

impl Role {
    fn new(env: &mut Env<'_>) -> Self {
        Self {
            role_id: env.uuid(),
            uid: env.hex(UID_BYTES),
            key: Zeroizing::new(env.hex(KEY_BYTES)),
            bind_secret_id: true,
            secret_id_bound_cidrs: None,
            secret_id_num_uses: 0,
            secret_id_ttl: 0,
            local_secret_ids: false,
            token: TokenSettings::default(),
            old_names: OldNames::default(),
        }
    }

    /// The role called `name`.
    pub(super) fn load(txn: &mut Txn<'_>, name: &str) -> Result<Option<Self>, Error> {
        let stored = txn.get(&row(name))?;
        stored.map(|row| record::decode(FORMAT, &row.value)).transpose()
    }

    /// The role with this id, and its name.
    pub(super) fn by_id(txn: &mut Txn<'_>, role_id: &str) -> Result<Option<(String, Self)>, Error> {
        let Some(stored) = txn.get(&id_row(role_id))? else {
            return Ok(None);
        };
        let name: String = record::decode(FORMAT, &stored.value)?;
        let role = Self::load(txn, &name)?.filter(|role| role.role_id == role_id);
        Ok(role.map(|role| (name, role)))
    }

    /// Checks and stores it.
    pub(super) fn store(&self, txn: &mut Txn<'_>, name: &str) -> Result<(), Error> {
        let bound = |cidrs: Option<&Vec<String>>| cidrs.is_some_and(|cidrs| !cidrs.is_empty());
        if !self.bind_secret_id
            && !bound(self.secret_id_bound_cidrs.as_ref())
            && !bound(Some(&self.token.bound_cidrs))
        {
            return Err(Error::invalid(
                "at least one constraint should be enabled on the role",
            ));
        }
        self.token.check()?;
        txn.put(&row(name), record::encode(FORMAT, self)?)
    }

    /// Chooses the id that it logs in by.
    pub(super) fn identify(&mut self, txn: &mut Txn<'_>, name: &str, role_id: String) -> Result<(), Error> {
        if role_id.len() > MAX_ID_BYTES {
            return Err(Error::invalid(format!(
                "role_id is longer than {MAX_ID_BYTES} bytes"
            )));
        }
        let taken: Option<String> = txn
            .get(&id_row(&role_id))?
            .map(|stored| record::decode(FORMAT, &stored.value))
            .transpose()?;
        if taken.is_some_and(|taken| taken != name) {
            return Err(Error::invalid("role_id already in use"));
        }
        if self.role_id != role_id {
            txn.delete(&id_row(&self.role_id))?;
        }
        self.role_id = role_id;
        txn.put(&id_row(&self.role_id), record::encode(FORMAT, &name)?)
    }

    /// The name of a secret id among the role's rows.
    pub(super) fn hash(&self, secret_id: &str) -> Result<String, Error> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_bytes())
            .map_err(|_| Error::internal("a role's key cannot be used"))?;
        mac.update(secret_id.as_bytes());
        Ok(hex::encode(mac.finalize().into_bytes()))
    }

    /// What is shown of it.
    pub(super) fn describe(&self) -> Map<String, Value> {
        let mut data = Map::new();
        let mut put = |name: &str, value: Value| data.insert(name.to_owned(), value);
        put("bind_secret_id", json!(self.bind_secret_id));
        put("local_secret_ids", json!(self.local_secret_ids));
        put("secret_id_bound_cidrs", json!(self.secret_id_bound_cidrs));
        put("secret_id_num_uses", json!(self.secret_id_num_uses));
        put("secret_id_ttl", json!(self.secret_id_ttl / 1000));
        self.token.describe(&mut data);
        self.old_names.describe(&mut data, OLD_NAMES);
        data
    }

    /// Takes over the parameters of a body that are given.
    pub(super) fn read(&mut self, body: &Map<String, Value>) -> Result<(), Error> {
        let body = self.old_names.renamed(body, OLD_NAMES);
        let body = OldNames::default().renamed(&body, OLD_CIDRS);
        let fields = Fields::new(&body).unprefixed();
        self.token.read(&fields)?;
        if let Some(bind) = fields.bool("bind_secret_id")? {
            self.bind_secret_id = bind;
        }
        if let Some(cidrs) = fields.strings("secret_id_bound_cidrs")? {
            self.secret_id_bound_cidrs = Some(check_blocks(cidrs)?);
        }
        if let Some(uses) = fields.int("secret_id_num_uses")? {
            let negative = |_| Error::invalid("secret_id_num_uses cannot be negative");
            self.secret_id_num_uses = u64::try_from(uses).map_err(negative)?;
        }
        if let Some(ttl) = fields.duration("secret_id_ttl")? {
            self.secret_id_ttl = ttl;
        }
        Ok(())
    }
}

/// Makes or changes a role.
pub(super) fn write(
    txn: &mut Txn<'_>,
    request: &Request<'_>,
    env: &mut Env<'_>,
    name: &str,
) -> Result<Outcome, Error> {
    let fields = request.fields().unprefixed();
    let known = Role::load(txn, name)?;
    let is_new = known.is_none();
    let mut role = known.unwrap_or_else(|| Role::new(env));
    if let Some(local) = fields.bool("local_secret_ids")? {
        if !is_new {
            return Err(Error::invalid(
                "local_secret_ids can only be modified during role creation",
            ));
        }
        role.local_secret_ids = local;
    }
    role.read(request.data)?;
    let role_id = fields.string("role_id")?.filter(|id| !id.is_empty());
    let role_id = role_id.or(is_new.then(|| role.role_id.clone()));
    if let Some(role_id) = role_id {
        role.identify(txn, name, role_id)?;
    }
    role.store(txn, name)?;
    Ok(Reply::empty().into())
}

/// Deletes a role. Its secret ids are good for nothing at once, and removed in batches.
pub(super) fn delete(txn: &mut Txn<'_>, env: &mut Env<'_>, name: &str) -> Result<Outcome, Error> {
    if let Some(role) = Role::load(txn, name)? {
        txn.delete(&row(name))?;
        txn.delete(&id_row(&role.role_id))?;
        txn.put_due(
            &format!("closing/{}", role.uid),
            record::encode(FORMAT, &())?,
            Some(env.now()),
        )?;
    }
    Ok(Reply::empty().into())
}

fn row(name: &str) -> String {
    format!("role/{name}")
}

/// Ids are chosen freely: hashed, they are one segment of a path.
fn id_row(role_id: &str) -> String {
    format!("role_id/{}", hex::encode(Sha256::digest(role_id.as_bytes())))
}
