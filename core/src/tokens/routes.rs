//! `auth/token/`: making, looking up, renewing and revoking tokens.

use serde_json::{Map, Value, json};

use conclave_engine_api::Millis;
use conclave_engine_api::Operation::{Delete, List, Read, Update};

use crate::catalog::{Category, decode_record, encode_record};
use crate::error::Error;
use crate::routes::{Access, Answer, Call, Handler, Route};
use crate::sys::normal_names;
use crate::tokens::lookup::Found;
use crate::tokens::{self, Minted, NewToken, TokenRecord};

const fn rows(
    pattern: &'static str,
    operations: &'static [conclave_engine_api::Operation],
    handler: fn(&mut Call<'_, '_>) -> Result<Answer, Error>,
) -> Route {
    Route {
        pattern,
        operations,
        access: Access::Policy,
        handler: Handler::Rows(handler),
    }
}

const fn sudo(route: Route) -> Route {
    Route {
        access: Access::Sudo,
        ..route
    }
}

/// Longest token that somebody chooses, in bytes.
const MAX_ID_BYTES: usize = 512;

/// Everything beneath `auth/token/`.
pub const ROUTES: &[Route] = &[
    rows("create", &[Update], create),
    rows("create/:role", &[Update], create_by_role),
    sudo(rows("create-orphan", &[Update], create_orphan)),
    rows("lookup", &[Update], lookup),
    rows("lookup", &[Read], lookup_self),
    rows("lookup-self", &[Read, Update], lookup_self),
    rows("lookup-accessor", &[Update], lookup_accessor),
    rows("renew", &[Update], renew),
    rows("renew/:token", &[Update], renew),
    rows("renew-self", &[Update], renew_self),
    rows("renew-accessor", &[Update], renew_accessor),
    rows("revoke", &[Update], revoke),
    rows("revoke-self", &[Update], revoke_self),
    rows("revoke-accessor", &[Update], revoke_accessor),
    sudo(rows("revoke-orphan", &[Update], revoke_orphan)),
    sudo(rows("accessors", &[List], accessors)),
    rows("roles", &[List], no_role),
    rows("roles/:role", &[Read, Delete], no_role),
    rows("roles/:role", &[Update], roles_are_not_built),
];

fn create(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    make(call, false)
}

fn create_orphan(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    make(call, true)
}

/// Roles are not built, so there is none.
fn create_by_role(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let role = call.params.get("role");
    Err(Error::invalid(format!("unknown role {role}")))
}

fn no_role(_call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    Err(Error::NotFound { warnings: Vec::new() })
}

fn roles_are_not_built(_call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    Err(Error::Unsupported("token roles".to_owned()))
}

fn make(call: &mut Call<'_, '_>, orphan: bool) -> Result<Answer, Error> {
    let fields = call.fields();
    let privileged = call.caller.acl.may_sudo("auth/token/create");
    let no_parent = fields.bool("no_parent")?.unwrap_or(false);
    let period = fields.duration("period")?.unwrap_or(0);
    let id = fields.string("id")?.filter(|id| !id.is_empty());
    check_wishes(call, privileged, no_parent, period, id.as_deref())?;
    let policies = policies_of(call, privileged)?;
    let life = life_of(call, &policies, period)?;
    let name = fields.string("display_name")?.unwrap_or_default();
    let new = NewToken {
        id,
        parent: if orphan || no_parent {
            None
        } else {
            Some(call.caller.name.clone())
        },
        policies,
        path: if orphan {
            "auth/token/create-orphan"
        } else {
            "auth/token/create"
        }
        .to_owned(),
        meta: fields
            .string_map("meta")?
            .or(fields.string_map("metadata")?)
            .unwrap_or_default(),
        display_name: if name.is_empty() {
            "token".to_owned()
        } else {
            format!("token-{}", plain(&name))
        },
        num_uses: uses(call)?,
        ttl: life.ttl,
        explicit_max_ttl: life.explicit_max,
        period,
        renewable: fields.bool("renewable")?.unwrap_or(true) && life.ttl > 0,
    };
    let mut warnings = unknown_policies(call, &new.policies);
    warnings.extend(life.warning);
    let minted = tokens::mint(call.work, &mut call.env, new)?;
    let mut answer = Answer {
        auth: Some(auth_of(&minted, call.env.now())),
        ..Answer::default()
    };
    answer.reply.warnings = warnings;
    Ok(answer)
}

