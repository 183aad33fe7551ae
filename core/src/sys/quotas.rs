//! `sys/quotas`: rate limits and their settings. What holds a request back is in `quota/`.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::canon::CanonPath;
use crate::catalog::{Category, MountRecord, decode_record, encode_record};
use crate::error::Error;
use crate::namespaces::namespace_of;
use crate::quota::{GroupBy, LIMITS, RateLimit, SETTINGS, Settings};
use crate::routes::{Answer, Call};
use crate::sys::object;

/// Most rules: each is looked at by each request.
const MAX_RULES: usize = 1000;
/// Most exempt paths.
const MAX_EXEMPT: usize = 1000;
/// Longest path or name in bytes.
const MAX_TEXT: usize = 1024;
/// Shortest interval, and the one of a rule that names none.
const SECOND: u64 = 1000;
/// Largest rate: numbers up to here are exact.
const MAX_RATE: f64 = 1e9;
/// Longest interval or block: a year.
const MAX_TIME: u64 = 366 * 24 * 3600 * 1000;

/// `GET sys/quotas/config`.
pub fn settings(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let settings = &call.work.catalog.quotas.settings;
    Ok(Answer::data(object(json!({
        "enable_rate_limit_audit_logging": settings.audit,
        "enable_rate_limit_response_headers": false,
        "rate_limit_exempt_paths": settings.exempt,
    }))))
}

/// Changes what holds for all rules; what is not named stays.
pub fn change_settings(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let fields = call.fields();
    if fields
        .bool("enable_rate_limit_response_headers")?
        .unwrap_or(false)
    {
        return Err(Error::Unsupported("headers that tell of rate limits".to_owned()));
    }
    let mut settings = match call.work.config.get(SETTINGS)? {
        Some(row) => decode_record(&row.value)?,
        None => Settings::default(),
    };
    if let Some(audit) = fields.bool("enable_rate_limit_audit_logging")? {
        settings.audit = audit;
    }
    if let Some(exempt) = fields.strings("rate_limit_exempt_paths")? {
        if exempt.len() > MAX_EXEMPT || exempt.iter().any(|path| path.len() > MAX_TEXT) {
            return Err(Error::invalid("rate_limit_exempt_paths are too many or too long"));
        }
        settings.exempt = exempt;
    }
    call.work.config.put(SETTINGS, encode_record(&settings)?)?;
    Ok(Answer::empty())
}

/// `LIST sys/quotas/rate-limit`.
pub fn list(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let limits = &call.work.catalog.quotas.limits;
    listed(call, limits.iter().map(|limit| limit.name.as_str()))
}

/// The names of rules, those of the page that is asked for.
pub(super) fn listed<'n>(call: &Call<'_, '_>, names: impl Iterator<Item = &'n str>) -> Result<Answer, Error> {
    let page = call.fields().page()?;
    let names = names.filter(|name| *name > page.after.as_str());
    let names: Vec<_> = names.take(page.limit.unwrap_or(usize::MAX)).collect();
    match names.is_empty() {
        true => Err(Error::NotFound { warnings: Vec::new() }),
        false => Ok(Answer::data(object(json!({"keys": names})))),
    }
}

/// What tells a rule from others: its name, its path and its role.
pub(super) type Rule<'n> = (&'n str, &'n str, &'n str);

/// Refuses a rule for what has one of another name, and one too many. `others` are those there are, `what` they are called.
pub(super) fn check_others<'n>(
    (name, path, role): Rule<'_>,
    others: impl Iterator<Item = Rule<'n>> + Clone,
    what: &str,
) -> Result<(), Error> {
    let mut unlike = others.clone().filter(|(other, ..)| *other != name);
    if let Some((other, ..)) = unlike.find(|(_, its_path, its_role)| (*its_path, *its_role) == (path, role)) {
        return Err(Error::invalid(format!(
            "quota rule with similar properties exists under the name {other:?}"
        )));
    }
    if others.clone().count() >= MAX_RULES && others.clone().all(|(other, ..)| other != name) {
        return Err(Error::invalid(format!("there are {MAX_RULES} {what} already")));
    }
    Ok(())
}

/// Removes a rule's row, if it is there.
pub(super) fn remove(call: &mut Call<'_, '_>, row: &str) -> Result<Answer, Error> {
    if call.work.config.get(row)?.is_some() {
        call.work.config.delete(row)?;
    }
    Ok(Answer::empty())
}

/// `GET sys/quotas/rate-limit/:name`.
pub fn read(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let row = call.work.config.get(&row_of(call.params.get("name")))?;
    let row = row.ok_or(Error::NotFound { warnings: Vec::new() })?;
    Ok(Answer::data(describe(&decode_record(&row.value)?)))
}

fn describe(limit: &RateLimit) -> Map<String, Value> {
    object(json!({
        "type": "rate-limit",
        "name": limit.name,
        "path": limit.path,
        "role": limit.role,
        "rate": number(limit.rate),
        "interval": limit.interval / 1000,
        "block_interval": limit.block / 1000,
        "inheritable": limit.inheritable,
        "group_by": limit.group_by,
    }))
}

/// A whole number without a fraction, as Go prints it.
#[allow(clippy::cast_possible_truncation, reason = "rates are bounded")]
fn number(rate: f64) -> Value {
    match rate.fract() == 0.0 {
        true => json!(rate as i64),
        false => json!(rate),
    }
}

