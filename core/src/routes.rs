//! Route tables of core's own mounts (`sys/`, `auth/token/`): patterns, what they answer, who may call. A feature is one
//! file of handlers and its lines in a table.

use std::net::IpAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::{Map, Value};

use conclave_engine_api::{Env, Fields, Operation, Reply};

use crate::backup::Spool;
use crate::core::Core;
use crate::error::Error;
use crate::logs::Lines;
use crate::tokens::{Caller, TokenRecord};
use crate::watch::Watching;
use crate::work::Work;
use crate::wrapping::Wrap;

/// What core's own handlers answer: an engine's reply, and what only core may add to it.
#[derive(Default)]
pub struct Answer {
    /// The reply.
    pub reply: Reply,
    /// A token handed out.
    pub auth: Option<Map<String, Value>>,
    /// What a login's token is, for the record of who it was.
    pub login: Option<Box<TokenRecord>>,
    /// Whether `data` is repeated at the top level.
    pub at_top_level: bool,
    /// A file to be sent instead of the reply.
    pub file: Option<Spool>,
    /// Lines to be sent instead, as they come.
    pub lines: Option<Lines>,
    /// A watch to be sent instead, as it goes on.
    pub watch: Option<Watching>,
    /// How it is wrapped.
    pub wrap: Option<Wrap>,
    /// The lease of what is handed out.
    pub lease: Option<LeaseInfo>,
    /// Whether it is told once and kept nowhere, not even for whoever asks the same again.
    pub told_once: bool,
}

/// What is told of a lease together with what it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Its id.
    pub id: String,
    /// Whether it may be renewed.
    pub renewable: bool,
    /// How long it lives from now.
    pub seconds: u64,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self {
            reply,
            ..Self::default()
        }
    }
}

impl Answer {
    /// Data in the envelope.
    pub fn data(data: Map<String, Value>) -> Self {
        Reply::data(data).into()
    }

    /// Data in the envelope and again beside it, as Vault's first clients read it.
    pub fn at_top_level(data: Map<String, Value>) -> Self {
        Self {
            at_top_level: true,
            ..Self::data(data)
        }
    }

    /// Whether it hands out no token yet, for a second factor is to be shown.
    pub fn awaits_factor(&self) -> bool {
        let requirement = self.auth.as_ref().and_then(|auth| auth.get("mfa_requirement"));
        requirement.is_some_and(|requirement| !requirement.is_null())
    }

    /// Done, nothing to say.
    pub fn empty() -> Self {
        Self::default()
    }
}

/// A call of a handler that works on rows.
pub struct Call<'a, 'r> {
    /// The attempt's transactions.
    pub work: &'a mut Work<'r>,
    /// Time and randomness.
    pub env: Env<'a>,
    /// The node.
    pub core: &'a Arc<Core>,
    /// Who calls.
    pub caller: &'a Caller,
    /// What is to be done.
    pub operation: Operation,
    /// Path beneath the mount.
    pub path: &'a str,
    /// What the pattern's names stand for.
    pub params: Params,
    /// Body and query.
    pub data: &'a Map<String, Value>,
    /// The token as shown.
    pub token: &'a str,
    /// Whether the answer is to be wrapped.
    pub wraps: bool,
    /// Where the request came from, after trusted proxies.
    pub remote: Option<IpAddr>,
    /// How the request is called in its answer and on record.
    pub request_id: &'a str,
}

impl<'a> Call<'a, '_> {
    /// Typed access to the body.
    pub fn fields(&self) -> Fields<'a> {
        Fields::new(self.data)
    }

    /// A path of this namespace as the caller's policies see it.
    pub fn seen(&self, path: &str) -> Result<String, Error> {
        let seen = self.caller.sees(self.work.catalog.namespace(), path);
        Ok(seen.ok_or_else(Error::denied)?.into_owned())
    }

    /// Whether the caller may do what needs `sudo` on a path of this namespace.
    pub fn may_sudo(&self, path: &str) -> bool {
        self.seen(path).is_ok_and(|path| self.caller.acl.may_sudo(&path))
    }
}

/// A call of a handler that acts on the node or the cluster. It holds no view: it takes what it needs.
pub struct Act {
    /// The node.
    pub core: Arc<Core>,
    /// The namespace it is asked in.
    pub namespace: u32,
    /// What is to be done.
    pub operation: Operation,
    /// What the pattern's names stand for.
    pub params: Params,
    /// Body and query.
    pub data: Map<String, Value>,
    /// A large body.
    pub upload: Option<std::path::PathBuf>,
}

impl Act {
    /// Typed access to the body.
    pub fn fields(&self) -> Fields<'_> {
        Fields::new(&self.data)
    }
}

