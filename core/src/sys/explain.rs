//! `sys/policies/explain`: may a token do something on a path, by which rule, and if not, what is missing. The answer is the
//! one that the request itself would get, from the same rules; nothing is done and nothing is spent.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use conclave_engine_api::Operation;

use crate::auth;
use crate::canon::CanonPath;
use crate::error::Error;
use crate::pipeline::table_of;
use crate::policy::{Acl, CheckRequest, Missing, Policy, Ruling};
use crate::routes::{Access, Answer, Call, find, matches};
use crate::sys::{normal_names, object};
use crate::tokens::{self, TokenRecord};

/// Longest text of a draft, in bytes.
const MAX_DRAFT: usize = 1024 * 1024;
/// Most policies named at once.
const MAX_POLICIES: usize = 256;
/// What a draft is called in the answer.
const DRAFT: &str = "(draft)";

/// `POST sys/policies/explain`: of the caller, of a `token`, of an `accessor`, or of `policies` and the text of a `draft`.
pub fn explain(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let fields = call.fields();
    let path = fields.required("path")?;
    let operation = operation(&fields.required("capability")?)?;
    let asked = subject(call)?;
    let way = asked.way.as_str();
    let needs = needs(call, &path, operation)?;
    let seen = format!("{way}{}", path.trim_start_matches('/'));
    let request = CheckRequest {
        operation,
        path: &seen,
        data: fields.object("data")?,
        wrap_ttl: fields.duration("wrap_ttl")?,
        is_sudo_path: needs.access == Need::Sudo,
    };
    let decision = asked.acl().check(&request);
    let ruling = asked.acl().ruling(operation, &seen);
    let by_right = matches!(needs.access, Need::Login | Need::Token);
    let missing = decision.missing.filter(|_| !by_right);
    let reason = match (needs.access, missing) {
        (Need::Login, _) => "it is a login: no token is needed".to_owned(),
        (Need::Token, _) => "every valid token may".to_owned(),
        _ if decision.root => "the token is a root token".to_owned(),
        (_, None) => "allowed".to_owned(),
        (_, Some(missing)) => reason(missing, ruling.as_ref(), operation),
    };
    Ok(Answer::data(object(json!({
        "allowed": missing.is_none(),
        "capability": operation.name(),
        "path": path,
        "needs": needs.access.name(),
        "rule": ruling.as_ref().map(|ruling| ruling.path),
        "capabilities": ruling.as_ref().map(|ruling| ruling.capabilities.clone()),
        "rule_of": ruling.as_ref().map(by_policy),
        "granted_by": decision.granted_by,
        "missing": missing.map(kind),
        "reason": reason,
        "to_allow": missing
            .filter(|_| needs.hint.is_none())
            .and_then(|missing| to_allow(missing, &seen, operation)),
        "hint": needs.hint.as_ref().filter(|_| missing.is_some()),
        "policies": asked.policies,
        "unknown_policies": asked.unknown,
    }))))
}

/// Whose rights are looked at.
struct Asked<'c> {
    acl: Rights<'c>,
    policies: Vec<String>,
    /// Named, and not there: they grant nothing.
    unknown: Vec<String>,
    /// Leads from the namespace of the token to this one.
    way: String,
}

enum Rights<'c> {
    Callers(&'c Acl),
    Compiled(Acl),
}

impl Asked<'_> {
    fn acl(&self) -> &Acl {
        match &self.acl {
            Rights::Callers(acl) => acl,
            Rights::Compiled(acl) => acl,
        }
    }
}

fn subject<'a>(call: &mut Call<'a, '_>) -> Result<Asked<'a>, Error> {
    const WHO: [&str; 4] = ["token", "accessor", "policies", "draft"];
    let fields = call.fields();
    let given: Vec<&str> = WHO.into_iter().filter(|name| fields.given(name)).collect();
    match given.as_slice() {
        [] => {
            let record = &call.caller.record;
            let way = call.seen("")?;
            let mut asked = asked(call, record);
            asked.way = way;
            Ok(asked)
        }
        ["token"] => {
            let token = fields.required("token")?;
            let found = tokens::by_id(call.work, &token, call.env.now())?;
            of_record(call, &found.ok_or(Error::BadToken)?.record)
        }
        ["accessor"] => {
            let accessor = fields.required("accessor")?;
            let found = tokens::by_accessor(call.work, &accessor, call.env.now())?;
            of_record(
                call,
                &found.ok_or_else(|| Error::invalid("invalid accessor"))?.record,
            )
        }
        ["policies"] | ["draft"] | ["policies", "draft"] => of_names(call),
        _ => Err(Error::invalid(
            "name one of token, accessor, and policies or draft; or none of them for the caller",
        )),
    }
}

