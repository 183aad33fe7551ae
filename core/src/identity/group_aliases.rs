//! `identity/group-alias`: names of external groups at mounts.

use crate::error::Error;
use crate::identity::alias::named_mount;
use crate::identity::described;
use crate::identity::entities::{given, list_told};
use crate::identity::login::{drawn_name, new_alias};
use crate::identity::metadata;
use crate::identity::record::{Alias, Group, GroupKind};
use crate::identity::rows::{GROUP_INDEXES, Rows, in_rows};
use crate::routes::{Answer, Call};
use crate::sys::object;

/// Makes an alias of a group, and the group if none is named; or changes one that is named by its id.
pub fn write(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let id = given(call, "id")?;
    if id.as_deref() == Some("") {
        return Err(Error::invalid("empty group alias ID"));
    }
    let known = match &id {
        Some(id) => {
            let found = in_rows(call.work, |rows| by_id(rows, id))?;
            Some(found.ok_or_else(|| Error::invalid("invalid group alias ID"))?)
        }
        None => None,
    };
    let fields = call.fields();
    let text = |name| Ok::<_, Error>(fields.string(name)?.filter(|text| !text.is_empty()));
    let name = text("name")?.ok_or_else(|| Error::invalid("missing alias name"))?;
    let name = metadata::checked_name(name)?;
    let accessor = text("mount_accessor")?.ok_or_else(|| Error::invalid("missing mount_accessor"))?;
    let owner = text("canonical_id")?;
    if let Some((group, alias)) = &known
        && alias.name == name
        && alias.accessor == accessor
        && owner.as_ref().is_none_or(|owner| *owner == group.id)
    {
        return Ok(Answer::empty());
    }
    let new_owner = in_rows(call.work, |rows| match &owner {
        Some(id) => external(rows, id).map(Some),
        None => Ok(None),
    })?;
    let mount = named_mount(call.work.catalog, &accessor)?;
    let mut alias = match &known {
        Some((_, alias)) => alias.clone(),
        None => new_alias(&mut call.env, mount, name.clone()),
    };
    (alias.name, alias.accessor, alias.mount) = (name, accessor, mount.id);
    alias.updated = call.env.now();
    let before = known.map(|(group, _)| group);
    let ids = place(call, alias, before, new_owner)?;
    Ok(Answer::data(object(
        serde_json::json!({"id": ids.0, "canonical_id": ids.1}),
    )))
}

/// Gives an alias to `owner`, or leaves it where it was, or makes a group for it. Ids of alias and group.
fn place(
    call: &mut Call<'_, '_>,
    alias: Alias,
    before: Option<Group>,
    owner: Option<Group>,
) -> Result<(String, String), Error> {
    let env = &mut call.env;
    in_rows(call.work, |rows| {
        let taken = rows.id_of_factors(GROUP_INDEXES, alias.mount, &alias.name)?;
        let taken = taken.map_or(Ok(None), |group| rows.group(&group))?;
        if taken.is_some_and(|group| group.alias.is_none_or(|known| known.id != alias.id)) {
            return Err(Error::invalid(
                "combination of mount and group alias name is already in use",
            ));
        }
        let moves = owner
            .as_ref()
            .zip(before.as_ref())
            .is_some_and(|(new, old)| new.id != old.id);
        if let Some(left) = before.as_ref().filter(|_| moves) {
            let mut without = left.clone();
            without.alias = None;
            without.changes += 1;
            rows.replace_group(Some(left), Some(&without))?;
        }
        let known = owner.or(before);
        let mut group = match &known {
            Some(known) => known.clone(),
            None => {
                let name = drawn_name(rows, env, GROUP_INDEXES, "group")?;
                Group::new(env.uuid(), name, GroupKind::External, env.now())
            }
        };
        let ids = (alias.id.clone(), group.id.clone());
        group.alias = Some(alias);
        group.changes += 1;
        group.updated = env.now();
        rows.replace_group(known.as_ref(), Some(&group))?;
        Ok(ids)
    })
}

/// The external group `id`.
fn external(rows: &mut Rows<'_>, id: &str) -> Result<Group, Error> {
    let group = rows.group(id)?;
    let group = group.ok_or_else(|| Error::invalid("invalid group ID given in 'canonical_id'"))?;
    if group.kind != GroupKind::External {
        return Err(Error::invalid("alias can't be set on an internal group"));
    }
    Ok(group)
}

/// The alias `id`, with its group.
pub fn by_id(rows: &mut Rows<'_>, id: &str) -> Result<Option<(Group, Alias)>, Error> {
    let Some(owner) = rows.id_of_alias(GROUP_INDEXES, id)? else {
        return Ok(None);
    };
    let group = rows.group(&owner)?;
    Ok(group.and_then(|group| group.alias.clone().map(|alias| (group, alias))))
}

/// Reads one alias.
pub fn read(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let id = call.params.get("id").to_owned();
    let found = in_rows(call.work, |rows| by_id(rows, &id))?;
    let (group, alias) = found.ok_or(Error::NotFound { warnings: Vec::new() })?;
    let described = described::lone_alias(call.work.catalog, &alias, &group.id);
    Ok(Answer::data(described))
}

/// Deletes an alias; its group stays.
pub fn delete(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let (id, now) = (call.params.get("id").to_owned(), call.env.now());
    in_rows(call.work, |rows| {
        let Some((known, _)) = by_id(rows, &id)? else {
            return Ok(());
        };
        let mut group = known.clone();
        group.alias = None;
        group.changes += 1;
        group.updated = now;
        rows.replace_group(Some(&known), Some(&group))
    })?;
    Ok(Answer::empty())
}

/// Ids of all aliases of groups, and what is told of each.
pub fn list(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    list_told(call, "group-alias", |rows, catalog, id| {
        let found = by_id(rows, id)?;
        Ok(found.map(|(group, alias)| described::listed_alias(catalog, &alias, &group.id)))
    })
}
