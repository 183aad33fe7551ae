//! Making tokens by tokens: what may be asked for, by whom, and what a token role makes of it.

use std::collections::BTreeMap;

use conclave_engine_api::{Millis, TokenType};

use crate::catalog::Category;
use crate::error::Error;
use crate::identity;
use crate::routes::{Answer, Call};
use crate::sys::normal_names;
use crate::tokens::roles::Role;
use crate::tokens::{self, Bounds, NewToken, TokenKind, Wish, auth_object, life};

/// Longest token that somebody chooses, in bytes.
const MAX_ID_BYTES: usize = 512;

/// `auth/token/create`.
pub fn create(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    make(call, false, None)
}

/// `auth/token/create-orphan`.
pub fn create_orphan(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    make(call, true, None)
}

/// `auth/token/create/:role`.
pub fn create_by_role(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let name = call.params.get("role").to_owned();
    let role = Role::load(call, &name)?.ok_or_else(|| Error::invalid(format!("unknown role {name}")))?;
    make(call, role.orphan, Some((&name, &role)))
}

/// A role and its name.
type Named<'a> = Option<(&'a str, &'a Role)>;

fn make(call: &mut Call<'_, '_>, orphan: bool, named: Named<'_>) -> Result<Answer, Error> {
    let fields = call.fields();
    let role = named.map(|(_, role)| role);
    let privileged = call.may_sudo("auth/token/create");
    let no_parent = fields.bool("no_parent")?.unwrap_or(false);
    let asked = fields.duration("period")?.unwrap_or(0);
    let id = fields.string("id")?.filter(|id| !id.is_empty());
    check_wishes(call, privileged, no_parent, asked, id.as_deref())?;
    let kind = kind_of(call, role)?;
    let policies = match role {
        Some(role) if role.lists_policies() => role.policies(call)?,
        _ => policies_of(call, privileged, role)?,
    };
    let mut warnings = unknown_policies(call, &policies);
    let period = match role.map_or(0, Role::period) {
        0 => asked,
        period if asked > 0 => period.min(asked),
        period => period,
    };
    let explicit_max_ttl = explicit_max(call, role, &mut warnings)?;
    let num_uses = uses(call, role)?;
    if kind == TokenKind::Batch {
        check_batch(&policies, period, num_uses, explicit_max_ttl)?;
    }
    let life = life_of(call, &policies, period, explicit_max_ttl)?;
    let parent = (!orphan && !no_parent).then(|| call.caller.name.clone());
    let (entity, identity) = stands_for(call, role, parent.is_some())?;
    // Whoever stands behind both has shown it.
    let inherits =
        !entity.is_empty() && [call.caller.entity(), &call.caller.record.entity].contains(&entity.as_str());
    let renewable = fields.bool("renewable")?.unwrap_or(true) && role.is_none_or(|role| role.renewable);
    let new = NewToken {
        id,
        parent,
        entity,
        policies,
        path: match named {
            Some((name, role)) => role.path(name),
            None if orphan => "auth/token/create-orphan".to_owned(),
            None => "auth/token/create".to_owned(),
        },
        meta: fields
            .pairs("meta")?
            .or(fields.pairs("metadata")?)
            .unwrap_or_default(),
        display_name: display_name(&fields.string("display_name")?.unwrap_or_default()),
        num_uses,
        ttl: life.ttl,
        explicit_max_ttl,
        period,
        renewable: renewable && life.ttl > 0 && kind == TokenKind::Service,
        bound_cidrs: role
            .map(|role| role.settings.bound_cidrs.clone())
            .unwrap_or_default(),
        role: named.map(|(name, _)| name.to_owned()).unwrap_or_default(),
        factor: if inherits { call.caller.record.factor } else { 0 },
        login: None,
        kind,
    };
    warnings.extend(life.warning);
    let minted = tokens::mint(call.work, &mut call.env, new)?;
    let mut answer = Answer {
        auth: Some(auth_object(&minted.record, &identity, &minted.id, call.env.now())),
        ..Answer::default()
    };
    answer.reply.warnings = warnings;
    Ok(answer)
}

