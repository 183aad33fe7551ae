//! What the entity of a token means for a request: whether it may ask at all, which policies it adds, and what templates of
//! policies stand for. Rests on two rows, however many groups there are: the entity's and the marker of all groups.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

use conclave_raft::Condition;

use crate::catalog::{Catalog, decode_record};
use crate::error::Error;
use crate::identity::membership;
use crate::identity::record::{Entity, Metadata};
use crate::identity::rows::{
    entity_row, expect_groups, group_row, groups_key, groups_revision, is_id, member_row, merged_row, space,
};
use crate::policy::Values;
use crate::store::{Draft, Opened, Space, SpaceReader};

/// What counts of a group for its members.
#[derive(Deserialize)]
pub struct Shared {
    id: String,
    name: String,
    metadata: Option<Metadata>,
    policies: Option<Vec<String>>,
}

/// An entity with its groups.
pub struct Subject {
    entity: Entity,
    groups: Vec<Shared>,
}

/// The rows a subject rests on, as they were.
pub struct Standing {
    space: Space,
    entity: String,
    entity_key: Bytes,
    entity_revision: u64,
    groups_key: Bytes,
    groups_revision: u64,
}

impl Standing {
    /// The id of the entity: that into which it was merged, if it was.
    pub fn entity(&self) -> &str {
        &self.entity
    }

    /// Whether the rows are still the same.
    pub fn holds(&self, opened: &Opened) -> Result<bool, Error> {
        let revision = |key| Ok::<_, Error>(opened.view().rows().get(key)?.map_or(0, |row| row.revision));
        Ok(revision(&self.entity_key)? == self.entity_revision
            && revision(&self.groups_key)? == self.groups_revision)
    }

    /// Has a commit fail once they have changed.
    pub fn expect_in(&self, draft: &mut Draft<'_>) -> Result<(), Error> {
        let entity = Condition::Revision(self.entity_revision);
        draft.expect(self.space, &entity_row(&self.entity), entity)?;
        expect_groups(draft, self.space, self.groups_revision)
    }
}

impl Subject {
    /// The subject of a token of the entity `id`. Nobody may ask for an entity that is gone or disabled.
    pub fn load(opened: &Opened, catalog: &Catalog, id: &str) -> Result<(Self, Standing), Error> {
        let space = space(catalog)?;
        let reader = opened.space(space);
        let (entity, revision) = entity_of(&reader, id)?.ok_or_else(Error::unauthenticated)?;
        if entity.disabled {
            return Err(Error::unauthenticated());
        }
        let standing = Standing {
            space,
            entity_key: opened.key(space, &entity_row(&entity.id))?,
            entity_revision: revision,
            groups_key: groups_key(opened, space)?,
            groups_revision: groups_revision(&reader)?,
            entity: entity.id.clone(),
        };
        let groups = membership::groups_of(&entity.id, |member| parents(&reader, member))?;
        let groups = load_groups(&reader, groups.all())?;
        Ok((Self { entity, groups }, standing))
    }

    /// Policies of the entity and of its groups.
    pub fn policies(&self) -> Vec<String> {
        united(&self.entity, &self.groups)
    }
}

/// Policies that the entity `id` and its groups add; none if it is gone.
pub fn policies_of(opened: &Opened, catalog: &Catalog, id: &str) -> Result<Vec<String>, Error> {
    if id.is_empty() {
        return Ok(Vec::new());
    }
    let reader = opened.space(space(catalog)?);
    let Some((entity, _)) = entity_of(&reader, id)? else {
        return Ok(Vec::new());
    };
    let groups = membership::groups_of(&entity.id, |member| parents(&reader, member))?;
    Ok(united(&entity, &load_groups(&reader, groups.all())?))
}

/// The entity `id`, or the one it was merged into, and its row's revision.
fn entity_of(reader: &SpaceReader<'_>, id: &str) -> Result<Option<(Entity, u64)>, Error> {
    if !is_id(id) {
        return Ok(None);
    }
    let row = match reader.row(&entity_row(id))? {
        Some(row) => Some(row),
        None => match reader.row(&merged_row(id))? {
            Some(into) => reader.row(&entity_row(&decode_record::<String>(&into.value)?))?,
            None => None,
        },
    };
    row.map(|row| Ok((decode_record(&row.value)?, row.revision)))
        .transpose()
}

/// Ids of the groups that hold a member directly.
pub fn parents(reader: &SpaceReader<'_>, member: &str) -> Result<Vec<String>, Error> {
    let row = reader.row(&member_row(member))?;
    row.map_or_else(|| Ok(Vec::new()), |row| decode_record(&row.value))
}

/// What counts of groups.
pub fn load_groups<'a>(
    reader: &SpaceReader<'_>,
    ids: impl Iterator<Item = &'a String>,
) -> Result<Vec<Shared>, Error> {
    let mut groups = Vec::new();
    for id in ids {
        let row = reader.row(&group_row(id))?;
        let row = row.ok_or_else(|| Error::internal("a member's group is gone"))?;
        groups.push(decode_record(&row.value)?);
    }
    Ok(groups)
}

/// The policies of an entity, then those of its groups, each once.
pub fn united(entity: &Entity, groups: &[Shared]) -> Vec<String> {
    let mut policies = entity.policies.clone();
    for policy in groups.iter().flat_map(|group| group.policies.iter().flatten()) {
        if !policies.contains(policy) {
            policies.push(policy.clone());
        }
    }
    policies
}

impl Values for Subject {
    fn value(&self, directive: &str) -> Option<&str> {
        if let Some(rest) = directive.strip_prefix("identity.entity.") {
            return self.of_entity(rest);
        }
        let (by, rest) = directive.strip_prefix("identity.groups.")?.split_once('.')?;
        let is_it = |group: &&Shared, wanted: &str| match by {
            "ids" => group.id == wanted,
            "names" => group.name == wanted,
            _ => false,
        };
        // Names of groups may hold dots.
        self.groups.iter().find_map(|group| {
            let rest = [group.id.as_str(), group.name.as_str()]
                .into_iter()
                .filter(|wanted| is_it(&group, wanted))
                .find_map(|wanted| rest.strip_prefix(wanted)?.strip_prefix('.'))?;
            match rest {
                "id" => Some(group.id.as_str()),
                "name" => Some(group.name.as_str()),
                rest => found(group.metadata.as_ref(), rest.strip_prefix("metadata.")?),
            }
        })
    }
}

impl Subject {
    fn of_entity(&self, rest: &str) -> Option<&str> {
        match rest {
            "id" => return Some(&self.entity.id),
            "name" => return Some(&self.entity.name),
            _ => {}
        }
        if let Some(key) = rest.strip_prefix("metadata.") {
            return found(self.entity.metadata.as_ref(), key);
        }
        let (accessor, rest) = rest.strip_prefix("aliases.")?.split_once('.')?;
        let alias = self
            .entity
            .aliases
            .iter()
            .find(|alias| alias.accessor == accessor)?;
        match rest {
            "id" => return Some(&alias.id),
            "name" => return Some(&alias.name),
            _ => {}
        }
        if let Some(key) = rest.strip_prefix("metadata.") {
            return found(alias.metadata.as_ref(), key);
        }
        found(alias.custom.as_ref(), rest.strip_prefix("custom_metadata.")?)
    }
}

fn found<'a>(pairs: Option<&'a BTreeMap<String, String>>, key: &str) -> Option<&'a str> {
    pairs?.get(key).map(String::as_str)
}
