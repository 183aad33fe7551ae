//! `identity/entity-alias`: names of entities at mounts, written by hand.

use crate::error::Error;
use crate::identity::alias::named_mount;
use crate::identity::entities::{given, list_told};
use crate::identity::login::{drawn_name, is_same, new_alias};
use crate::identity::record::{Alias, Entity, MAX_ALIASES, Metadata};
use crate::identity::rows::{ENTITIES, Rows, in_rows};
use crate::identity::{described, metadata};
use crate::routes::{Answer, Call};
use crate::sys::object;

/// What a request says of an alias; `None`: nothing.
struct Asked {
    name: Option<String>,
    accessor: Option<String>,
    entity: Option<String>,
    custom: Option<Metadata>,
}

/// What a request came to: ids of the alias and its entity, or that nothing was to be done.
type Done = Option<(String, String)>;

/// Makes an alias, or changes one that is named by its id, or by mount and name.
pub fn write(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let id = given(call, "id")?.filter(|id| !id.is_empty());
    let fields = call.fields();
    let text = |name| Ok::<_, Error>(fields.string(name)?.filter(|text| !text.is_empty()));
    let asked = Asked {
        name: text("name")?.map(metadata::checked_name).transpose()?,
        accessor: text("mount_accessor")?,
        entity: text("canonical_id")?.or(text("entity_id")?),
        custom: fields.pairs("custom_metadata")?,
    };
    metadata::check_custom(asked.custom.as_ref().unwrap_or(&Metadata::new()))?;
    let done = match id {
        Some(id) => change_by_id(call, &id, asked)?,
        None => write_by_factors(call, asked)?,
    };
    Ok(match done {
        None => Answer::empty(),
        Some((alias, entity)) => {
            Answer::data(object(serde_json::json!({"id": alias, "canonical_id": entity})))
        }
    })
}

fn change_by_id(call: &mut Call<'_, '_>, id: &str, asked: Asked) -> Result<Done, Error> {
    let (entity, alias) = found(call, id)?.ok_or_else(|| Error::invalid("invalid alias ID provided"))?;
    let nothing = asked.name.is_none() && asked.accessor.is_none() && asked.entity.is_none();
    if nothing && asked.custom.is_none() {
        return Ok(None);
    }
    let custom = asked.custom.or_else(|| alias.custom.clone());
    change(call, &entity, &alias, Asked { custom, ..asked })
}

fn write_by_factors(call: &mut Call<'_, '_>, asked: Asked) -> Result<Done, Error> {
    let (Some(name), Some(accessor)) = (asked.name.clone(), asked.accessor.clone()) else {
        return Err(Error::invalid(
            "'id' or 'mount_accessor' and 'name' must be provided",
        ));
    };
    let mount = named_mount(call.work.catalog, &accessor)?;
    let known = in_rows(call.work, |rows| by_factors(rows, mount.id, &name))?;
    if let Some((entity, alias)) = known {
        return change(call, &entity, &alias, asked);
    }
    let env = &mut call.env;
    in_rows(call.work, |rows| {
        let known = match &asked.entity {
            Some(id) => {
                let entity = rows.entity(id)?;
                Some(entity.ok_or_else(|| Error::invalid("invalid canonical ID"))?)
            }
            None => None,
        };
        let mut entity = match &known {
            Some(known) => known.clone(),
            None => Entity::new(env.uuid(), drawn_name(rows, env, ENTITIES, "entity")?, env.now()),
        };
        if entity.aliases.iter().any(|alias| alias.mount == mount.id) {
            return Err(Error::invalid(
                "Alias already exists for requested entity and mount accessor",
            ));
        }
        let mut alias = new_alias(env, mount, name);
        alias.custom = asked.custom.filter(|custom| !custom.is_empty());
        let ids = (alias.id.clone(), entity.id.clone());
        entity.aliases.push(alias);
        check_count(&entity)?;
        rows.replace_entity(known.as_ref(), Some(&entity))?;
        Ok(Some(ids))
    })
}

fn check_count(entity: &Entity) -> Result<(), Error> {
    match entity.aliases.len() > MAX_ALIASES {
        true => Err(Error::invalid(format!("more than {MAX_ALIASES} aliases"))),
        false => Ok(()),
    }
}

