//! `identity/mfa/login-enforcement`: who must show a second factor at login. It must not know how one is shown.

use serde_json::{Map, Value, json};

use crate::catalog::{Category, encode_record};
use crate::error::Error;
use crate::identity::entities::cut;
use crate::identity::mfa::record::{ENFORCEMENTS, Enforcement, method};
use crate::identity::rows::in_rows;
use crate::routes::{Answer, Call};
use crate::sys::object;

/// Most enforcements of a namespace.
const MAX_ENFORCEMENTS: usize = 256;
/// Most entries of one of its lists.
const MAX_ENTRIES: usize = 1000;
/// Longest name in bytes.
const MAX_NAME: usize = 128;

fn not_found() -> Error {
    Error::NotFound { warnings: Vec::new() }
}

/// The name in the path, as names of this API are: what could be none is no path.
fn named(call: &Call<'_, '_>) -> Result<String, Error> {
    let name = call.params.get("name");
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let is_end = |c: Option<char>| c.is_some_and(|c| inner(c) && !matches!(c, '-' | '.'));
    let ends = is_end(name.chars().next()) && is_end(name.chars().next_back());
    match ends && name.len() <= MAX_NAME && name.chars().all(inner) {
        true => Ok(name.to_owned()),
        false => Err(Error::UnsupportedPath),
    }
}

/// Makes one, or changes it: lists that are not named stay.
pub fn write(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let name = named(call)?;
    let known = call.work.catalog.mfa().enforcements.get(&name).cloned();
    if known.is_none() && call.work.catalog.mfa().enforcements.len() >= MAX_ENFORCEMENTS {
        return Err(Error::invalid(format!(
            "a namespace has at most {MAX_ENFORCEMENTS} enforcements"
        )));
    }
    let mut enforcement = match known {
        Some(known) => known.as_ref().clone(),
        None => Enforcement {
            id: call.env.uuid(),
            name,
            ..Enforcement::default()
        },
    };
    let methods = list_of(call, "mfa_method_ids")?.ok_or_else(|| Error::invalid("missing method ids"))?;
    if methods.iter().any(|id| method(call.work.catalog, id).is_none()) {
        return Err(Error::invalid("one of the provided method ids doesn't exist"));
    }
    enforcement.mfa_method_ids = methods;
    if !cover(call, &mut enforcement)? {
        return Err(Error::invalid(
            "One of auth_method_accessors, auth_method_types, identity_group_ids, identity_entity_ids must be specified",
        ));
    }
    let row = row_of(&enforcement.name);
    call.work.config.get(&row)?;
    call.work.config.put(&row, encode_record(&enforcement)?)?;
    Ok(Answer::empty())
}

/// Takes over whom a request says it is about; whether it says anything.
fn cover(call: &mut Call<'_, '_>, enforcement: &mut Enforcement) -> Result<bool, Error> {
    let mut given = false;
    let mounts = call.work.catalog.mounts(Category::Auth);
    if let Some(accessors) = list_of(call, "auth_method_accessors")? {
        if !accessors
            .iter()
            .all(|accessor| mounts.values().any(|mount| mount.accessor == *accessor))
        {
            return Err(Error::invalid(
                "one of the auth method accessors provided is invalid",
            ));
        }
        (enforcement.auth_method_accessors, given) = (accessors, true);
    }
    if let Some(types) = list_of(call, "auth_method_types")? {
        if !types
            .iter()
            .all(|kind| mounts.values().any(|mount| mount.kind == *kind))
        {
            return Err(Error::invalid("one of the auth method types provided is invalid"));
        }
        (enforcement.auth_method_types, given) = (types, true);
    }
    if let Some(groups) = list_of(call, "identity_group_ids")? {
        in_rows(call.work, |rows| {
            for id in &groups {
                let group = rows.group(id)?;
                group.ok_or_else(|| Error::invalid("one of the provided group ids doesn't exist"))?;
            }
            Ok(())
        })?;
        (enforcement.identity_group_ids, given) = (groups, true);
    }
    if let Some(entities) = list_of(call, "identity_entity_ids")? {
        in_rows(call.work, |rows| {
            for id in &entities {
                let entity = rows.entity(id)?;
                entity.ok_or_else(|| Error::invalid("one of the provided entity ids doesn't exist"))?;
            }
            Ok(())
        })?;
        (enforcement.identity_entity_ids, given) = (entities, true);
    }
    Ok(given)
}

fn list_of(call: &Call<'_, '_>, name: &str) -> Result<Option<Vec<String>>, Error> {
    match call.fields().strings(name)? {
        Some(list) if list.len() > MAX_ENTRIES => Err(Error::TooLarge(format!(
            "{name} has more than {MAX_ENTRIES} entries"
        ))),
        list => Ok(list),
    }
}

fn row_of(name: &str) -> String {
    format!("{ENFORCEMENTS}{name}")
}

fn describe(call: &Call<'_, '_>, enforcement: &Enforcement) -> Map<String, Value> {
    let namespace = call.work.catalog.namespace();
    object(json!({
        "auth_method_accessors": enforcement.auth_method_accessors,
        "auth_method_types": enforcement.auth_method_types,
        "id": enforcement.id,
        "identity_entity_ids": enforcement.identity_entity_ids,
        "identity_group_ids": enforcement.identity_group_ids,
        "mfa_method_ids": enforcement.mfa_method_ids,
        "name": enforcement.name,
        "namespace_id": namespace.id(),
        "namespace_path": namespace.path,
    }))
}

/// Reads one.
pub fn read(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let name = named(call)?;
    let found = call.work.catalog.mfa().enforcements.get(&name);
    Ok(Answer::data(describe(call, found.ok_or_else(not_found)?)))
}

/// Deletes one. What is not there is as deleted as was asked for.
pub fn delete(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let row = row_of(&named(call)?);
    if call.work.config.get(&row)?.is_some() {
        call.work.config.delete(&row)?;
    }
    Ok(Answer::empty())
}

/// Lists those of this namespace.
pub fn list(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let all = &call.work.catalog.mfa().enforcements;
    let names = cut(all.keys().cloned().collect(), &call.fields().page()?);
    if names.is_empty() {
        return Err(not_found());
    }
    let infos: Map<String, Value> = names
        .iter()
        .filter_map(|name| Some((name.clone(), Value::Object(describe(call, all.get(name)?)))))
        .collect();
    Ok(Answer::data(object(json!({"key_info": infos, "keys": names}))))
}