/// Refuses what only some may ask for, and what is not built.
fn check_wishes(
    call: &Call<'_, '_>,
    privileged: bool,
    no_parent: bool,
    period: Millis,
    id: Option<&str>,
) -> Result<(), Error> {
    if no_parent && !privileged {
        return Err(Error::invalid(
            "root or sudo privileges required to create orphan token",
        ));
    }
    if period > 0 && !privileged {
        return Err(Error::invalid(
            "root or sudo privileges required to create periodic token",
        ));
    }
    if let Some(id) = id {
        if !call.caller.acl.is_root() {
            return Err(Error::invalid("root required to specify token id"));
        }
        check_chosen_id(id)?;
    }
    match call.fields().string("type")?.as_deref() {
        None | Some("" | "service" | "default" | "default-service") => {}
        Some("batch" | "default-batch") => return Err(Error::Unsupported("batch tokens".to_owned())),
        Some(_) => return Err(Error::invalid("invalid 'token_type' value")),
    }
    if call.caller.record.num_uses > 0 {
        return Err(Error::invalid(
            "restricted use token cannot generate child tokens",
        ));
    }
    Ok(())
}

fn check_chosen_id(id: &str) -> Result<(), Error> {
    let wrong = if id.starts_with("s.") {
        "custom token ID cannot have the 's.' prefix"
    } else if id.contains('.') {
        "custom token ID cannot have a '.' in the value"
    } else if id.contains([' ', '\n', '\t']) {
        "custom token ID cannot contain white space"
    } else if id.len() > MAX_ID_BYTES {
        "custom token ID is too long"
    } else {
        return Ok(());
    };
    Err(Error::invalid(wrong))
}

/// The requested policies, or the caller's; never more than the caller has, unless it may do everything.
fn policies_of(call: &Call<'_, '_>, privileged: bool) -> Result<Vec<String>, Error> {
    let fields = call.fields();
    let asked = normal_names(&fields.strings("policies")?.unwrap_or_default())?;
    let own = &call.caller.record.policies;
    let mut policies = if asked.is_empty() { own.clone() } else { asked };
    let wants_root = policies.iter().any(|policy| policy == "root");
    if wants_root && !call.caller.acl.is_root() {
        return Err(Error::invalid(
            "root tokens may not be created without parent token being root",
        ));
    }
    if !privileged
        && !policies
            .iter()
            .all(|policy| policy == "default" || own.contains(policy))
    {
        return Err(Error::invalid("child policies must be subset of parent"));
    }
    if wants_root {
        return Ok(vec!["root".to_owned()]);
    }
    let without_default = fields.bool("no_default_policy")?.unwrap_or(false);
    let parent_has_default = own.iter().any(|policy| policy == "default" || policy == "root");
    if !without_default && parent_has_default {
        policies.push("default".to_owned());
    }
    policies.sort_unstable();
    policies.dedup();
    Ok(policies)
}

fn unknown_policies(call: &Call<'_, '_>, policies: &[String]) -> Vec<String> {
    let unknown = policies
        .iter()
        .filter(|name| *name != "root" && call.work.catalog.policy(name).is_none());
    unknown
        .map(|name| format!("Policy {name:?} does not exist"))
        .collect()
}

fn uses(call: &Call<'_, '_>) -> Result<u64, Error> {
    let uses = call.fields().int("num_uses")?.unwrap_or(0);
    u64::try_from(uses).map_err(|_| Error::invalid("number of uses cannot be negative"))
}

/// How long a new token lives.
struct Life {
    /// 0: for ever.
    ttl: Millis,
    /// 0: none but the system's.
    explicit_max: Millis,
    /// Said when less was given than asked for.
    warning: Option<String>,
}

