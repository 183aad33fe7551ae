//! One request as it is left in the queue: references to what the pipeline had anyway, no text is copied. What it was is
//! worked out where the queue is emptied.

use std::net::IpAddr;
use std::sync::Arc;

use conclave_anomaly::{Act, Fact, Gather, Keyer, Network};
use conclave_engine_api::{Millis, Operation, Status};

use crate::anomaly::identity::{Domain, Identity};
use crate::canon::CanonPath;
use crate::catalog::{Category, MountRecord};
use crate::core::Core;
use crate::error::Error;
use crate::namespaces::NamespaceRecord;
use crate::routes::{Answer, matches};
use crate::tokens::{Caller, TokenRecord};

/// What came of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Done {
        listed: u32,
    },
    /// Answered, but nothing was there.
    Nothing,
    Unauthenticated,
    /// Of a login: the first factor was right, the second was not.
    WrongFactor,
    Denied,
    /// The request was wrong; of a login: the credentials were.
    Refused,
}

/// One request.
pub(crate) struct Seen {
    pub at: Millis,
    pub operation: Operation,
    pub path: Arc<CanonPath>,
    pub number: u32,
    pub namespace: Option<Arc<NamespaceRecord>>,
    pub mount: Option<Arc<MountRecord>>,
    pub caller: Option<Arc<Caller>>,
    pub remote: Option<IpAddr>,
    /// Whether a token was shown, valid or not.
    pub token_shown: bool,
    pub canary: bool,
    /// Who logged in.
    login: Option<Box<Identity>>,
    end: End,
}

/// What core knows of a request when it ends.
pub(crate) struct Asked<'a> {
    pub at: Millis,
    pub operation: Operation,
    pub path: &'a Arc<CanonPath>,
    pub number: u32,
    pub namespace: Option<&'a Arc<NamespaceRecord>>,
    pub mount: Option<&'a Arc<MountRecord>>,
    pub caller: Option<&'a Arc<Caller>>,
    pub remote: Option<IpAddr>,
    pub token_shown: bool,
    pub canary: bool,
}

impl Seen {
    /// Of a request that was answered or refused; `None` for what tells nothing of anybody.
    pub fn of(asked: &Asked<'_>, outcome: Result<&Answer, &Error>) -> Option<Self> {
        let end = match outcome {
            Ok(answer) => match answer.reply.status {
                Status::NotFoundWithBody => End::Nothing,
                _ => End::Done {
                    listed: listed(asked.operation, answer),
                },
            },
            Err(Error::Denied {
                unauthenticated: true,
            }) => End::Unauthenticated,
            Err(Error::SecondFactor(_)) if asked.caller.is_none() => End::WrongFactor,
            Err(Error::Denied { .. } | Error::SecondFactor(_)) => End::Denied,
            Err(Error::Invalid(_)) => End::Refused,
            Err(Error::NotFound { .. } | Error::Missing(_)) => End::Nothing,
            Err(_) => return None,
        };
        let login = outcome.ok().and_then(|answer| answer.login.as_deref());
        Some(Self {
            at: asked.at,
            operation: asked.operation,
            path: asked.path.clone(),
            number: asked.number,
            namespace: asked.namespace.cloned(),
            mount: asked.mount.cloned(),
            caller: asked.caller.cloned(),
            remote: asked.remote,
            token_shown: asked.token_shown,
            canary: asked.canary && asked.caller.is_some(),
            login: login.map(|record: &TokenRecord| Box::new(Identity::of(record, ""))),
            end,
        })
    }

