//! One login, between the view and the commit: whether the name is locked out, what its method says, and the token that
//! comes of it in the same command. Without effects, so it may run again.

use conclave_engine_api::cidr::admits;
use conclave_engine_api::heavy::Answers;
use conclave_engine_api::{self as api, Env, Heavy, Login, Millis, Operation, Outcome, TokenType, Txn};
use conclave_raft::Condition;

use crate::answered;
use crate::auth::lockout::{self, Failures};
use crate::auth::second::{self, Granted};
use crate::canon::CanonPath;
use crate::catalog::{CONFIG, Catalog, Category, EPOCH, MountRecord, Routed};
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::identity;
use crate::namespaces::Place;
use crate::namespaces::located::{locate, split};
use crate::request::{Request, Verb};
use crate::routes::{Answer, matches};
use crate::session::Derived;
use crate::store::{Opened, Proposal};
use crate::tokens::{self, LoginOrigin, NewToken, TokenKind};
use crate::work::{Readers, Work};

/// How long the request has that brings its login along.
const INLINE_TTL: Millis = 60_000;

/// What a login is decided on.
pub struct Asked<'a> {
    /// The node.
    pub core: &'a Core,
    /// The view.
    pub opened: &'a Opened,
    /// What is derived from it.
    pub derived: &'a Derived,
    /// Mounts and policies of the namespace that is logged in to.
    pub catalog: &'a Catalog,
    /// The request.
    pub request: &'a Request,
    /// Its path.
    pub path: &'a CanonPath,
    /// What is to be done.
    pub operation: Operation,
    /// Whether it is for one request only, with which it came.
    pub inline: bool,
    /// What was computed so far.
    pub computed: &'a Answers,
    /// The cluster's time.
    pub now: u64,
}

/// What came of it.
pub enum Decided {
    /// Commit this, then answer.
    In(Box<(Proposal, Answer)>),
    /// Commit this, then refuse.
    Out(Box<(Proposal, Error)>),
    /// Compute this, then ask again.
    Compute(Heavy),
}

/// The mount whose login `path` is, or one of whose public paths: it is answered without a token.
pub fn mount_of_login<'c>(core: &Core, catalog: &'c Catalog, path: &'c CanonPath) -> Option<Routed<'c>> {
    let routed = catalog.route(path)?;
    let engine = core.engine_of(routed.mount)?;
    let open = match routed.mount.category {
        Category::Auth => engine.logins(),
        _ => engine.open_paths(),
    };
    let is_open = open.iter().any(|pattern| matches(pattern, routed.rest).is_some());
    is_open.then_some(routed)
}

/// The role that a request names, if it is a login and its method knows roles. Nothing is verified.
pub fn role_of_login(
    core: &Core,
    opened: &Opened,
    place: &Place<'_>,
    request: &Request,
) -> Result<Option<String>, Error> {
    let login = mount_of_login(core, &place.catalog, &place.path);
    let Some(routed) = login.filter(|_| request.verb == Verb::Write) else {
        return Ok(None);
    };
    let record = routed.mount.as_ref();
    let Some(method) = core.engine_of(record) else {
        return Ok(None);
    };
    let reader = opened.space(record.space());
    let mount = record.to_mount(core.settings.default_lease_ttl, core.settings.max_lease_ttl);
    let asked = api::Request {
        operation: Operation::Update,
        path: routed.rest,
        data: &request.data,
        mount: &mount,
        caller: "",
        display_name: "",
        remote: request.remote,
    };
    Ok(method.login_role(&mut Txn::new(&reader), &asked)?)
}

/// What tokens hang on that a mount's logins made, among the parents of tokens.
pub fn owner_of(namespace: u32, mount: u32, era: u32) -> String {
    locate(namespace, &format!("mount-{mount}-{era}"))
}

/// The namespace and the mount in such a name.
pub fn mount_of_owner(owner: &str) -> Option<(u32, u32)> {
    let (namespace, name) = split(owner);
    let (mount, _) = name.strip_prefix("mount-")?.split_once('-')?;
    Some((namespace, mount.parse().ok()?))
}

