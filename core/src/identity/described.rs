//! What is told of entities, aliases and groups. Members that nobody ever gave are null, as clients know it.

use serde_json::{Map, Value, json};

use crate::catalog::Catalog;
use crate::clocktext::rfc3339;
use crate::identity::alias::mount_of;
use crate::identity::membership::Groups;
use crate::identity::record::{Alias, Entity, Group};
use crate::sys::object;

/// Where an alias's mount is, while it is there.
fn put_mount(data: &mut Map<String, Value>, catalog: &Catalog, alias: &Alias) {
    if let Some((mount, path)) = mount_of(catalog, &alias.accessor) {
        data.insert("mount_path".to_owned(), json!(path));
        data.insert("mount_type".to_owned(), json!(mount.kind));
    }
}

/// An alias of an entity, or of a group.
pub fn alias(catalog: &Catalog, alias: &Alias, owner: &str) -> Map<String, Value> {
    let mut data = object(json!({
        "canonical_id": owner,
        "creation_time": rfc3339(alias.created),
        "custom_metadata": alias.custom,
        "id": alias.id,
        "last_update_time": rfc3339(alias.updated),
        "local": false,
        "merged_from_canonical_ids": some(&alias.merged_from),
        "metadata": alias.metadata,
        "mount_accessor": alias.accessor,
        "name": alias.name,
    }));
    put_mount(&mut data, catalog, alias);
    data
}

/// An alias that is asked for by itself.
pub fn lone_alias(catalog: &Catalog, known: &Alias, owner: &str) -> Map<String, Value> {
    let mut data = alias(catalog, known, owner);
    data.insert("namespace_id".to_owned(), json!(catalog.namespace().id()));
    data
}

/// What a list of aliases tells of one.
pub fn listed_alias(catalog: &Catalog, alias: &Alias, owner: &str) -> Map<String, Value> {
    let mut data = object(json!({
        "canonical_id": owner,
        "custom_metadata": alias.custom,
        "local": false,
        "metadata": alias.metadata,
        "mount_accessor": alias.accessor,
        "name": alias.name,
    }));
    put_mount(&mut data, catalog, alias);
    data
}

/// What a list tells of an alias of something.
fn brief_alias(catalog: &Catalog, alias: &Alias) -> Map<String, Value> {
    let mut data = object(json!({
        "id": alias.id,
        "mount_accessor": alias.accessor,
        "name": alias.name,
    }));
    put_mount(&mut data, catalog, alias);
    data
}

/// An entity and its groups.
pub fn entity(catalog: &Catalog, entity: &Entity, groups: &Groups) -> Map<String, Value> {
    let aliases = entity.aliases.iter();
    let aliases: Vec<_> = aliases.map(|known| alias(catalog, known, &entity.id)).collect();
    object(json!({
        "aliases": aliases,
        "creation_time": rfc3339(entity.created),
        "direct_group_ids": groups.direct,
        "disabled": entity.disabled,
        "group_ids": groups.all().collect::<Vec<_>>(),
        "id": entity.id,
        "inherited_group_ids": groups.inherited,
        "last_update_time": rfc3339(entity.updated),
        "merged_entity_ids": some(&entity.merged),
        "metadata": entity.metadata,
        "name": entity.name,
        "namespace_id": catalog.namespace().id(),
        "policies": entity.policies,
    }))
}

/// What a list tells of an entity.
pub fn listed_entity(catalog: &Catalog, entity: &Entity) -> Map<String, Value> {
    let mut data = object(json!({"name": entity.name}));
    if !entity.aliases.is_empty() {
        let aliases = entity.aliases.iter();
        let aliases: Vec<_> = aliases.map(|alias| brief_alias(catalog, alias)).collect();
        data.insert("aliases".to_owned(), json!(aliases));
    }
    data
}

/// A group and the groups that hold it.
pub fn group(catalog: &Catalog, group: &Group, parents: &[String]) -> Map<String, Value> {
    let alias = group.alias.as_ref().map(|known| {
        let mut data = alias(catalog, known, &group.id);
        for untold in ["custom_metadata", "local"] {
            data.remove(untold);
        }
        data
    });
    object(json!({
        "alias": alias.unwrap_or_default(),
        "creation_time": rfc3339(group.created),
        "id": group.id,
        "last_update_time": rfc3339(group.updated),
        "member_entity_ids": group.entities,
        "member_group_ids": some(&group.groups),
        "metadata": group.metadata,
        "modify_index": group.changes,
        "name": group.name,
        "namespace_id": catalog.namespace().id(),
        "parent_group_ids": some(parents),
        "policies": group.policies,
        "type": group.kind.name(),
    }))
}

/// What a list tells of a group.
pub fn listed_group(catalog: &Catalog, group: &Group, parents: usize) -> Map<String, Value> {
    let mut data = object(json!({
        "name": group.name,
        "num_member_entities": group.entities.as_ref().map_or(0, Vec::len),
        "num_parent_groups": parents,
    }));
    if let Some(alias) = &group.alias {
        data.insert("alias".to_owned(), json!(brief_alias(catalog, alias)));
    }
    data
}

/// An empty list is null.
fn some(list: &[String]) -> Option<&[String]> {
    Some(list).filter(|list| !list.is_empty())
}