/// Refuses what only some may ask for.
fn check_wishes(
    call: &Call<'_, '_>,
    privileged: bool,
    no_parent: bool,
    period: Millis,
    id: Option<&str>,
) -> Result<(), Error> {
    match call.caller.record.kind {
        TokenKind::Service => {}
        TokenKind::Batch => return Err(Error::invalid("batch tokens cannot create more tokens")),
        TokenKind::Inline => return Err(Error::invalid("parent token lookup failed: no parent found")),
    }
    if is_foreign(call) && !privileged {
        return Err(Error::invalid(
            "root or sudo privileges required to directly generate a token in a child namespace",
        ));
    }
    if id.is_some() && !call.work.catalog.namespace().is_root() {
        return Err(Error::invalid(
            "token IDs can only be manually specified in the root namespace",
        ));
    }
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
    if call.caller.record.num_uses > 0 {
        return Err(Error::invalid(
            "restricted use token cannot generate child tokens",
        ));
    }
    Ok(())
}

/// Whether the caller is of a namespace above the one in which the token is made.
fn is_foreign(call: &Call<'_, '_>) -> bool {
    call.caller.namespace.number != call.work.namespace()
}

/// The entity a token is of, and the policies that come with it: that of the alias that is asked for and the role allows,
/// else the parent's. An orphan without an alias is nobody's.
fn stands_for(
    call: &mut Call<'_, '_>,
    role: Option<&Role>,
    has_parent: bool,
) -> Result<(String, Vec<String>), Error> {
    let alias = call.fields().string("entity_alias")?.unwrap_or_default();
    let role = match role {
        _ if alias.is_empty() => {
            let entity = has_parent.then(|| call.caller.record.entity.clone());
            let entity = entity.unwrap_or_default();
            let policies = identity::policies_of(call.work.opened(), call.work.catalog, &entity)?;
            return Ok((entity, policies));
        }
        None => {
            return Err(Error::invalid(
                "'entity_alias' is only allowed in combination with token role",
            ));
        }
        Some(role) => role,
    };
    if !role.allows_alias(&alias) {
        return Err(Error::invalid("invalid 'entity_alias' value"));
    }
    let mount = call.work.catalog.mounts(Category::Auth).get("token/");
    let mount = mount.ok_or_else(|| Error::internal("the mount of tokens is missing"))?;
    let known = identity::sign_in(call.work, &mut call.env, mount, &alias, &BTreeMap::new())?;
    Ok((known.entity, known.policies))
}

/// What is asked for, unless the role decides it.
fn kind_of(call: &Call<'_, '_>, role: Option<&Role>) -> Result<TokenKind, Error> {
    let asked = call.fields().string("type")?.unwrap_or_default();
    let asked = TokenType::parse(&asked).ok_or_else(|| Error::invalid("invalid 'token_type' value"))?;
    let decided = match role.map(|role| role.settings.kind) {
        Some(kind @ (TokenType::Service | TokenType::Batch)) => kind,
        Some(TokenType::DefaultBatch) if asked == TokenType::Default => TokenType::Batch,
        _ => asked,
    };
    Ok(match decided {
        TokenType::Batch | TokenType::DefaultBatch => TokenKind::Batch,
        TokenType::Default | TokenType::DefaultService | TokenType::Service => TokenKind::Service,
    })
}

