//! Making a token: its row, its accessor, its place under its parent, all in one command with whatever asked for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use conclave_engine_api::{Env, Millis};

use crate::catalog::encode_record;
use crate::error::Error;
use crate::namespaces::id;
use crate::tokens::{LoginOrigin, TokenKind, TokenRecord, accessor_name, batch, name_of, revoke};
use crate::work::Work;

/// Characters of a token after its prefix and of an accessor: 142 bits, as OpenBao's.
const RANDOM_CHARS: usize = 24;

/// What a random token begins with.
const PREFIX: &str = "s.";
/// Length of a random token.
pub const RANDOM_TOKEN_BYTES: usize = PREFIX.len() + RANDOM_CHARS;

/// Where root tokens are made that no token asked for: by `init`, or by the holders of shares.
pub const ROOT_PATH: &str = "auth/token/root";

/// A token nobody can guess.
pub fn random_token(env: &mut Env<'_>) -> zeroize::Zeroizing<String> {
    zeroize::Zeroizing::new(format!("{PREFIX}{}", env.base62(RANDOM_CHARS)))
}

/// What is wanted of a new token; lives are already bounded by whoever asks.
#[derive(Default, Serialize, Deserialize)]
pub struct NewToken {
    /// Chosen id; `None` for a random one.
    pub id: Option<String>,
    /// Name of the parent's row; `None` for an orphan.
    pub parent: Option<String>,
    /// Names of policies.
    pub policies: Vec<String>,
    /// Where it is made.
    pub path: String,
    /// Free metadata.
    pub meta: BTreeMap<String, String>,
    /// For people.
    pub display_name: String,
    /// 0: unlimited.
    pub num_uses: u64,
    /// 0: never ends.
    pub ttl: Millis,
    /// 0: the system's.
    pub explicit_max_ttl: Millis,
    /// 0: none.
    pub period: Millis,
    /// Whether it may be renewed.
    pub renewable: bool,
    /// Networks it is good from; empty for all.
    pub bound_cidrs: Vec<String>,
    /// The token role that makes it.
    pub role: String,
    /// The id of the entity it is of; empty for nobody's.
    pub entity: String,
    /// When a second factor was shown for it; 0 for never.
    pub factor: Millis,
    /// The login that makes it.
    pub login: Option<LoginOrigin>,
    /// How it lives.
    pub kind: TokenKind,
}

impl NewToken {
    /// A token that may do everything and never ends.
    pub fn root(id: Option<String>) -> Self {
        Self {
            id,
            policies: vec!["root".to_owned()],
            path: ROOT_PATH.to_owned(),
            display_name: "root".to_owned(),
            ..Self::default()
        }
    }
}

/// A token as its first holder sees it.
pub struct Minted {
    /// The token itself.
    pub id: zeroize::Zeroizing<String>,
    /// What is stored of it.
    pub record: TokenRecord,
}

/// Puts a new token into `work`; one that is stored nowhere is only sealed.
pub fn mint(work: &mut Work<'_>, env: &mut Env<'_>, new: NewToken) -> Result<Minted, Error> {
    let barrier = work.opened().barrier().clone();
    let (now, namespace) = (env.now(), work.namespace());
    let uses = i64::try_from(new.num_uses).map_err(|_| Error::invalid("num_uses is too large"))?;
    let mut record = TokenRecord {
        accessor: String::new(),
        parent: new.parent,
        policies: new.policies,
        path: new.path,
        meta: new.meta,
        display_name: new.display_name,
        num_uses: new.num_uses,
        kind: new.kind,
        created: now,
        creation_ttl: new.ttl,
        renewed: 0,
        expires: if new.ttl == 0 {
            0
        } else {
            now.saturating_add(new.ttl)
        },
        explicit_max_ttl: new.explicit_max_ttl,
        period: new.period,
        renewable: new.renewable,
        bound_cidrs: new.bound_cidrs,
        role: new.role,
        entity: new.entity,
        factor: new.factor,
        login: new.login,
        namespace,
        bare: new.kind == TokenKind::Service,
    };
    if record.kind != TokenKind::Service {
        let id = batch::seal(&barrier, &record)?;
        return Ok(Minted { id, record });
    }
    let id = new.id.map_or_else(
        || zeroize::Zeroizing::new(id::mark(&random_token(env), namespace)),
        zeroize::Zeroizing::new,
    );
    record.accessor = id::mark(&env.base62(RANDOM_CHARS), namespace);
    let name = name_of(&barrier, &id);
    if work.tokens.get(&name)?.is_some() {
        return Err(Error::invalid("cannot create a token with a duplicate ID"));
    }
    let deadline = Some(record.expires).filter(|expires| *expires > 0);
    work.tokens.put_due(&name, encode_record(&record)?, deadline)?;
    work.accessors
        .put(&accessor_name(&barrier, &record.accessor), encode_record(&name)?)?;
    if let Some(owner) = record.owner() {
        work.children
            .put(&format!("{owner}/{name}"), encode_record(&())?)?;
    }
    if let Some(parent) = &record.parent {
        revoke::hang_on(work, parent)?;
    }
    if uses > 0 {
        crate::tokens::add_uses(&mut work.draft, &name, uses, 0)?;
    }
    Ok(Minted { id, record })
}