/// What the caller may do, under the policies that its token names.
fn asked<'a>(call: &Call<'a, '_>, record: &TokenRecord) -> Asked<'a> {
    let (policies, unknown) = known(call, &record.policies);
    Asked {
        acl: Rights::Callers(&call.caller.acl),
        policies,
        unknown,
        way: String::new(),
    }
}

fn of_record<'a>(call: &Call<'a, '_>, record: &TokenRecord) -> Result<Asked<'a>, Error> {
    let work = &*call.work;
    let (acl, _) = tokens::compile(work.opened(), record, work.catalog, call.env.now())?;
    Ok(Asked {
        acl: Rights::Compiled(acl),
        ..asked(call, record)
    })
}

/// What somebody with these policies could do, written down already or not.
fn of_names<'a>(call: &Call<'a, '_>) -> Result<Asked<'a>, Error> {
    let fields = call.fields();
    let names = normal_names(&fields.strings("policies")?.unwrap_or_default())?;
    if names.len() > MAX_POLICIES {
        return Err(Error::TooLarge(format!("more than {MAX_POLICIES} policies")));
    }
    let (policies, unknown) = known(call, &names);
    let mut parsed: Vec<Arc<Policy>> = policies
        .iter()
        .filter_map(|name| call.work.catalog.policy(name).cloned())
        .collect();
    if let Some(text) = fields.string("draft")? {
        if text.len() > MAX_DRAFT {
            return Err(Error::TooLarge(format!("a draft of more than {MAX_DRAFT} bytes")));
        }
        parsed.push(Arc::new(Policy::parse(DRAFT, &text)?));
    }
    let acl = match names.iter().any(|name| name == "root") {
        true => Acl::root(),
        false => Acl::new(&parsed, call.env.now())?,
    };
    Ok(Asked {
        acl: Rights::Compiled(acl),
        policies,
        unknown,
        way: String::new(),
    })
}

/// Names of policies that are there, and of those that are not.
fn known(call: &Call<'_, '_>, names: &[String]) -> (Vec<String>, Vec<String>) {
    let is_there = |name: &&String| *name == "root" || call.work.catalog.policy(name).is_some();
    let (there, gone): (Vec<&String>, Vec<&String>) = names.iter().partition(is_there);
    let owned = |names: Vec<&String>| names.into_iter().cloned().collect();
    (owned(there), owned(gone))
}

/// What a path asks of those who come to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// A policy that allows it.
    Policy,
    /// The same with `sudo`.
    Sudo,
    /// A valid token.
    Token,
    /// Nothing.
    Login,
}

impl Need {
    fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Sudo => "sudo",
            Self::Token => "token",
            Self::Login => "nothing",
        }
    }
}

struct Needs {
    access: Need,
    hint: Option<String>,
}