/// What cannot be counted, renewed or ended early cannot be any of this.
fn check_batch(
    policies: &[String],
    period: Millis,
    num_uses: u64,
    explicit_max_ttl: Millis,
) -> Result<(), Error> {
    if policies.iter().any(|policy| policy == "root") {
        return Err(Error::invalid("batch tokens cannot be root tokens"));
    }
    let set = [
        ("period", period),
        ("num_uses", num_uses),
        ("explicit_max_ttl", explicit_max_ttl),
    ];
    match set.into_iter().find(|(_, value)| *value > 0) {
        Some((name, _)) => Err(Error::invalid(format!("batch tokens cannot have {name:?} set"))),
        None => Ok(()),
    }
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
fn policies_of(call: &Call<'_, '_>, privileged: bool, role: Option<&Role>) -> Result<Vec<String>, Error> {
    let fields = call.fields();
    let asked = normal_names(&fields.strings("policies")?.unwrap_or_default())?;
    let own = &call.caller.record.policies;
    let foreign = is_foreign(call);
    if foreign && asked.iter().any(|policy| policy == "root") {
        return Err(Error::invalid(
            "root tokens may not be created from a parent namespace",
        ));
    }
    // The names of the caller's policies mean nothing in another namespace.
    let mut policies = if asked.is_empty() && !foreign {
        own.clone()
    } else {
        asked
    };
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
    let without_default = fields.bool("no_default_policy")?.unwrap_or(false)
        || role.is_some_and(|role| role.settings.no_default_policy);
    let parent_has_default = foreign || own.iter().any(|policy| policy == "default" || policy == "root");
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

fn uses(call: &Call<'_, '_>, role: Option<&Role>) -> Result<u64, Error> {
    let uses = call.fields().int("num_uses")?.unwrap_or(0);
    let uses = u64::try_from(uses).map_err(|_| Error::invalid("number of uses cannot be negative"))?;
    Ok(match role.map_or(0, |role| role.settings.num_uses) {
        0 => uses,
        bound if uses == 0 => bound,
        bound => uses.min(bound),
    })
}

/// The least of what the request, the role and the mount say.
fn explicit_max(
    call: &Call<'_, '_>,
    role: Option<&Role>,
    warnings: &mut Vec<String>,
) -> Result<Millis, Error> {
    let asked = call.fields().duration("explicit_max_ttl")?.unwrap_or(0);
    let bound = role.map_or(0, Role::explicit_max_ttl);
    let wanted = match (asked, bound) {
        (asked, 0) => asked,
        (0, bound) => bound,
        (asked, bound) => {
            let least = asked.min(bound);
            warnings.push(format!(
                "Explicit max TTL specified both during creation call and in role; using the lesser value of {} seconds",
                least / 1000
            ));
            least
        }
    };
    Ok(wanted.min(bounds(call)?.max))
}

/// The life asked for, within the bounds of system and mount. Root tokens without one never end.
fn life_of(
    call: &Call<'_, '_>,
    policies: &[String],
    period: Millis,
    explicit_max_ttl: Millis,
) -> Result<tokens::Life, Error> {
    let fields = call.fields();
    let asked = match fields
        .signed_duration("ttl")?
        .or(fields.signed_duration("lease")?)
    {
        None => 0,
        Some(ttl) => Millis::try_from(ttl).map_err(|_| Error::invalid("ttl must be positive"))?,
    };
    let is_root = policies.iter().any(|policy| policy == "root");
    if is_root && asked == 0 && explicit_max_ttl == 0 && period == 0 {
        if call.caller.record.expires != 0 {
            return Err(Error::invalid(
                "expiring root tokens cannot create non-expiring root tokens",
            ));
        }
        return Ok(tokens::Life {
            ttl: 0,
            warning: None,
        });
    }
    let now = call.env.now();
    let wish = Wish {
        ttl: asked,
        explicit_max_ttl,
        period,
        ..Wish::default()
    };
    Ok(life(bounds(call)?, &wish, now, now))
}

/// What the token mount gives.
fn bounds(call: &Call<'_, '_>) -> Result<Bounds, Error> {
    let mount = call.work.catalog.mounts(Category::Auth).get("token/");
    let mount = mount.ok_or_else(|| Error::internal("the mount of tokens is missing"))?;
    Ok(Bounds::of(&call.core.settings, mount))
}

fn display_name(name: &str) -> String {
    match name {
        "" => "token".to_owned(),
        name => format!("token-{}", plain(name)),
    }
}

/// A display name is shown in lists and audit: letters, digits and dashes.
fn plain(name: &str) -> String {
    name.chars()
        .take(128)
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect()
}
