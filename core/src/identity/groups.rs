//! `identity/group`: groups of entities and of groups.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::identity::entities::{check_size, cut, given, list_told, listing};
use crate::identity::login::drawn_name;
use crate::identity::record::{Group, GroupKind, MAX_MEMBERS, Metadata};
use crate::identity::rows::{GROUP_INDEXES, Rows, in_rows};
use crate::identity::{described, membership, metadata};
use crate::routes::{Answer, Call, Params};
use crate::sys::object;

/// What a request says of a group; `None`: nothing.
struct Asked {
    name: Option<String>,
    kind: Option<String>,
    policies: Option<Vec<String>>,
    metadata: Option<Metadata>,
    entities: Option<Vec<String>>,
    groups: Option<Vec<String>>,
}

/// Makes a group, or changes one that is named by its id or its name.
pub fn write(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let fields = call.fields();
    let (id, name) = (given(call, "id")?, given(call, "name")?);
    match (&id, &name) {
        (Some(id), _) if id.is_empty() => return Err(Error::invalid("empty group ID")),
        (None, Some(name)) if name.is_empty() => return Err(Error::invalid("empty group name")),
        _ => {}
    }
    let name = name.filter(|name| !name.is_empty());
    let asked = Asked {
        name: name.map(metadata::checked_name).transpose()?,
        kind: fields.string("type")?,
        policies: metadata::policies(&fields)?,
        metadata: fields.pairs("metadata")?,
        entities: fields.strings("member_entity_ids")?.map(sorted),
        groups: fields.strings("member_group_ids")?.map(sorted),
    };
    let env = &mut call.env;
    let (group, is_new) = in_rows(call.work, |rows| {
        let known = match (&id, &asked.name) {
            (Some(id), _) => {
                let group = rows.group(id)?;
                Some(group.ok_or_else(|| Error::invalid("invalid group ID"))?)
            }
            (None, Some(name)) => by_name(rows, name)?,
            (None, None) => None,
        };
        let kind = kind_of(known.as_ref(), asked.kind.as_deref())?;
        let mut group = match &known {
            Some(known) => known.clone(),
            None => {
                let name = match &asked.name {
                    Some(name) => name.clone(),
                    None => drawn_name(rows, env, GROUP_INDEXES, "group")?,
                };
                Group::new(env.uuid(), name, kind, env.now())
            }
        };
        apply(rows, &mut group, asked)?;
        group.changes += 1;
        group.updated = env.now();
        rows.replace_group(known.as_ref(), Some(&group))?;
        check_size(rows)?;
        Ok((group, known.is_none()))
    })?;
    if !is_new {
        return Ok(Answer::empty());
    }
    Ok(Answer::data(object(json!({"id": group.id, "name": group.name}))))
}

fn sorted(ids: Vec<String>) -> Vec<String> {
    let ids: BTreeSet<String> = ids.into_iter().collect();
    ids.into_iter().collect()
}

fn kind_of(known: Option<&Group>, asked: Option<&str>) -> Result<GroupKind, Error> {
    match (known, asked) {
        (Some(known), Some(asked)) if asked != known.kind.name() => {
            Err(Error::invalid("group type cannot be changed"))
        }
        (Some(known), _) => Ok(known.kind),
        (None, None | Some("")) => Ok(GroupKind::Internal),
        (None, Some(asked)) => {
            GroupKind::parse(asked).ok_or_else(|| Error::invalid(format!("invalid group type {asked:?}")))
        }
    }
}

/// Takes over what is asked for.
fn apply(rows: &mut Rows<'_>, group: &mut Group, asked: Asked) -> Result<(), Error> {
    if let Some(name) = asked.name {
        let owner = rows.id_of_name(GROUP_INDEXES, &name)?;
        if owner.is_some_and(|owner| owner != group.id) {
            return Err(Error::invalid("group name is already in use"));
        }
        group.name = name;
    }
    if let Some(pairs) = asked.metadata {
        metadata::check("group", &pairs)?;
        group.metadata = Some(pairs);
    }
    group.policies = asked.policies.or_else(|| group.policies.take());
    if let Some(entities) = asked.entities {
        check_members(
            group,
            &entities,
            "member entities can't be set manually for external groups",
        )?;
        let known = group.entities.take().unwrap_or_default();
        for id in entities.iter().filter(|id| known.binary_search(id).is_err()) {
            if rows.entity(id)?.is_none() {
                return Err(Error::invalid(format!("invalid entity ID {id:?}")));
            }
        }
        group.entities = Some(entities);
    }
    if let Some(groups) = asked.groups {
        check_members(group, &groups, "member groups can't be set for external groups")?;
        check_groups(rows, group, &groups)?;
        group.groups = groups;
    }
    Ok(())
}

