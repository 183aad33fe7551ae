//! `identity/entity/merge`: several entities become one. Their tokens live on as the one's, their aliases and memberships go
//! over; their policies and metadata do not. Where two have an alias at one mount, the request says which is kept.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::identity::entities::{check_size, remove};
use crate::identity::record::{Entity, MAX_ALIASES, MAX_MERGED};
use crate::identity::rows::{Rows, in_rows};
use crate::routes::{Answer, Call};

/// Most entities that one request merges.
const MAX_FROM: usize = 100;

/// What is asked for.
pub struct Merge {
    /// Into this entity ...
    pub into: String,
    /// ... these.
    pub from: BTreeSet<String>,
    /// Aliases that are kept where two are at one mount.
    pub keep: BTreeSet<String>,
}

/// Merges entities into one.
pub fn write(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let fields = call.fields();
    let into = fields.string("to_entity_id")?.unwrap_or_default();
    if into.is_empty() {
        return Err(Error::invalid("missing entity id to merge to"));
    }
    let ids =
        |name| Ok::<BTreeSet<_>, Error>(fields.strings(name)?.unwrap_or_default().into_iter().collect());
    let (from, keep) = (ids("from_entity_ids")?, ids("conflicting_alias_ids_to_keep")?);
    fields.bool("force")?;
    if from.is_empty() {
        return Err(Error::invalid("missing entity ids to merge from"));
    }
    if from.len() > MAX_FROM {
        return Err(Error::TooLarge(format!("more than {MAX_FROM} entities at once")));
    }
    let now = call.env.now();
    in_rows(call.work, |rows| merge(rows, &Merge { into, from, keep }, now))?;
    Ok(Answer::empty())
}

/// Merges. On an error nothing is to be kept of what `rows` holds.
pub fn merge(rows: &mut Rows<'_>, asked: &Merge, now: u64) -> Result<(), Error> {
    let known = rows.entity(&asked.into)?;
    let known = known.ok_or_else(|| Error::invalid("entity id to merge to is invalid"))?;
    if asked.from.len() > 1 && asked.keep.len() > 1 {
        return Err(Error::invalid(
            "aliases conflicts cannot be resolved with multiple from entity ids - merge one entity at a time",
        ));
    }
    let mut from = Vec::with_capacity(asked.from.len());
    for id in &asked.from {
        if *id == known.id {
            return Err(Error::invalid(
                "to_entity_id should not be present in from_entity_ids",
            ));
        }
        let entity = rows.entity(id)?;
        from.push(entity.ok_or_else(|| Error::invalid("entity id to merge from is invalid"))?);
    }
    if asked.keep.is_empty() {
        check_clashes(&known, &from)?;
    }
    let mut entity = known.clone();
    let mut groups = BTreeSet::new();
    for other in from {
        groups.extend(rows.parents(&other.id)?);
        remove(rows, &other, now)?;
        take_over(&mut entity, other, &asked.keep)?;
        check_size(rows)?;
    }
    if entity.aliases.len() > MAX_ALIASES || entity.merged.len() > MAX_MERGED {
        return Err(Error::TooLarge(
            "the entity would have too many aliases or merged entities".to_owned(),
        ));
    }
    entity.updated = now;
    rows.replace_entity(Some(&known), Some(&entity))?;
    for group in groups {
        join(rows, &group, &entity.id, now)?;
    }
    check_size(rows)
}

/// What is another's becomes the entity's.
fn take_over(entity: &mut Entity, other: Entity, keep: &BTreeSet<String>) -> Result<(), Error> {
    for mut alias in other.aliases {
        let at = entity.aliases.iter().position(|known| known.mount == alias.mount);
        if let Some(at) = at {
            let known = entity.aliases.get(at).map(|known| known.id.clone());
            let known = known.unwrap_or_default();
            if keep.contains(&known) {
                continue;
            }
            if !keep.contains(&alias.id) {
                return Err(Error::invalid(format!(
                    "conflicting mount accessors in following alias IDs and neither were present in \
                     conflicting_alias_ids_to_keep: {}, {known}",
                    alias.id
                )));
            }
            entity.aliases.remove(at);
        }
        alias.merged_from.push(other.id.clone());
        entity.aliases.push(alias);
    }
    entity.merged.extend(other.merged);
    entity.merged.push(other.id);
    Ok(())
}

/// Puts an entity into a group that held one of its parts.
fn join(rows: &mut Rows<'_>, group: &str, entity: &str, now: u64) -> Result<(), Error> {
    let known = rows.group(group)?;
    let known = known.ok_or_else(|| Error::internal("a member's group is gone"))?;
    let mut group = known.clone();
    let members = group.entities.get_or_insert_default();
    if let Err(at) = members.binary_search_by(|member| member.as_str().cmp(entity)) {
        members.insert(at, entity.to_owned());
        group.changes += 1;
        group.updated = now;
        rows.replace_group(Some(&known), Some(&group))?;
    }
    Ok(())
}

/// Whether all aliases can go over: no two at one mount.
fn check_clashes(entity: &Entity, from: &[Entity]) -> Result<(), Error> {
    let mut clashes = Vec::new();
    let mut owners: Vec<(u32, &str)> = Vec::new();
    for other in from {
        for alias in &other.aliases {
            if owners
                .iter()
                .any(|(mount, owner)| *mount == alias.mount && *owner != other.id)
            {
                return Err(Error::invalid(format!(
                    "mount accessor {} found in multiple fromEntities, merge should be done with one fromEntity at \
                     a time",
                    alias.accessor
                )));
            }
            owners.push((alias.mount, &other.id));
            let known = entity.aliases.iter().find(|known| known.mount == alias.mount);
            clashes.extend(known.map(|known| {
                format!(
                    "\t* mountAccessor: {}, toEntity ID: {}, fromEntity ID: {}, conflicting toEntity alias ID: {}, \
                     conflicting fromEntity alias ID: {}\n",
                    alias.accessor, entity.id, other.id, known.id, alias.id
                )
            }));
        }
    }
    if clashes.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{} errors occurred:\n\t* toEntity and at least one fromEntity have aliases with the same mount accessor, \
         repeat the merge request specifying exactly one fromEntity, clashes: \n{}\n",
        clashes.len() + 1,
        clashes.concat()
    )))
}
