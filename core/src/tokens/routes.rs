//! `auth/token/`: making, looking up, renewing and revoking tokens.

use serde_json::{Map, Value, json};

use conclave_engine_api::Millis;
use conclave_engine_api::Operation::{Delete, List, Read, Update};
use conclave_engine_api::{Reply, Status};

use crate::catalog::decode_record;
use crate::error::Error;
use crate::routes::{Answer, Call, Route, rows, sudo};
use crate::tokens::create::{create, create_by_role, create_orphan};
use crate::tokens::lookup::Found;
use crate::tokens::renew::extend;
use crate::tokens::{self, TokenKind, TokenRecord, roles};

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
    rows("roles", &[List], roles::list),
    rows("roles/:role", &[Read], roles::read),
    rows("roles/:role", &[Update], roles::write),
    rows("roles/:role", &[Delete], roles::delete),
    rows("tidy", &[Update], tidy),
];

/// What whoever gets a token is told of it. `identity` are the policies that it has by its entity.
pub fn auth_object(record: &TokenRecord, identity: &[String], id: &str, now: Millis) -> Map<String, Value> {
    let meta = if record.meta.is_empty() {
        Value::Null
    } else {
        json!(record.meta)
    };
    let mut policies = [record.policies.as_slice(), identity].concat();
    policies.sort_unstable();
    policies.dedup();
    let mut auth = crate::sys::object(json!({
        "client_token": id,
        "accessor": record.accessor,
        "policies": policies,
        "token_policies": record.policies,
        "metadata": meta,
        "lease_duration": record.ttl(now).div_ceil(1000),
        "renewable": record.renewable,
        "entity_id": record.entity,
        "token_type": record.kind.name(),
        "orphan": record.parent.is_none(),
        "mfa_requirement": null,
        "num_uses": record.num_uses,
    }));
    if !identity.is_empty() {
        auth.insert("identity_policies".to_owned(), json!(identity));
    }
    auth
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
    let found = tokens::by_id(call.work, &id, call.env.now())?.ok_or(Error::BadToken)?;
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
    let found = tokens::by_id(call.work, &id, call.env.now())?;
    let found = found.ok_or_else(|| Error::invalid("token not found"))?;
    extend(call, &found, &id)
}

fn renew_accessor(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let found = found_by_accessor(call)?;
    extend(call, &found, "")
}

/// Stands for no time: a token that is to be removed is found also when it is over, for what it made may not be.
const AT_ANY_TIME: Millis = 0;

/// A token that is gone is as revoked as was asked for.
fn revoke(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let id = shown(call)?;
    let found = tokens::by_id(call.work, &id, AT_ANY_TIME)?;
    // A batch token that is over is gone: there is no row of it.
    let now = call.env.now();
    let found = found.filter(|found| found.record.kind != TokenKind::Batch || !found.record.is_expired(now));
    if let Some(found) = found {
        end(call, &found)?;
    }
    Ok(Answer::empty())
}

/// What is stored nowhere cannot be taken away.
fn end(call: &mut Call<'_, '_>, found: &Found) -> Result<(), Error> {
    if found.record.kind == TokenKind::Batch {
        return Err(Error::invalid("batch tokens cannot be revoked"));
    }
    tokens::revoke(call.work, found)
}

/// There is nothing to tidy: what ends is removed when it ends.
fn tidy(_call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let reply = Reply {
        status: Status::Accepted,
        ..Reply::empty()
    };
    let text = "Tidy operation successfully started. Any information from the operation will be printed to OpenBao's \
                server logs.";
    Ok(reply.warn(text).into())
}

fn revoke_self(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    if call.caller.record.kind == TokenKind::Inline {
        // It ends with this request anyway.
        return Ok(Answer::empty());
    }
    let id = call.token.to_owned();
    let found = found_by_id(call, &id)?;
    end(call, &found)?;
    Ok(Answer::empty())
}

fn revoke_accessor(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let accessor = accessor_in(call)?;
    let mut answer = Answer::empty();
    match tokens::by_accessor(call.work, &accessor, AT_ANY_TIME)? {
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
    if found.record.kind == TokenKind::Batch {
        return Err(Error::invalid("batch tokens cannot be revoked"));
    }
    tokens::revoke_orphan(call.work, &found)?;
    Ok(Answer::empty())
}

fn accessors(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let work = &mut *call.work;
    let names = tokens::names(work.opened(), work.namespace())?;
    let mut accessors = Vec::with_capacity(names.len());
    for name in names {
        if let Some(row) = work.tokens.get(&name)? {
            let record: TokenRecord = decode_record(&row.value)?;
            accessors.push(record.accessor);
        }
    }
    accessors.sort_unstable();
    Ok(Answer::data(crate::sys::object(json!({"keys": accessors}))))
}
