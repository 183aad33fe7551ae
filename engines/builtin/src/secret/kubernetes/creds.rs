//! Tokens with a lease: `creds/ROLE` makes one, and the account it is for unless a role names one that is there. What it takes
//! to remove an account goes with the lease. A label says which mount made an object.

use std::collections::BTreeMap;

use conclave_engine_api::{
    Action, Census, Effect, Env, Error, Hidden, LeaseSpec, Leased, Millis, Outcome, Plan, Reply, Request,
    Txn, format_duration,
};
use serde_json::{Map, Value, json};

use super::config::{self, Config};
use super::kind::{self, ALL, Kind, Named, is_dns_name, is_namespace};
use super::role::{Role, RoleType};
use super::{rules, token};

/// The shortest life of a token that an API server gives, in seconds.
const SHORTEST: u64 = 600;
/// By how much, at most, a lease ends earlier than asked: this part of it, and so many seconds.
const EARLY_PART: u64 = 100;
const EARLY: u64 = 15;

/// `write creds/ROLE`.
pub(super) fn issue(
    txn: &mut Txn<'_>,
    name: &str,
    request: &Request<'_>,
    env: &mut Env<'_>,
) -> Result<Outcome, Error> {
    let role =
        Role::load(txn, name)?.ok_or_else(|| Error::invalid(format!("role '{name}' does not exist")))?;
    let wish = Wish::read(&role, request)?;
    let config = Config::required(txn)?;
    let mut statements: Vec<Hidden> = wish.guard.iter().cloned().collect();
    let existing = !role.service_account_name.is_empty();
    let (ttl, warnings) = life(&role, wish.ttl, request);
    let seconds = seconds(ttl, existing)?;
    let (account, internal) = if existing {
        (role.service_account_name.clone(), kept("", None))
    } else {
        let account = role.name(request.display_name, name, env)?;
        let made = objects(txn, &role, &wish, &account, &mut statements)?;
        let internal = kept(&format!("{}/{account}", wish.namespace), Some(&made));
        (account, internal)
    };
    statements.push(kind::token(
        (&wish.namespace, &account),
        seconds,
        &wish.audiences,
    )?);
    let action = match existing {
        true => Action::Run { statements },
        false => Action::Make {
            account: account.clone(),
            statements,
        },
    };
    let mut reply = Reply::json(json!({
        "service_account_name": account,
        "service_account_namespace": wish.namespace,
        "service_account_token": token::wanted(seconds, existing),
    }));
    reply.warnings = warnings;
    Ok(Outcome::Effect(Box::new(Effect {
        plan: Plan {
            target: config.target()?,
            action,
        },
        lease: Some(LeaseSpec {
            ttl,
            max_ttl: ttl,
            renewable: false,
            internal,
        }),
        reply,
        memo: Map::new(),
        session: None,
    })))
}

/// What somebody asks for.
struct Wish {
    namespace: String,
    /// What must hold of the namespace, if its name alone does not allow it.
    guard: Option<Hidden>,
    for_cluster: bool,
    ttl: Millis,
    audiences: Vec<String>,
}

impl Wish {
    fn read(role: &Role, request: &Request<'_>) -> Result<Self, Error> {
        let fields = request.fields();
        let namespace = fields.string("kubernetes_namespace")?.unwrap_or_default();
        let for_cluster = fields.bool("cluster_role_binding")?.unwrap_or(false);
        let ttl = fields.duration("ttl")?.unwrap_or(0);
        let audiences = fields.strings("audiences")?.filter(|given| !given.is_empty());
        let (namespace, guard) = allowed(role, namespace)?;
        if for_cluster && role.kubernetes_role_type == RoleType::Role {
            return Err(Error::invalid("a ClusterRoleBinding cannot ref a Role"));
        }
        Ok(Self {
            namespace,
            guard,
            for_cluster,
            ttl,
            audiences: audiences
                .or_else(|| role.token_default_audiences.clone())
                .unwrap_or_default(),
        })
    }
}

/// The namespace that is meant, and what must still hold of it.
fn allowed(role: &Role, asked: String) -> Result<(String, Option<Hidden>), Error> {
    let namespace = match (asked.as_str(), role.only_namespace()) {
        ("", Some(only)) => only.to_owned(),
        ("", None) => {
            return Err(Error::invalid(
                "'kubernetes_namespace' is required unless the role has a single namespace specified",
            ));
        }
        _ => asked,
    };
    let by_name = role.allows(&namespace);
    let selector = &role.allowed_kubernetes_namespace_selector;
    if !is_namespace(&namespace) || (!by_name && selector.is_empty()) {
        return Err(Error::invalid(format!(
            "kubernetes_namespace '{namespace}' is not present in role's allowed_kubernetes_namespaces or does not match role's label selector allowed_kubernetes_namespace_selector"
        )));
    }
    let guard = match by_name {
        true => None,
        false => Some(kind::matching(&namespace, &rules::selector(selector)?)?),
    };
    Ok((namespace, guard))
}