fn check_members(group: &Group, members: &[String], external: &str) -> Result<(), Error> {
    if group.kind == GroupKind::External {
        return Err(Error::invalid(external));
    }
    if members.len() > MAX_MEMBERS {
        return Err(Error::TooLarge(format!("more than {MAX_MEMBERS} members")));
    }
    Ok(())
}

/// Whether these may be members: groups there are, none of which holds the group, at any depth.
fn check_groups(rows: &mut Rows<'_>, group: &Group, members: &[String]) -> Result<(), Error> {
    let above = membership::groups_of(&group.id, |member| rows.parents(member))?;
    let above: BTreeSet<&String> = above.all().collect();
    for id in members.iter().filter(|id| !group.groups.contains(id)) {
        if *id == group.id {
            return Err(Error::invalid(format!(
                "member group ID {id:?} is same as the ID of the group"
            )));
        }
        if rows.group(id)?.is_none() {
            return Err(Error::invalid(format!("invalid member group ID {id:?}")));
        }
        if above.contains(id) {
            return Err(Error::invalid(format!(
                "cyclic relationship detected for member group ID {id:?}"
            )));
        }
    }
    Ok(())
}

/// The group of this name.
pub fn by_name(rows: &mut Rows<'_>, name: &str) -> Result<Option<Group>, Error> {
    match rows.id_of_name(GROUP_INDEXES, name)? {
        Some(id) => rows.group(&id),
        None => Ok(None),
    }
}

/// The group that a path names.
fn named(params: &Params, rows: &mut Rows<'_>) -> Result<Option<Group>, Error> {
    match params.get("id") {
        "" => by_name(rows, params.get("name")),
        id => rows.group(id),
    }
}

/// Reads one group.
pub fn read(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let params = &call.params;
    let found = in_rows(call.work, |rows| named(params, rows))?;
    let group = found.ok_or(Error::NotFound { warnings: Vec::new() })?;
    Ok(Answer::data(describe(call, &group)?))
}

/// A group with the groups that hold it.
pub fn describe(call: &mut Call<'_, '_>, group: &Group) -> Result<Map<String, Value>, Error> {
    let parents = in_rows(call.work, |rows| rows.parents(&group.id))?;
    Ok(described::group(call.work.catalog, group, &parents))
}

/// Deletes one group; its members stay. What is not there is as deleted as was asked for.
pub fn delete(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let (params, now) = (&call.params, call.env.now());
    in_rows(call.work, |rows| {
        let Some(group) = named(params, rows)? else {
            return Ok(());
        };
        for parent in rows.parents(&group.id)? {
            let known = rows.group(&parent)?;
            let known = known.ok_or_else(|| Error::internal("a member's group is gone"))?;
            let mut parent = known.clone();
            parent.groups.retain(|member| *member != group.id);
            parent.changes += 1;
            parent.updated = now;
            rows.replace_group(Some(&known), Some(&parent))?;
        }
        rows.replace_group(Some(&group), None)?;
        check_deleted(rows)
    })?;
    Ok(Answer::empty())
}

/// A large group is emptied first.
fn check_deleted(rows: &Rows<'_>) -> Result<(), Error> {
    check_size(rows).map_err(|_| {
        Error::TooLarge(
            "the group has too many members to be deleted at once: take members out first".to_owned(),
        )
    })
}

/// Ids of all groups, and what is told of each.
pub fn list_ids(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    list_told(call, "group", |rows, catalog, id| {
        let Some(group) = rows.group(id)? else {
            return Ok(None);
        };
        let parents = rows.parents(id)?.len();
        Ok(Some(described::listed_group(catalog, &group, parents)))
    })
}

/// Names of all groups.
pub fn list_names(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let page = call.fields().page()?;
    let names = in_rows(call.work, |rows| rows.names(GROUP_INDEXES))?;
    listing(cut(names, &page))
}