/// Writes a rate limit; what is not named is as in a new one.
pub fn write(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let name = call.params.get("name").to_owned();
    let fields = call.fields();
    let rate = rate(call)?;
    let interval = fields.duration("interval")?.unwrap_or(0).max(SECOND);
    let block = fields.duration("block_interval")?.unwrap_or(0);
    if interval > MAX_TIME || block > MAX_TIME || name.len() > MAX_TEXT {
        return Err(Error::invalid("interval, block_interval or name is too long"));
    }
    let scope = scope(call, &fields.string("path")?.unwrap_or_default())?;
    let (path, role) = (scope.path(), role(call, &scope)?);
    let group_by = match fields.string("group_by")?.as_deref() {
        None | Some("" | "ip") => GroupBy::Ip,
        Some("none") => GroupBy::None,
        Some(_) => return Err(Error::invalid("group_by must be ip or none")),
    };
    let limits = call.work.catalog.quotas.limits.iter();
    let others = limits.map(|limit| (limit.name.as_str(), limit.path.as_str(), limit.role.as_str()));
    check_others((&name, &path, &role), others, "rate limits")?;
    let limit = RateLimit {
        inheritable: fields.bool("inheritable")?.unwrap_or(path.is_empty()),
        name,
        path,
        role,
        rate,
        interval,
        block,
        group_by,
    };
    let row = row_of(&limit.name);
    call.work.config.get(&row)?;
    call.work.config.put(&row, encode_record(&limit)?)?;
    Ok(Answer::empty())
}

fn rate(call: &Call<'_, '_>) -> Result<f64, Error> {
    let fields = call.fields();
    let text = fields.string("rate")?.filter(|text| !text.is_empty());
    let rate: f64 = match text {
        Some(text) => text.parse().map_err(|_| {
            let why = "'' cannot parse value as 'float64': strconv.ParseFloat: invalid syntax";
            Error::from(fields.wrong("rate", why))
        })?,
        None => 0.0,
    };
    match rate.is_finite() && rate > 0.0 && rate <= MAX_RATE {
        true => Ok(rate),
        false => Err(Error::invalid("'rate' is invalid")),
    }
}

/// What a rule is for.
#[derive(Default)]
pub(super) struct Scope {
    /// The path of its namespace; empty: the root.
    namespace: String,
    /// As rules are compared: nothing for all of the namespace; a mount, with its slash; else as it was given.
    within: String,
    /// The mount that it is, or leads into.
    pub mount: Option<Arc<MountRecord>>,
}

impl Scope {
    /// Both.
    pub fn path(&self) -> String {
        format!("{}{}", self.namespace, self.within)
    }
}

/// What a rule for the given path is for: it leads into the namespace that a request for it would.
pub(super) fn scope(call: &Call<'_, '_>, given: &str) -> Result<Scope, Error> {
    let given = given.trim().trim_start_matches('/');
    if given.is_empty() {
        return Ok(Scope::default());
    }
    let no_mount = |path: &str| Error::invalid(format!("invalid mount path {path:?}"));
    if given.len() > MAX_TEXT {
        return Err(Error::invalid("path is too long"));
    }
    let all = given.strip_suffix('*');
    let directory = format!("{}/", all.unwrap_or(given).trim_end_matches('/'));
    let canonical = |path: &str| CanonPath::parse(&path.replace('%', "%25")).map_err(|_| no_mount(path));
    canonical(&directory)?;
    let catalog = &call.work.catalog;
    let (node, rest) = namespace_of(catalog, &directory)?;
    let namespace = node.record.path.clone();
    if rest.is_empty() {
        return match all {
            Some(_) => Err(no_mount(given)),
            None => Ok(Scope {
                namespace,
                ..Scope::default()
            }),
        };
    }
    let own = catalog.of(node.record.number)?;
    let canon = canonical(rest)?;
    let routed = own.route(&canon).ok_or_else(|| no_mount(rest))?;
    let mount = routed.mount.full_path();
    let within = match mount == rest && all.is_none() {
        true => mount,
        false => given.strip_prefix(&namespace).unwrap_or(given).to_owned(),
    };
    Ok(Scope {
        namespace,
        within,
        mount: Some(routed.mount.clone()),
    })
}

/// The role that a rule is for, in its one spelling; empty for none. Its scope must be a mount whose logins name roles.
pub(super) fn role(call: &Call<'_, '_>, scope: &Scope) -> Result<String, Error> {
    let given = call.fields().string("role")?.unwrap_or_default();
    if given.is_empty() {
        return Ok(given);
    }
    let mount = scope.mount.as_ref();
    let path = mount.map(|mount| mount.full_path()).unwrap_or_default();
    if path != scope.within {
        return Err(Error::invalid(
            "Quotas cannot contain both a path suffix and a role. If a role is provided, path must be a valid auth mount with a \
             concept of roles",
        ));
    }
    let Some(mount) = mount.filter(|mount| mount.category == Category::Auth) else {
        return Err(Error::invalid(format!(
            "Mount path {path:?} is not a valid auth method and therefore unsuitable for use with role-based quotas"
        )));
    };
    let name = match call.core.engine_of(mount) {
        Some(method) => method.role_name(&given)?,
        None => None,
    };
    let no_roles = || format!("Mount path {path:?} does not support use with role-based quotas");
    name.ok_or_else(|| Error::invalid(no_roles()))
}

/// Removes a rate limit.
pub fn delete(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let row = row_of(call.params.get("name"));
    remove(call, &row)
}

fn row_of(name: &str) -> String {
    format!("{LIMITS}{name}")
}