/// How long a token and its lease are, and what is said if that is less than what was asked for.
fn life(role: &Role, asked: Millis, request: &Request<'_>) -> (Millis, Vec<String>) {
    let mount = request.mount;
    let mut ttl = match (asked, role.token_default_ttl) {
        (0, 0) => mount.default_lease_ttl,
        (0, usual) => usual,
        (asked, _) => asked,
    };
    let mut warnings = Vec::new();
    for (most, whose) in [
        (role.token_max_ttl, "the role's token_max_ttl"),
        (mount.max_lease_ttl, "the mount's max lease ttl"),
    ] {
        if most > 0 && ttl > most {
            warnings.push(format!(
                "ttl of {} is greater than {whose} of {}; capping accordingly",
                format_duration(ttl),
                format_duration(most)
            ));
            ttl = most;
        }
    }
    (ttl, warnings)
}

/// The life of a token in seconds. One of an account that stays ends with its lease at the latest, for nothing ends it sooner;
/// one of an account that goes may be for longer: it ends with the account.
fn seconds(ttl: Millis, existing: bool) -> Result<u64, Error> {
    let whole = ttl / 1000;
    match existing {
        true if whole < SHORTEST => Err(Error::invalid(
            "a token of an account that is there lives 10 minutes or more: nothing ends it sooner",
        )),
        true => Ok((whole - (whole / EARLY_PART).min(EARLY)).max(SHORTEST)),
        false => Ok(whole.max(SHORTEST)),
    }
}

/// Adds what makes an account and gives it its rights, which come last. Which kinds of objects that are.
fn objects(
    txn: &mut Txn<'_>,
    role: &Role,
    wish: &Wish,
    account: &str,
    statements: &mut Vec<Hidden>,
) -> Result<Vec<Kind>, Error> {
    let none = BTreeMap::new();
    let mark = config::mark(txn)?;
    let named = Named {
        namespace: &wish.namespace,
        name: account,
        mark: &mark,
        labels: role.extra_labels.as_ref().unwrap_or(&none),
        annotations: role.extra_annotations.as_ref().unwrap_or(&none),
    };
    let binding = match wish.for_cluster {
        true => Kind::ClusterRoleBindings,
        false => Kind::RoleBindings,
    };
    let bound = role.kubernetes_role_type.kind();
    let mut made = vec![Kind::ServiceAccounts, binding];
    statements.push(named.make(Kind::ServiceAccounts, Map::new())?);
    let bound_name = match role.generated_role_rules.as_str() {
        "" => role.kubernetes_role_name.as_str(),
        text => {
            let rules = json!(rules::rules(text)?);
            statements.push(named.make(bound, Map::from_iter([("rules".to_owned(), rules)]))?);
            made.push(bound);
            account
        }
    };
    statements.push(named.bind(binding, bound, bound_name)?);
    Ok(made)
}

/// What a lease keeps: the account, and which kinds of objects were made for it. `None`: nobody knows.
pub(super) fn kept(account: &str, made: Option<&[Kind]>) -> Map<String, Value> {
    let mut kept = Map::from_iter([("account".to_owned(), json!(account))]);
    if let Some(made) = made {
        kept.insert("made".to_owned(), json!(made));
    }
    kept
}

/// The account that a lease is of, as `NAMESPACE/NAME`; none if it was there before.
pub(super) fn account<'l>(lease: &Leased<'l>) -> Option<&'l str> {
    let account = lease.internal.get("account").and_then(Value::as_str);
    account.filter(|account| !account.is_empty())
}

/// How an account goes: it first, then its rights. What is in the making, or was found without a lease, goes only as far as it
/// bears our mark: whether it was we who made all of it is not known.
pub(super) fn revocation(txn: &mut Txn<'_>, lease: &Leased<'_>) -> Result<Plan, Error> {
    let Some(account) = account(lease) else {
        return Ok(Plan {
            target: config::nowhere(),
            action: Action::Drop {
                account: String::new(),
                statements: Vec::new(),
                session: lease.session.to_owned(),
            },
        });
    };
    let broken = || Error::internal("a lease of a service account lacks what was kept");
    let (namespace, name) = account.split_once('/').ok_or_else(broken)?;
    if !is_namespace(namespace) || !is_dns_name(name) {
        return Err(broken());
    }
    let made = lease.internal.get("made").cloned();
    let made: Option<Vec<Kind>> = made
        .map(serde_json::from_value)
        .transpose()
        .map_err(|_| broken())?;
    let mark = match lease.session.is_empty() && made.is_some() {
        true => String::new(),
        false => format!(" {}", config::mark(txn)?),
    };
    let made = made.unwrap_or_else(|| ALL.to_vec());
    let statement = |kind: &Kind| Hidden::new(format!("{}/{name}{mark}", kind.path(namespace)));
    Ok(Plan {
        target: Config::required(txn)?.target()?,
        action: Action::Drop {
            account: account.to_owned(),
            statements: made.iter().map(statement).collect(),
            session: lease.session.to_owned(),
        },
    })
}

/// How the accounts of this mount are found: by the label.
pub(super) fn census(txn: &mut Txn<'_>) -> Result<Vec<Census>, Error> {
    let Some(config) = Config::load(txn)? else {
        return Ok(Vec::new());
    };
    Ok(vec![Census {
        plan: Plan {
            target: config.target()?,
            action: Action::List {
                prefix: String::new(),
                mark: config::mark(txn)?,
            },
        },
        certain: true,
        known: Vec::new(),
    }])
}
