//! `identity/lookup`: an entity or a group by whatever is known of it.

use crate::error::Error;
use crate::identity::alias::mount_of;
use crate::identity::entities;
use crate::identity::rows::{ENTITIES, GROUP_INDEXES, in_rows};
use crate::identity::{aliases, group_aliases, groups};
use crate::routes::{Answer, Call};

/// What is known.
enum By {
    Id(String),
    Name(String),
    Alias(String),
    Factors { name: String, accessor: String },
}

fn by(call: &Call<'_, '_>) -> Result<By, Error> {
    let fields = call.fields();
    let mut given = Vec::new();
    for name in ["id", "name", "alias_id", "alias_name", "alias_mount_accessor"] {
        given.extend(fields.string(name)?.map(|text| (name, text)));
    }
    match given.as_slice() {
        [] => Err(Error::invalid("query parameter not supplied")),
        [("alias_name" | "alias_mount_accessor", _)] => Err(Error::invalid(
            "both 'alias_name' and 'alias_mount_accessor' needs to be set",
        )),
        [("id", id)] => Ok(By::Id(id.clone())),
        [("name", name)] => Ok(By::Name(name.clone())),
        [(_, alias)] => Ok(By::Alias(alias.clone())),
        [("alias_name", name), (_, accessor)] if !name.is_empty() && !accessor.is_empty() => {
            Ok(By::Factors {
                name: name.clone(),
                accessor: accessor.clone(),
            })
        }
        _ => Err(Error::invalid(
            "query parameter conflict; please supply distinct set of query parameters",
        )),
    }
}

/// Looks an entity up.
pub fn entity(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let by = by(call)?;
    let catalog = call.work.catalog;
    let found = in_rows(call.work, |rows| match &by {
        By::Id(id) => rows.entity(id),
        By::Name(name) => entities::by_name(rows, name),
        By::Alias(id) => Ok(aliases::by_id(rows, id)?.map(|(entity, _)| entity)),
        By::Factors { name, accessor } => {
            let mount = mount_of(catalog, accessor);
            let id = mount.map_or(Ok(None), |(mount, _)| {
                rows.id_of_factors(ENTITIES, mount.id, name)
            })?;
            id.map_or(Ok(None), |id| rows.entity(&id))
        }
    })?;
    match found {
        Some(entity) => Ok(Answer::data(entities::describe(call, &entity)?)),
        None => Ok(Answer::empty()),
    }
}

/// Looks a group up.
pub fn group(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let by = by(call)?;
    let catalog = call.work.catalog;
    let found = in_rows(call.work, |rows| match &by {
        By::Id(id) => rows.group(id),
        By::Name(name) => groups::by_name(rows, name),
        By::Alias(id) => Ok(group_aliases::by_id(rows, id)?.map(|(group, _)| group)),
        By::Factors { name, accessor } => {
            let mount = mount_of(catalog, accessor);
            let id = mount.map_or(Ok(None), |(mount, _)| {
                rows.id_of_factors(GROUP_INDEXES, mount.id, name)
            })?;
            id.map_or(Ok(None), |id| rows.group(&id))
        }
    })?;
    match found {
        Some(group) => Ok(Answer::data(groups::describe(call, &group)?)),
        None => Ok(Answer::empty()),
    }
}
