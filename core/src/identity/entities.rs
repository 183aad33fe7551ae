//! `identity/entity`: making, reading, changing, listing and deleting entities.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use conclave_engine_api::{Outcome, Page};

use crate::catalog::Catalog;
use crate::error::Error;
use crate::identity::login::drawn_name;
use crate::identity::membership;
use crate::identity::record::Entity;
use crate::identity::rows::{ENTITIES, Rows, in_rows};
use crate::identity::{described, metadata};
use crate::routes::{Answer, Call, Params};
use crate::sys::object;

/// Most entities that one request deletes.
const MAX_DELETED: usize = 256;
/// Most changes of one request.
pub const MAX_CHANGES: usize = 3000;
/// Most things that a list tells more of than their ids.
pub const MAX_TOLD: usize = 10_000;

/// What a path or a body calls `name`; the path wins.
pub fn given(call: &Call<'_, '_>, name: &str) -> Result<Option<String>, Error> {
    let in_path = call.params.get(name);
    if !in_path.is_empty() {
        return Ok(Some(in_path.to_owned()));
    }
    Ok(call.fields().string(name)?)
}

/// Makes an entity, or changes one that is named by its id or its name.
pub fn write(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let id = given(call, "id")?.filter(|id| !id.is_empty());
    let name = given(call, "name")?.filter(|name| !name.is_empty());
    let name = name.map(metadata::checked_name).transpose()?;
    let fields = call.fields();
    let policies = metadata::policies(&fields)?;
    let disabled = fields.bool("disabled")?;
    let pairs = fields.pairs("metadata")?;
    if let Some(pairs) = &pairs {
        metadata::check("entity", pairs)?;
    }
    let env = &mut call.env;
    let (entity, is_new) = in_rows(call.work, |rows| {
        let mut known = match &id {
            Some(id) => {
                let entity = rows.entity(id)?;
                Some(entity.ok_or_else(|| Error::invalid("entity not found from id"))?)
            }
            None => None,
        };
        if let Some(name) = &name
            && let Some(owner) = rows.id_of_name(ENTITIES, name)?
        {
            match &known {
                None => known = rows.entity(&owner)?,
                Some(known) if known.id == owner => {}
                Some(_) => return Err(Error::invalid("entity name is already in use")),
            }
        }
        let mut entity = match &known {
            Some(known) => known.clone(),
            None => {
                let name = match &name {
                    Some(name) => name.clone(),
                    None => drawn_name(rows, env, ENTITIES, "entity")?,
                };
                Entity::new(env.uuid(), name, env.now())
            }
        };
        entity.name = name.unwrap_or(entity.name);
        entity.policies = policies.unwrap_or(entity.policies);
        entity.disabled = disabled.unwrap_or(entity.disabled);
        entity.metadata = pairs.or(entity.metadata);
        entity.updated = env.now();
        rows.replace_entity(known.as_ref(), Some(&entity))?;
        Ok((entity, known.is_none()))
    })?;
    if !is_new {
        return Ok(Answer::empty());
    }
    Ok(Answer::data(object(json!({
        "aliases": null,
        "id": entity.id,
        "name": entity.name,
    }))))
}

/// The entity that a path names.
fn named(params: &Params, rows: &mut Rows<'_>) -> Result<Option<Entity>, Error> {
    match params.get("id") {
        "" => by_name(rows, params.get("name")),
        id => rows.entity(id),
    }
}

/// The entity of this name.
pub fn by_name(rows: &mut Rows<'_>, name: &str) -> Result<Option<Entity>, Error> {
    match rows.id_of_name(ENTITIES, name)? {
        Some(id) => rows.entity(&id),
        None => Ok(None),
    }
}

/// Reads one entity.
pub fn read(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let params = &call.params;
    let found = in_rows(call.work, |rows| named(params, rows))?;
    let entity = found.ok_or(Error::NotFound { warnings: Vec::new() })?;
    Ok(Answer::data(describe(call, &entity)?))
}

/// An entity with its groups.
pub fn describe(call: &mut Call<'_, '_>, entity: &Entity) -> Result<Map<String, Value>, Error> {
    let groups = in_rows(call.work, |rows| {
        membership::groups_of(&entity.id, |member| rows.parents(member))
    })?;
    Ok(described::entity(call.work.catalog, entity, &groups))
}