/// The life asked for, within the bounds of system and mount. Root tokens without one never end.
fn life_of(call: &Call<'_, '_>, policies: &[String], period: Millis) -> Result<Life, Error> {
    let fields = call.fields();
    let (default, max) = limits(call);
    let explicit_max = fields.duration("explicit_max_ttl")?.unwrap_or(0).min(max);
    let asked = match fields
        .signed_duration("ttl")?
        .or(fields.signed_duration("lease")?)
    {
        None => 0,
        Some(ttl) => Millis::try_from(ttl).map_err(|_| Error::invalid("ttl must be positive"))?,
    };
    let is_root = policies.iter().any(|policy| policy == "root");
    if is_root && asked == 0 && explicit_max == 0 {
        if call.caller.record.expires != 0 {
            return Err(Error::invalid(
                "expiring root tokens cannot create non-expiring root tokens",
            ));
        }
        return Ok(Life {
            ttl: 0,
            explicit_max,
            warning: None,
        });
    }
    let bound = if explicit_max > 0 { explicit_max } else { max };
    let wanted = match (period, asked) {
        (0, 0) => default.min(bound),
        (0, asked) => asked,
        (period, _) => period,
    };
    Ok(Life {
        ttl: wanted.min(bound),
        explicit_max,
        warning: capped(wanted, bound),
    })
}

/// The default and the longest life that the token mount gives.
fn limits(call: &Call<'_, '_>) -> (Millis, Millis) {
    let settings = &call.core.settings;
    let (default, max) = (settings.default_lease_ttl, settings.max_lease_ttl);
    match call.work.catalog.mounts(Category::Auth).get("token/") {
        Some(mount) => {
            let mount = mount.to_mount(default, max);
            let longest = mount.max_lease_ttl.min(max);
            (mount.default_lease_ttl.min(longest), longest)
        }
        None => (default, max),
    }
}

/// What is said of a life that was cut.
fn capped(wanted: Millis, bound: Millis) -> Option<String> {
    (wanted > bound).then(|| {
        let (wanted, bound) = (short(wanted), short(bound));
        format!(
            "TTL of {wanted:?} exceeded the effective max_ttl of {bound:?}; TTL value is capped accordingly"
        )
    })
}

/// In whole seconds, without the units that are zero at its end: `1h`, `59m59s`.
fn short(duration: Millis) -> String {
    let text = conclave_engine_api::format_duration(duration / 1000 * 1000);
    let text = text
        .strip_suffix("m0s")
        .map_or(text.clone(), |rest| format!("{rest}m"));
    text.strip_suffix("h0m")
        .map_or(text.clone(), |rest| format!("{rest}h"))
}

/// A display name is shown in lists and audit: letters, digits and dashes.
fn plain(name: &str) -> String {
    name.chars()
        .take(128)
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect()
}

fn auth_of(minted: &Minted, now: Millis) -> Map<String, Value> {
    auth_object(&minted.record, &minted.id, now)
}

fn auth_object(record: &TokenRecord, id: &str, now: Millis) -> Map<String, Value> {
    let meta = if record.meta.is_empty() {
        Value::Null
    } else {
        json!(record.meta)
    };
    crate::sys::object(json!({
        "client_token": id,
        "accessor": record.accessor,
        "policies": record.policies,
        "token_policies": record.policies,
        "metadata": meta,
        "lease_duration": record.ttl(now).div_ceil(1000),
        "renewable": record.renewable,
        "entity_id": "",
        "token_type": "service",
        "orphan": record.parent.is_none(),
        "mfa_requirement": null,
        "num_uses": record.num_uses,
    }))
}

fn shown(call: &Call<'_, '_>) -> Result<String, Error> {
    let in_path = call.params.get("token");
    if !in_path.is_empty() {
        return Ok(in_path.to_owned());
    }
    call.fields()
        .required("token")
        .map_err(|_| Error::invalid("missing token ID"))
}

fn found_by_id(call: &mut Call<'_, '_>, id: &str) -> Result<Found, Error> {
    tokens::by_id(call.work, id, call.env.now())?.ok_or_else(Error::unauthenticated)
}

fn accessor_in(call: &Call<'_, '_>) -> Result<String, Error> {
    let accessor = call.fields().required("accessor");
    accessor.map_err(|_| Error::listed("missing accessor"))
}

fn found_by_accessor(call: &mut Call<'_, '_>) -> Result<Found, Error> {
    let accessor = accessor_in(call)?;
    let found = tokens::by_accessor(call.work, &accessor, call.env.now())?;
    found.ok_or_else(|| Error::listed("invalid accessor"))
}