/// What the path asks, and what is odd about it: that nothing answers there explains more than any rule.
fn needs(call: &Call<'_, '_>, path: &str, operation: Operation) -> Result<Needs, Error> {
    let lists = matches!(operation, Operation::List | Operation::Scan);
    let canon = CanonPath::parse(&path.replace('%', "%25"))?;
    let canon = if lists { canon.as_directory() } else { canon };
    let catalog = call.work.catalog;
    let plain = |access, hint| Ok(Needs { access, hint });
    if auth::mount_of_login(call.core, catalog, &canon).is_some() {
        return plain(Need::Login, None);
    }
    let Some(routed) = catalog.route(&canon) else {
        return plain(Need::Policy, Some("no mount answers this path".to_owned()));
    };
    if let Some(table) = table_of(&routed.mount.kind) {
        return match find(table, routed.rest, operation).map(|(route, _)| route.access) {
            Ok(Access::Sudo) => plain(Need::Sudo, None),
            Ok(Access::Caller) => plain(Need::Token, None),
            Ok(Access::Policy) => plain(Need::Policy, None),
            Err(error) => plain(Need::Policy, Some(error.to_string())),
        };
    }
    let Some(engine) = call.core.engine_of(routed.mount) else {
        return plain(Need::Policy, None);
    };
    let access = match engine.is_sudo_path(routed.rest) {
        true => Need::Sudo,
        false => Need::Policy,
    };
    let version = routed.mount.options.get("version").map(String::as_str);
    // An engine that also answers on any path whatever does so in its first version alone.
    let mut known = engine
        .routes()
        .iter()
        .filter(|route| version != Some("2") || !route.pattern.starts_with('*'));
    let answers = routed.rest.is_empty() || known.any(|route| matches(route.pattern, routed.rest).is_some());
    let hint = (!answers).then(|| {
        let version = match version {
            Some("2") => ", which keeps versions: values are beneath data/, names beneath metadata/",
            _ => "",
        };
        let mount = routed.mount.full_path();
        format!(
            "{mount} is a mount of type {}{version}; no path of it looks like this",
            routed.mount.kind
        )
    });
    plain(access, hint)
}

fn by_policy(ruling: &Ruling<'_>) -> Map<String, Value> {
    let each = ruling.by.iter();
    each.map(|(name, capabilities)| ((*name).to_owned(), json!(capabilities)))
        .collect()
}

fn operation(name: &str) -> Result<Operation, Error> {
    const ALL: [Operation; 7] = [
        Operation::Create,
        Operation::Read,
        Operation::Update,
        Operation::Patch,
        Operation::Delete,
        Operation::List,
        Operation::Scan,
    ];
    ALL.into_iter()
        .find(|operation| operation.name() == name)
        .ok_or_else(|| Error::invalid("capability must be create, read, update, patch, delete, list or scan"))
}

/// What stood in the way, in one word.
fn kind(missing: Missing<'_>) -> &'static str {
    match missing {
        Missing::Rule => "rule",
        Missing::Denied => "deny",
        Missing::Capability(_) => "capability",
        Missing::Sudo => "sudo",
        Missing::WrapTtl => "wrap_ttl",
        Missing::Parameter(_) => "parameter",
    }
}

fn reason(missing: Missing<'_>, ruling: Option<&Ruling<'_>>, operation: Operation) -> String {
    let path = ruling.map_or("", |ruling| ruling.path);
    let names: Vec<&str> = ruling
        .iter()
        .flat_map(|ruling| ruling.by.iter().map(|(name, _)| *name))
        .collect();
    let of = names.join(", ");
    match missing {
        Missing::Rule => "no rule of its policies matches this path".to_owned(),
        Missing::Denied => format!("the rule {path:?} of {of} denies, and a deny wins over all grants"),
        Missing::Capability(_) => {
            let granted = ruling.map_or_else(String::new, |ruling| ruling.capabilities.join(", "));
            format!(
                "the rule {path:?} of {of} decides; it grants {granted}, and not {}",
                operation.name()
            )
        }
        Missing::Sudo => format!("the path needs sudo, which the rule {path:?} of {of} does not grant"),
        Missing::WrapTtl => {
            format!("the rule {path:?} of {of} wants the answer wrapped, for a time within its bounds")
        }
        Missing::Parameter(name) => {
            format!("the rule {path:?} of {of} does not allow the request's parameters: {name}")
        }
    }
}

/// A rule that would do, where a rule is what is missing.
fn to_allow(missing: Missing<'_>, path: &str, operation: Operation) -> Option<String> {
    let capabilities = match missing {
        Missing::Rule | Missing::Capability(_) => json!([operation.name()]),
        Missing::Sudo => json!([operation.name(), "sudo"]),
        Missing::Denied | Missing::WrapTtl | Missing::Parameter(_) => return None,
    };
    Some(format!(
        "path {} {{\n  capabilities = {capabilities}\n}}",
        json!(path)
    ))
}
