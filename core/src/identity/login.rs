//! Who logs in: the entity that a name at a mount belongs to, found or made in the command that makes the token.

use conclave_engine_api::Env;

use crate::catalog::MountRecord;
use crate::error::Error;
use crate::identity::membership;
use crate::identity::metadata;
use crate::identity::mfa::Who;
use crate::identity::record::{Alias, Entity, Metadata};
use crate::identity::rows::{ENTITIES, Indexes, Rows, expect_groups, groups_revision, in_rows, space};
use crate::identity::subject;
use crate::work::Work;

/// How often a name is drawn before it is given up; one of 2^32 is hardly taken.
const DRAWS: usize = 8;

/// Who logged in.
pub struct Known {
    /// The entity's id.
    pub entity: String,
    /// Policies of the entity and of its groups.
    pub policies: Vec<String>,
    /// Ids of all its groups.
    pub groups: Vec<String>,
    /// Ids of methods of second factors that it has a secret for.
    pub factors: Vec<String>,
}

impl Known {
    /// What demands of second factors are about.
    pub fn who(&self) -> Who<'_> {
        Who {
            entity: &self.entity,
            groups: &self.groups,
            factors: &self.factors,
        }
    }
}

/// Finds the entity of `name` at `mount`, or makes it, and keeps what the login says of it. A disabled one is not let in.
pub fn sign_in(
    work: &mut Work<'_>,
    env: &mut Env<'_>,
    mount: &MountRecord,
    name: &str,
    told: &Metadata,
) -> Result<Known, Error> {
    let told = Some(metadata::kept(told)).filter(|told| !told.is_empty());
    let entity = in_rows(work, |rows| {
        let Some(known) = rows.id_of_factors(ENTITIES, mount.id, name)? else {
            return make(rows, env, mount, name, told);
        };
        let known = rows.entity(&known)?;
        let known = known.ok_or_else(|| Error::internal("an alias belongs to no entity"))?;
        if known.disabled {
            return Err(Error::unauthenticated());
        }
        let mut entity = known.clone();
        let same = |alias: &&mut Alias| alias.mount == mount.id && is_same(&alias.name, name);
        if let Some(alias) = entity.aliases.iter_mut().find(same)
            && alias.metadata != told
        {
            alias.metadata = told;
            alias.updated = env.now();
            rows.replace_entity(Some(&known), Some(&entity))?;
        }
        Ok(entity)
    })?;
    known_as(work, entity)
}

/// The entity `id` as it is now, which logged in a while ago. One that is gone or disabled is not let in.
///
/// # Errors
/// A refusal, or the store's own.
pub fn still_known(work: &mut Work<'_>, id: &str) -> Result<Known, Error> {
    let entity = in_rows(work, |rows| rows.entity(id))?;
    let entity = entity.filter(|entity| !entity.disabled);
    known_as(work, entity.ok_or_else(Error::unauthenticated)?)
}

/// What counts of an entity; the commit expects that its groups are the same by then.
fn known_as(work: &mut Work<'_>, entity: Entity) -> Result<Known, Error> {
    let space = space(work.catalog)?;
    let reader = work.opened().space(space);
    expect_groups(&mut work.draft, space, groups_revision(&reader)?)?;
    let groups = membership::groups_of(&entity.id, |member| subject::parents(&reader, member))?;
    let loaded = subject::load_groups(&reader, groups.all())?;
    Ok(Known {
        policies: subject::united(&entity, &loaded),
        groups: groups.all().cloned().collect(),
        factors: entity.factors,
        entity: entity.id,
    })
}

fn make(
    rows: &mut Rows<'_>,
    env: &mut Env<'_>,
    mount: &MountRecord,
    name: &str,
    told: Option<Metadata>,
) -> Result<Entity, Error> {
    let mut entity = Entity::new(env.uuid(), drawn_name(rows, env, ENTITIES, "entity")?, env.now());
    let mut alias = new_alias(env, mount, metadata::checked_name(name.to_owned())?);
    alias.metadata = told;
    entity.aliases.push(alias);
    rows.replace_entity(None, Some(&entity))?;
    Ok(entity)
}

/// An alias that nobody has given anything.
pub fn new_alias(env: &mut Env<'_>, mount: &MountRecord, name: String) -> Alias {
    Alias {
        id: env.uuid(),
        name,
        mount: mount.id,
        accessor: mount.accessor.clone(),
        metadata: None,
        custom: None,
        merged_from: Vec::new(),
        created: env.now(),
        updated: env.now(),
    }
}

/// A name for what nobody named.
pub fn drawn_name(
    rows: &mut Rows<'_>,
    env: &mut Env<'_>,
    indexes: Indexes,
    what: &str,
) -> Result<String, Error> {
    for _ in 0..DRAWS {
        let name = format!("{what}_{}.{}", env.hex(4), rows.namespace_id());
        if rows.id_of_name(indexes, &name)?.is_none() {
            return Ok(name);
        }
    }
    Err(Error::internal("no free name was drawn"))
}

/// Whether two spellings are one name.
pub fn is_same(a: &str, b: &str) -> bool {
    a == b || a.to_lowercase() == b.to_lowercase()
}