fn lookup(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let id = shown(call).unwrap_or_else(|_| call.token.to_owned());
    let found = tokens::by_id(call.work, &id, call.env.now())?.ok_or(Error::BadToken)?;
    Ok(Answer::data(tokens::describe(
        call.work,
        &found,
        &id,
        call.env.now(),
    )?))
}

fn lookup_self(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let id = call.token.to_owned();
    let found = found_by_id(call, &id)?;
    Ok(Answer::data(tokens::describe(
        call.work,
        &found,
        &id,
        call.env.now(),
    )?))
}

fn lookup_accessor(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let found = found_by_accessor(call)?;
    Ok(Answer::data(tokens::describe(
        call.work,
        &found,
        "",
        call.env.now(),
    )?))
}

fn renew(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let id = shown(call)?;
    let found = tokens::by_id(call.work, &id, call.env.now())?;
    let found = found.ok_or_else(|| Error::invalid("token not found"))?;
    extend(call, &found, &id)
}

fn renew_self(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let id = call.token.to_owned();
    let found = found_by_id(call, &id)?;
    extend(call, &found, &id)
}

fn renew_accessor(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let found = found_by_accessor(call)?;
    extend(call, &found, "")
}

fn extend(call: &mut Call<'_, '_>, found: &Found, id: &str) -> Result<Answer, Error> {
    let now = call.env.now();
    let increment = call.fields().duration("increment")?.unwrap_or(0);
    let mut record = found.record.clone();
    if !record.renewable || record.expires == 0 {
        return Err(Error::invalid(if record.is_born_root() {
            "invalid lease ID"
        } else {
            "lease is not renewable"
        }));
    }
    let (_, max) = limits(call);
    let wanted = if record.period > 0 {
        record.period
    } else if increment > 0 {
        increment
    } else {
        record.creation_ttl
    };
    // However often it is renewed, a token ends no later than its bounds, counted from its making.
    let mut latest = if record.period > 0 {
        now.saturating_add(max)
    } else {
        record.created.saturating_add(max)
    };
    if record.explicit_max_ttl > 0 {
        latest = latest.min(record.created.saturating_add(record.explicit_max_ttl));
    }
    let bound = latest.saturating_sub(now);
    record.expires = now.saturating_add(wanted.min(bound));
    record.renewed = now;
    call.work
        .tokens
        .put_due(&found.name, encode_record(&record)?, Some(record.expires))?;
    let mut answer = Answer {
        auth: Some(auth_object(&record, id, now)),
        ..Answer::default()
    };
    answer.reply.warnings.extend(capped(wanted, bound));
    Ok(answer)
}

/// A token that is gone is as revoked as was asked for.
fn revoke(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let id = shown(call)?;
    if let Some(found) = tokens::by_id(call.work, &id, call.env.now())? {
        tokens::revoke(call.work, &found)?;
    }
    Ok(Answer::empty())
}

fn revoke_self(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let id = call.token.to_owned();
    let found = found_by_id(call, &id)?;
    tokens::revoke(call.work, &found)?;
    Ok(Answer::empty())
}

fn revoke_accessor(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let accessor = accessor_in(call)?;
    let mut answer = Answer::empty();
    match tokens::by_accessor(call.work, &accessor, call.env.now())? {
        Some(found) => tokens::revoke(call.work, &found)?,
        None => {
            let warning = "No token found with this accessor".to_owned();
            answer.reply.warnings.push(warning);
        }
    }
    Ok(answer)
}

fn revoke_orphan(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let id = shown(call)?;
    let found = found_by_id(call, &id).map_err(|_| Error::invalid("token to revoke not found"))?;
    tokens::revoke_orphan(call.work, &found)?;
    Ok(Answer::empty())
}

fn accessors(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let names = call.work.tokens.list("", &conclave_engine_api::Page::default())?;
    let mut accessors = Vec::with_capacity(names.len());
    for name in names {
        if let Some(row) = call.work.opened().space(tokens::TOKENS).row(&name)? {
            let record: TokenRecord = decode_record(&row.value)?;
            accessors.push(record.accessor);
        }
    }
    accessors.sort_unstable();
    Ok(Answer::data(crate::sys::object(json!({"keys": accessors}))))
}