/// What answers a route.
#[derive(Clone, Copy)]
pub enum Handler {
    /// Reads and writes rows in the request's transaction; may run several times.
    Rows(fn(&mut Call<'_, '_>) -> Result<Answer, Error>),
    /// Acts on the node or the cluster; runs once.
    Act(fn(Act) -> BoxFuture<'static, Result<Answer, Error>>),
}

/// One line of a route table.
#[derive(Clone, Copy)]
pub struct Route {
    /// `:name` stands for one segment, a final `*name` for the rest.
    pub pattern: &'static str,
    /// Operations it answers. `Update` stands for `Create` too.
    pub operations: &'static [Operation],
    /// Who may call.
    pub access: Access,
    /// What answers.
    pub handler: Handler,
}

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Whoever the policies allow.
    Policy,
    /// The same, and `sudo` on the path.
    Sudo,
    /// Whoever shows a valid token: the handler tells each caller only what its policies reach.
    Caller,
}

/// A line whose handler works on rows, for whoever the policies allow.
pub(crate) const fn rows(
    pattern: &'static str,
    operations: &'static [Operation],
    handler: fn(&mut Call<'_, '_>) -> Result<Answer, Error>,
) -> Route {
    Route {
        pattern,
        operations,
        access: Access::Policy,
        handler: Handler::Rows(handler),
    }
}

/// A line whose handler acts on the node or the cluster, for whoever the policies allow.
pub(crate) const fn act(
    pattern: &'static str,
    operations: &'static [Operation],
    handler: fn(Act) -> BoxFuture<'static, Result<Answer, Error>>,
) -> Route {
    Route {
        pattern,
        operations,
        access: Access::Policy,
        handler: Handler::Act(handler),
    }
}

/// The same line for those who have `sudo` on the path as well.
pub(crate) const fn sudo(route: Route) -> Route {
    Route {
        access: Access::Sudo,
        ..route
    }
}

/// The same line for whoever shows a valid token.
pub(crate) const fn for_callers(route: Route) -> Route {
    Route {
        access: Access::Caller,
        ..route
    }
}

/// What a pattern's names stand for in a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(Vec<(&'static str, String)>);

impl Params {
    /// The text a name stands for; empty if the pattern has no such name.
    pub fn get(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map_or("", |(_, text)| text)
    }
}

/// The route that answers `operation` on `path`.
pub fn find(table: &[Route], path: &str, operation: Operation) -> Result<(Route, Params), Error> {
    let (mut known, mut lists) = (false, false);
    for route in table {
        let Some(params) = matches(route.pattern, path) else {
            continue;
        };
        known = true;
        lists |= route.operations.contains(&Operation::List);
        if route.operations.iter().any(|answered| same(*answered, operation)) {
            return Ok((*route, params));
        }
    }
    // A list asks for a directory: that a path of this name answers something else does not make it one.
    let is_directory = operation == Operation::Scan && lists;
    if known && (is_directory || !matches!(operation, Operation::List | Operation::Scan)) {
        Err(Error::UnsupportedOperation)
    } else {
        Err(Error::UnsupportedPath)
    }
}

fn same(answered: Operation, asked: Operation) -> bool {
    answered == asked || answered.is_write() && asked.is_write()
}

/// Matches a path against a pattern. A trailing slash of the path (a list) does not count.
pub fn matches(pattern: &'static str, path: &str) -> Option<Params> {
    let mut params = Vec::new();
    let mut rest = path.trim_end_matches('/');
    for part in pattern.split('/') {
        if let Some(name) = part.strip_prefix('*') {
            if rest.is_empty() {
                return None;
            }
            params.push((name, rest.to_owned()));
            return Some(Params(params));
        }
        let (segment, tail) = rest.split_once('/').unwrap_or((rest, ""));
        match part.strip_prefix(':') {
            Some(name) if !segment.is_empty() => params.push((name, segment.to_owned())),
            None if part == segment => {}
            _ => return None,
        }
        rest = tail;
    }
    rest.is_empty().then_some(Params(params))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, path, expected) in [
            ("mounts", "mounts", Some(vec![])),
            ("mounts", "mounts/", Some(vec![])),
            ("mounts/*path", "mounts/a/b/", Some(vec![("path", "a/b")])),
            ("mounts/*path", "mounts", None),
            ("policies/acl/:name", "policies/acl/x", Some(vec![("name", "x")])),
            ("policies/acl/:name", "policies/acl", None),
            ("policies/acl/:name", "policies/acl/x/y", None),
            ("a/:x/c", "a/b/c", Some(vec![("x", "b")])),
        ] {
            let expected = expected.map(|list| {
                Params(
                    list.into_iter()
                        .map(|(name, text): (&'static str, &str)| (name, text.to_owned()))
                        .collect(),
                )
            });
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }
}