/// Decides a login.
pub fn login(asked: &Asked<'_>, routed: &Routed<'_>) -> Result<Decided, Error> {
    let record = routed.mount.as_ref();
    let core = asked.core;
    let method = core
        .engine_of(record)
        .ok_or_else(|| Error::internal("a login without a method"))?;
    let readers = Readers::within(asked.opened, record.namespace);
    let mut work = Work::new(&readers, asked.catalog);
    work.draft
        .expect(CONFIG, EPOCH, Condition::Revision(asked.derived.epoch))?;
    work.draft.decided_at(asked.now);
    let reader = asked.opened.space(record.space());
    let mut txn = Txn::new(&reader);
    let mount = record.to_mount(core.settings.default_lease_ttl, core.settings.max_lease_ttl);
    let request = api::Request {
        operation: asked.operation,
        path: routed.rest,
        data: &asked.request.data,
        mount: &mount,
        caller: "",
        display_name: "",
        remote: asked.request.remote,
    };
    let alias = match asked.operation.is_write() {
        true => method.alias(&mut txn, &request)?,
        false => None,
    };
    let lockout = lockout::settings_of(&core.settings, record);
    match alias.filter(|_| !lockout.disabled) {
        None => decide(asked, record, work, txn, &request, None),
        Some(alias) => {
            let name = answered::name_of_login(asked.opened, asked.request, asked.path)?;
            lockout::with_failures(asked.opened, lockout, record, (alias, name), |failures| {
                // A login that failed and is sent again is refused again as it was, also if it was the one too many.
                if failures.is_locked(asked.now) && !failures.is_counted() {
                    core.metrics.logged_in(&record.kind, "locked");
                    return Err(Error::unauthenticated());
                }
                decide(asked, record, work, txn, &request, Some(failures))
            })
        }
    }
}

fn decide(
    asked: &Asked<'_>,
    record: &MountRecord,
    mut work: Work<'_>,
    mut txn: Txn<'_>,
    request: &api::Request<'_>,
    failures: Option<Failures<'_>>,
) -> Result<Decided, Error> {
    let core = asked.core;
    let method = core
        .engine_of(record)
        .ok_or_else(|| Error::internal("a login without a method"))?;
    let mut entropy = OsEntropy;
    let mut env = Env::new(asked.now, &mut entropy)
        .with_workshop(&core.workshop)
        .knowing(asked.computed);
    let reply = match method.handle(&mut txn, request, &mut env) {
        Ok(Outcome::Heavy(heavy)) => return Ok(Decided::Compute(heavy)),
        Ok(Outcome::Login(_)) if failures.as_ref().is_some_and(|known| known.is_locked(asked.now)) => {
            // What failed before is right by now, and the name is locked all the same.
            core.metrics.logged_in(&record.kind, "locked");
            return Err(Error::unauthenticated());
        }
        Ok(Outcome::Login(login)) => {
            let role = match asked.catalog.quotas.counts_logins() {
                true => method.login_role(&mut txn, request)?,
                false => None,
            };
            let (result, answer) = match let_in(asked, record, &mut work, &mut env, (*login, role))? {
                Granted::In(answer) => ("success", answer),
                Granted::Waits(answer) => ("waiting", answer),
                Granted::Out(refused) => {
                    core.metrics.logged_in(&record.kind, "failure");
                    let proposal = work.finish()?;
                    // What the method wrote is not kept, but what was tried of the second factor counts.
                    return match proposal.is_empty() {
                        true => Err(refused),
                        false => Ok(Decided::Out(Box::new((proposal, refused)))),
                    };
                }
            };
            if let Some(failures) = failures {
                failures.clear(&mut work)?;
            }
            core.metrics.logged_in(&record.kind, result);
            answer
        }
        Ok(Outcome::Reply(reply)) => Answer::from(reply),
        Ok(_) => return Err(Error::Unsupported("this outcome of an auth method".to_owned())),
        Err(api::Error::BadCredentials(text)) => {
            core.metrics.logged_in(&record.kind, "failure");
            let refused = Error::Invalid(text);
            let Some(failures) = failures.filter(|failures| !failures.is_counted()) else {
                return Err(refused);
            };
            if failures.count(&mut work, asked.now)? {
                core.metrics.locked_out(&record.kind);
            }
            // Nothing the method wrote is kept.
            return Ok(Decided::Out(Box::new((work.finish()?, refused))));
        }
        Err(error) => return Err(error.into()),
    };
    work.draft.include(record.space(), txn.into_changes())?;
    Ok(Decided::In(Box::new((work.finish()?, reply))))
}