    /// Adds what it was to what a node gathers.
    pub fn gather(self, core: &Core, keyer: &Keyer, gather: &mut Gather) {
        let tried = self.name_tried(core);
        let Some(act) = self.act(tried.is_some()) else {
            return;
        };
        let above = self
            .namespace
            .as_ref()
            .map_or("", |namespace| namespace.path.as_str());
        let path = self.path.as_str();
        let number = self.number.to_be_bytes();
        let what = keyer.key(Domain::Path as u8, &[&number, path.as_bytes()]);
        let source = self.remote.map(Network::of);
        let source_key = source.map_or(0, |network| keyer.key(Domain::Network as u8, &[&network.bytes()]));
        let identity = match (&self.login, &self.caller) {
            (Some(login), _) => Some(std::borrow::Cow::Borrowed(login.as_ref())),
            (None, Some(caller)) => Some(std::borrow::Cow::Owned(Identity::of(
                &caller.record,
                &caller.name,
            ))),
            (None, None) => None,
        };
        let mut fact = Fact {
            what,
            source: source_key,
            namespace: self.number,
            mount: self.mount.as_ref().map_or(0, |mount| mount.id),
            ..Fact::new(act, self.at)
        };
        if let End::Done { listed } = self.end {
            fact.listed = listed;
        }
        if act.is_failure() {
            fact.what = 0;
            if let Some(name) = tried {
                fact.who = keyer.key(Domain::Name as u8, &[&fact.mount.to_be_bytes(), name.as_bytes()]);
                gather.name(fact.who, || name.to_owned());
            }
        } else {
            let Some(identity) = identity else { return };
            fact.who = identity.key(keyer);
            gather.name(fact.who, || identity.label());
            gather.name(what, || format!("{above}{path}"));
        }
        if let (Some(caller), false) = (&self.caller, act.is_failure()) {
            fact.token = keyer.key(Domain::Token as u8, &[caller.name.as_bytes()]);
            gather.name(fact.token, || caller.name.clone());
        }
        if let Some(network) = source {
            gather.name(source_key, || network.to_string());
        }
        gather.add(fact);
    }

    fn act(&self, is_login: bool) -> Option<Act> {
        let read = self.operation == Operation::Read;
        match self.end {
            End::Unauthenticated | End::Refused if is_login => Some(Act::LoginFailed),
            End::WrongFactor => Some(Act::LoginFailed),
            End::Unauthenticated => self.token_shown.then_some(Act::BadToken),
            _ if self.canary && (read || self.end == End::Denied) => Some(Act::Canary),
            End::Denied => Some(Act::Denied),
            End::Done { .. } if self.login.is_some() => Some(Act::Login),
            End::Done { .. } => Some(match self.operation {
                Operation::Read if self.hands_out_secrets() => Act::Read,
                Operation::List | Operation::Scan => Act::List,
                operation if operation.is_write() => Act::Write,
                _ => Act::Other,
            }),
            End::Nothing | End::Refused => Some(Act::Other),
        }
    }

    /// Whether a read here is one of a secret: core's own mounts have none, and of versioned ones only the data is.
    fn hands_out_secrets(&self) -> bool {
        let Some(mount) = &self.mount else { return false };
        if mount.category != Category::Secret
            || matches!(mount.kind.as_str(), "system" | "identity" | "cubbyhole")
        {
            return false;
        }
        let versioned =
            mount.kind == "kv" && mount.options.get("version").is_some_and(|version| version == "2");
        let rest = self
            .path
            .as_str()
            .strip_prefix(mount.path.as_str())
            .unwrap_or_default();
        !versioned || rest.starts_with("data/") || rest.starts_with("subkeys/")
    }

    /// Under which name somebody tried to log in, if this was a login: what its path ends in.
    fn name_tried(&self, core: &Core) -> Option<&str> {
        let mount = self
            .mount
            .as_ref()
            .filter(|mount| mount.category == Category::Auth)?;
        let method = core.engine_of(mount)?;
        let rest = self
            .path
            .as_str()
            .strip_prefix("auth/")?
            .strip_prefix(mount.path.as_str())?;
        let is_login = method
            .logins()
            .iter()
            .any(|pattern| matches(pattern, rest).is_some());
        is_login.then(|| rest.rsplit('/').next().unwrap_or(rest))
    }
}

fn listed(operation: Operation, answer: &Answer) -> u32 {
    if !matches!(operation, Operation::List | Operation::Scan) {
        return 0;
    }
    let keys = answer
        .reply
        .data
        .as_ref()
        .and_then(|data| data.get("keys")?.as_array());
    keys.map_or(0, |keys| u32::try_from(keys.len()).unwrap_or(u32::MAX))
}