/// Deletes one entity. What is not there is as deleted as was asked for.
pub fn delete(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let (params, now) = (&call.params, call.env.now());
    in_rows(call.work, |rows| {
        let found = named(params, rows)?;
        found.map_or(Ok(()), |entity| remove(rows, &entity, now))
    })?;
    Ok(Answer::empty())
}

/// Deletes several entities.
pub fn delete_some(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let ids: BTreeSet<String> = call
        .fields()
        .strings("entity_ids")?
        .unwrap_or_default()
        .into_iter()
        .collect();
    if ids.is_empty() {
        return Err(Error::invalid("missing entity ids to delete"));
    }
    if ids.len() > MAX_DELETED {
        return Err(Error::TooLarge(format!(
            "more than {MAX_DELETED} entities at once"
        )));
    }
    let now = call.env.now();
    in_rows(call.work, |rows| {
        for id in &ids {
            if let Some(entity) = rows.entity(id)? {
                remove(rows, &entity, now)?;
            }
            check_size(rows)?;
        }
        Ok(())
    })?;
    Ok(Answer::empty())
}

/// Whether one command holds what was changed so far.
pub fn check_size(rows: &Rows<'_>) -> Result<(), Error> {
    match rows.writes() > MAX_CHANGES {
        true => Err(Error::TooLarge(format!(
            "more than {MAX_CHANGES} changes at once"
        ))),
        false => Ok(()),
    }
}

/// Takes an entity out of its groups and away.
pub fn remove(rows: &mut Rows<'_>, entity: &Entity, now: u64) -> Result<(), Error> {
    for group in rows.parents(&entity.id)? {
        leave(rows, &group, &entity.id, now)?;
    }
    rows.replace_entity(Some(entity), None)
}

/// Takes an entity out of one group.
fn leave(rows: &mut Rows<'_>, group: &str, entity: &str, now: u64) -> Result<(), Error> {
    let known = rows.group(group)?;
    let known = known.ok_or_else(|| Error::internal("a member's group is gone"))?;
    let mut group = known.clone();
    if let Some(members) = &mut group.entities {
        members.retain(|member| member != entity);
    }
    group.changes += 1;
    group.updated = now;
    rows.replace_group(Some(&known), Some(&group))
}

/// Ids of all entities, and what is told of each.
pub fn list_ids(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    list_told(call, "entity", |rows, catalog, id| {
        let entity = rows.entity(id)?;
        Ok(entity.map(|entity| described::listed_entity(catalog, &entity)))
    })
}

/// Names of all entities.
pub fn list_names(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let page = call.fields().page()?;
    let names = in_rows(call.work, |rows| rows.names(ENTITIES))?;
    listing(cut(names, &page))
}

/// The part of sorted names that is asked for.
pub fn cut(names: Vec<String>, page: &Page) -> Vec<String> {
    let names = names.into_iter().filter(|name| *name > page.after);
    names.take(page.limit.unwrap_or(usize::MAX)).collect()
}

/// A list of names, or that there is none.
pub fn listing(names: Vec<String>) -> Result<Answer, Error> {
    match Outcome::listing(names)? {
        Outcome::Reply(reply) => Ok(reply.into()),
        _ => Err(Error::internal("a list is no reply")),
    }
}

/// Ids in a directory of rows, and what `tell` says of each. A long list tells ids alone.
pub fn list_told(
    call: &mut Call<'_, '_>,
    dir: &str,
    tell: impl Fn(&mut Rows<'_>, &Catalog, &str) -> Result<Option<Map<String, Value>>, Error>,
) -> Result<Answer, Error> {
    let page = call.fields().page()?;
    let catalog = call.work.catalog;
    let (ids, info) = in_rows(call.work, |rows| {
        let ids = rows.ids(dir, &page)?;
        let mut info = Map::new();
        for id in ids.iter().filter(|_| ids.len() <= MAX_TOLD) {
            if let Some(told) = tell(rows, catalog, id)? {
                info.insert(id.clone(), Value::Object(told));
            }
        }
        Ok((ids, info))
    })?;
    if ids.is_empty() {
        return Err(Error::NotFound { warnings: Vec::new() });
    }
    if info.is_empty() {
        return listing(ids);
    }
    Ok(Answer::data(object(json!({"keys": ids, "key_info": info}))))
}