/// Makes the token of a login, unless a second factor is to be shown first.
fn let_in(
    asked: &Asked<'_>,
    record: &MountRecord,
    work: &mut Work<'_>,
    env: &mut Env<'_>,
    (login, role): (Login, Option<String>),
) -> Result<Granted, Error> {
    let remote = asked.request.remote;
    if !admits(&login.token.bound_cidrs, remote) {
        return Err(Error::unauthenticated());
    }
    let settings = login.token;
    let kind = match kind_of(&record.told.token_type, settings.kind) {
        _ if asked.inline => TokenKind::Inline,
        TokenType::Batch => TokenKind::Batch,
        _ => TokenKind::Service,
    };
    let policies = policies_of(&settings.policies, settings.no_default_policy)?;
    let wish = tokens::Wish {
        ttl: settings.ttl,
        max_ttl: settings.max_ttl,
        explicit_max_ttl: settings.explicit_max_ttl,
        period: settings.period,
        ..tokens::Wish::default()
    };
    let bounds = tokens::Bounds::of(&asked.core.settings, record);
    let life = tokens::life(bounds, &wish, asked.now, asked.now);
    let mut bound_cidrs = settings.bound_cidrs;
    if settings.strictly_bind_ip {
        bound_cidrs = remote.iter().map(ToString::to_string).collect();
    }
    let known = identity::sign_in(work, env, record, &login.alias, &login.alias_metadata)?;
    let new = NewToken {
        parent: None,
        entity: known.entity.clone(),
        policies,
        path: asked.path.as_str().to_owned(),
        meta: login.metadata,
        display_name: display_name(&record.path, &login.display_name),
        num_uses: match kind {
            TokenKind::Service => settings.num_uses,
            TokenKind::Batch | TokenKind::Inline => 0,
        },
        ttl: match kind {
            TokenKind::Service | TokenKind::Batch => life.ttl,
            TokenKind::Inline => life.ttl.min(INLINE_TTL),
        },
        explicit_max_ttl: settings.explicit_max_ttl,
        period: settings.period,
        renewable: kind == TokenKind::Service,
        bound_cidrs,
        login: Some(LoginOrigin {
            mount: record.id,
            era: record.logins.era,
            alias: login.alias,
            internal: login.internal,
        }),
        kind,
        ..NewToken::default()
    };
    let warnings = life.warning.into_iter().collect();
    second::grant(asked, record, work, env, (&known, new, warnings), role)
}

/// The one spelling of each policy, and `default` unless the role says no. Only tokens make root tokens.
fn policies_of(names: &[String], without_default: bool) -> Result<Vec<String>, Error> {
    let mut names: Vec<String> = names
        .iter()
        .map(|name| name.trim().to_lowercase())
        .filter(|name| !name.is_empty())
        .collect();
    if names.iter().any(|name| name == "root") {
        return Err(Error::invalid("auth methods cannot create root tokens"));
    }
    if !without_default {
        names.push("default".to_owned());
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// The mount's name, with dashes for slashes, and the name the method gave.
fn display_name(mount: &str, name: &str) -> String {
    let mount = mount.trim_end_matches('/').replace('/', "-");
    match name {
        "" => mount,
        name => format!("{mount}-{name}"),
    }
}

/// What a mount makes of the type a role asks for.
fn kind_of(mount: &str, role: TokenType) -> TokenType {
    use TokenType::{Batch, DefaultBatch, DefaultService, Service};
    match (TokenType::parse(mount).unwrap_or_default(), role) {
        (Service, _) => Service,
        (Batch, _) | (_, Batch) => Batch,
        (_, Service) => Service,
        (DefaultBatch, DefaultService) => Service,
        (DefaultBatch, _) | (_, DefaultBatch) => Batch,
        _ => Service,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_have_one_spelling_and_never_make_root() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            policies_of(&names(&["B", "a", " b "]), false).unwrap(),
            ["a", "b", "default"]
        );
        assert_eq!(policies_of(&names(&["a"]), true).unwrap(), ["a"]);
        for root in ["root", "ROOT", " Root "] {
            assert!(policies_of(&names(&["a", root]), false).is_err(), "{root:?}");
        }
    }

    #[test]
    fn mounts_and_roles_agree_on_the_type() {
        use TokenType::{Batch, Default, DefaultBatch, DefaultService, Service};
        for (mount, role, wanted) in [
            ("", Default, Service),
            ("default-service", DefaultBatch, Batch),
            ("default-service", Batch, Batch),
            ("default-batch", Default, Batch),
            ("default-batch", Service, Service),
            ("default-batch", DefaultService, Service),
            ("service", Batch, Service),
            ("batch", Service, Batch),
        ] {
            assert_eq!(kind_of(mount, role), wanted, "{mount} {role:?}");
        }
    }

    #[test]
    fn names_are_shown_after_their_mount() {
        assert_eq!(display_name("userpass/", "ada"), "userpass-ada");
        assert_eq!(display_name("a/b/", ""), "a-b");
    }
}