/// Changes an alias, and moves it to another entity if one is named.
fn change(call: &mut Call<'_, '_>, owner: &Entity, alias: &Alias, asked: Asked) -> Result<Done, Error> {
    let name = asked.name.unwrap_or_else(|| alias.name.clone());
    let accessor = asked.accessor.unwrap_or_else(|| alias.accessor.clone());
    let custom = asked.custom.filter(|custom| !custom.is_empty());
    let moves = asked.entity.filter(|entity| *entity != owner.id);
    if name == alias.name && accessor == alias.accessor && moves.is_none() && custom == alias.custom {
        return Ok(None);
    }
    let mount = named_mount(call.work.catalog, &accessor)?;
    let now = call.env.now();
    let changed = Alias {
        name,
        accessor,
        mount: mount.id,
        custom,
        updated: now,
        ..alias.clone()
    };
    in_rows(call.work, |rows| {
        let at_mount = |entity: &Entity| {
            let mut aliases = entity.aliases.iter();
            aliases.any(|known| known.mount == changed.mount && known.id != changed.id)
        };
        if moves.is_none() && at_mount(owner) {
            return Err(Error::invalid(
                "Alias cannot be updated as the entity already has an alias for the given 'mount_accessor' ",
            ));
        }
        if by_factors(rows, changed.mount, &changed.name)?.is_some_and(|(_, known)| known.id != changed.id) {
            return Err(Error::invalid(
                "alias with combination of mount accessor and name already exists",
            ));
        }
        let mut left = owner.clone();
        let Some(moves) = moves else {
            for known in left.aliases.iter_mut().filter(|known| known.id == changed.id) {
                known.clone_from(&changed);
            }
            rows.replace_entity(Some(owner), Some(&left))?;
            return Ok(Some((changed.id, left.id)));
        };
        let known = rows.entity(&moves)?;
        let known =
            known.ok_or_else(|| Error::invalid("given 'canonical_id' is not associated with an entity"))?;
        if at_mount(&known) {
            return Err(Error::invalid(
                "Alias cannot be updated as the given entity already has an alias for this mount ",
            ));
        }
        left.aliases.retain(|known| known.id != changed.id);
        rows.replace_entity(Some(owner), Some(&left))?;
        let mut entity = known.clone();
        let id = changed.id.clone();
        entity.aliases.push(changed);
        check_count(&entity)?;
        rows.replace_entity(Some(&known), Some(&entity))?;
        Ok(Some((id, entity.id)))
    })
}

/// The alias `name` at a mount, with its entity.
pub fn by_factors(rows: &mut Rows<'_>, mount: u32, name: &str) -> Result<Option<(Entity, Alias)>, Error> {
    let owner = rows.id_of_factors(ENTITIES, mount, name)?;
    let Some(entity) = owned(rows, owner)? else {
        return Ok(None);
    };
    let is_it = |alias: &&Alias| alias.mount == mount && is_same(&alias.name, name);
    let alias = entity.aliases.iter().find(is_it).cloned();
    Ok(alias.map(|alias| (entity, alias)))
}

/// The alias `id`, with its entity.
pub fn by_id(rows: &mut Rows<'_>, id: &str) -> Result<Option<(Entity, Alias)>, Error> {
    let owner = rows.id_of_alias(ENTITIES, id)?;
    let Some(entity) = owned(rows, owner)? else {
        return Ok(None);
    };
    let alias = entity.aliases.iter().find(|alias| alias.id == id).cloned();
    Ok(alias.map(|alias| (entity, alias)))
}

fn owned(rows: &mut Rows<'_>, owner: Option<String>) -> Result<Option<Entity>, Error> {
    owner.map_or(Ok(None), |owner| rows.entity(&owner))
}

fn found(call: &mut Call<'_, '_>, id: &str) -> Result<Option<(Entity, Alias)>, Error> {
    in_rows(call.work, |rows| by_id(rows, id))
}

/// Reads one alias.
pub fn read(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let id = call.params.get("id").to_owned();
    let (entity, alias) = found(call, &id)?.ok_or(Error::NotFound { warnings: Vec::new() })?;
    let described = described::lone_alias(call.work.catalog, &alias, &entity.id);
    Ok(Answer::data(described))
}

/// Deletes an alias. Its entity stays, and so do tokens that logins by this name made.
pub fn delete(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let id = call.params.get("id").to_owned();
    in_rows(call.work, |rows| {
        let Some((known, alias)) = by_id(rows, &id)? else {
            return Ok(());
        };
        let mut entity = known.clone();
        entity.aliases.retain(|known| known.id != alias.id);
        rows.replace_entity(Some(&known), Some(&entity))
    })?;
    Ok(Answer::empty())
}

/// Ids of all aliases, and what is told of each.
pub fn list(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    list_told(call, "alias", |rows, catalog, id| {
        let found = by_id(rows, id)?;
        Ok(found.map(|(entity, alias)| described::listed_alias(catalog, &alias, &entity.id)))
    })
}
