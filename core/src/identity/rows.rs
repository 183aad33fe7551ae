//! The rows of entities and groups and the indexes that lead to them. Indexes are kept here alone: whoever changes a record
//! hands over what it was and what it shall be.

use serde::{Serialize, de::DeserializeOwned};

use conclave_barrier::Barrier;
use conclave_engine_api::{Page, Txn};
use conclave_raft::Condition;

use crate::catalog::{Catalog, Category, decode_record, encode_record};
use crate::error::Error;
use crate::identity::mfa::Secret;
use crate::identity::record::{Alias, Entity, Group};
use crate::store::{Draft, Opened, Space, SpaceReader};
use crate::work::Work;

/// Where entities lie, by their ids.
pub const ENTITY_ROWS: &str = "entity/";
/// The marker that moves with every change to any group.
const GROUPS: &str = "groups";
/// Where secrets of second factors lie, by method and entity.
const SECRETS: &str = "totp/";
/// Most groups that hold one member directly.
const MAX_PARENTS: usize = 1000;
/// Longest id that is looked for, in bytes: those given out are UUIDs.
const MAX_ID_BYTES: usize = 64;

/// Where they lie: among the rows of the identity mount.
pub fn space(catalog: &Catalog) -> Result<Space, Error> {
    let mount = catalog.mounts(Category::Secret).get("identity/");
    let mount = mount.ok_or_else(|| Error::internal("the mount of identities is missing"))?;
    Ok(mount.space())
}

/// How many entities the namespace of a catalog has.
pub fn count_entities(opened: &Opened, catalog: &Catalog) -> Result<usize, Error> {
    let entities = opened.space(space(catalog)?);
    Ok(entities.names(ENTITY_ROWS, &Page::default())?.len())
}

/// Revision of the marker that moves with every change to any group.
pub fn groups_revision(reader: &SpaceReader<'_>) -> Result<u64, Error> {
    reader.revision(GROUPS)
}

/// The marker's sealed key.
pub fn groups_key(opened: &Opened, space: Space) -> Result<bytes::Bytes, Error> {
    opened.key(space, GROUPS)
}

/// Has a commit fail once a group has changed since `revision`.
pub fn expect_groups(draft: &mut Draft<'_>, space: Space, revision: u64) -> Result<(), Error> {
    let condition = match revision {
        0 => Condition::Absent,
        revision => Condition::Revision(revision),
    };
    draft.expect(space, GROUPS, condition)
}

/// Row of an entity.
pub fn entity_row(id: &str) -> String {
    format!("{ENTITY_ROWS}{id}")
}

/// Row of the groups that hold a member.
pub fn member_row(id: &str) -> String {
    format!("member/{id}")
}

/// Row of a group.
pub fn group_row(id: &str) -> String {
    format!("group/{id}")
}

/// Row that says into which entity another was merged.
pub fn merged_row(id: &str) -> String {
    format!("merged/{id}")
}

/// Row of the secret of a second factor.
fn secret_row(method: &str, entity: &str) -> String {
    format!("{SECRETS}{method}/{entity}")
}

/// Whether it could be an id: what could not is nobody's.
pub fn is_id(id: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '-';
    !id.is_empty() && id.len() <= MAX_ID_BYTES && id.chars().all(letter)
}

/// A name as one segment of a path: names are chosen by people, may hold anything, and are the same in any case.
pub fn hashed(barrier: &Barrier, name: &str) -> String {
    let mut text = b"identity name\0".to_vec();
    text.extend_from_slice(name.to_lowercase().as_bytes());
    hex::encode(barrier.lease_hmac(&text))
}

/// A name in an index: what it stands for, and how it is spelled.
#[derive(Serialize, serde::Deserialize)]
struct Named {
    id: String,
    name: String,
}

/// What an index knows a kind of record by.
#[derive(Clone, Copy)]
pub struct Indexes {
    names: &'static str,
    aliases: &'static str,
    factors: &'static str,
}

/// Of entities.
pub const ENTITIES: Indexes = Indexes {
    names: "entity-name",
    aliases: "alias",
    factors: "factor",
};
/// Of groups.
pub const GROUP_INDEXES: Indexes = Indexes {
    names: "group-name",
    aliases: "group-alias",
    factors: "group-factor",
};

/// The rows in one transaction.
pub struct Rows<'r> {
    txn: Txn<'r>,
    barrier: &'r Barrier,
    catalog: &'r Catalog,
    groups_moved: bool,
}

/// Runs `then` on the rows and takes over what it changed.
pub fn in_rows<T>(
    work: &mut Work<'_>,
    then: impl FnOnce(&mut Rows<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let catalog = work.catalog;
    in_rows_of(work, catalog, then)
}

/// The same for the namespace of `catalog`, whichever is worked in.
pub fn in_rows_of<T>(
    work: &mut Work<'_>,
    catalog: &Catalog,
    then: impl FnOnce(&mut Rows<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let (opened, space) = (work.opened(), space(catalog)?);
    let reader = opened.space(space);
    let mut rows = Rows {
        txn: Txn::new(&reader),
        barrier: opened.barrier(),
        catalog,
        groups_moved: false,
    };
    let done = then(&mut rows)?;
    let Rows {
        txn, groups_moved, ..
    } = rows;
    if groups_moved {
        expect_groups(&mut work.draft, space, groups_revision(&reader)?)?;
        work.draft.touch(space, GROUPS)?;
    }
    work.draft.include(space, txn.into_changes())?;
    Ok(done)
}

impl Rows<'_> {
    fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<Option<T>, Error> {
        let row = self.txn.get(path)?;
        row.map(|row| decode_record(&row.value)).transpose()
    }

    fn put<T: Serialize>(&mut self, path: &str, record: &T) -> Result<(), Error> {
        Ok(self.txn.put(path, encode_record(record)?)?)
    }

    /// The id of the namespace they are of.
    pub fn namespace_id(&self) -> String {
        self.catalog.namespace().id()
    }

    /// How many rows it would write or delete so far.
    pub fn writes(&self) -> usize {
        self.txn.writes()
    }

    /// Ids in the index directory `dir`; for answers.
    pub fn ids(&mut self, dir: &str, page: &Page) -> Result<Vec<String>, Error> {
        Ok(self.txn.list(&format!("{dir}/"), page)?)
    }

    /// Names in an index, sorted; for answers.
    pub fn names(&mut self, indexes: Indexes) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        for hash in self.ids(indexes.names, &Page::default())? {
            let named: Option<Named> = self.get(&format!("{}/{hash}", indexes.names))?;
            names.extend(named.map(|named| named.name));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Ids of at most `limit` records with an alias at a mount.
    pub fn at_mount(&mut self, indexes: Indexes, mount: u32, limit: usize) -> Result<Vec<String>, Error> {
        let page = Page {
            after: String::new(),
            limit: Some(limit),
        };
        let dir = format!("{}/{mount}", indexes.factors);
        let mut ids = Vec::new();
        for name in self.ids(&dir, &page)? {
            ids.extend(self.get::<String>(&format!("{dir}/{name}"))?);
        }
        Ok(ids)
    }

    /// Whose name this is.
    pub fn id_of_name(&mut self, indexes: Indexes, name: &str) -> Result<Option<String>, Error> {
        let path = format!("{}/{}", indexes.names, hashed(self.barrier, name));
        Ok(self.get::<Named>(&path)?.map(|named| named.id))
    }

    /// Whose alias this is, by its id.
    pub fn id_of_alias(&mut self, indexes: Indexes, alias: &str) -> Result<Option<String>, Error> {
        if !is_id(alias) {
            return Ok(None);
        }
        self.get(&format!("{}/{alias}", indexes.aliases))
    }

    /// Whose name at a mount this is.
    pub fn id_of_factors(
        &mut self,
        indexes: Indexes,
        mount: u32,
        name: &str,
    ) -> Result<Option<String>, Error> {
        let path = self.factors(indexes, mount, name);
        self.get(&path)
    }

    fn factors(&self, indexes: Indexes, mount: u32, name: &str) -> String {
        format!("{}/{mount}/{}", indexes.factors, hashed(self.barrier, name))
    }

    /// The entity `id`.
    pub fn entity(&mut self, id: &str) -> Result<Option<Entity>, Error> {
        if !is_id(id) {
            return Ok(None);
        }
        self.get(&entity_row(id))
    }

    /// The group `id`.
    pub fn group(&mut self, id: &str) -> Result<Option<Group>, Error> {
        if !is_id(id) {
            return Ok(None);
        }
        self.get(&group_row(id))
    }

    /// Ids of the groups that hold a member directly, sorted.
    pub fn parents(&mut self, member: &str) -> Result<Vec<String>, Error> {
        Ok(self.get(&member_row(member))?.unwrap_or_default())
    }

    /// The secret that an entity shares with its device, of a method.
    pub fn secret(&mut self, method: &str, entity: &str) -> Result<Option<Secret>, Error> {
        self.get(&secret_row(method, entity))
    }

    /// Keeps such a secret.
    pub fn put_secret(&mut self, method: &str, entity: &str, secret: &Secret) -> Result<(), Error> {
        self.put(&secret_row(method, entity), secret)
    }

    /// Removes such a secret.
    pub fn remove_secret(&mut self, method: &str, entity: &str) -> Result<(), Error> {
        Ok(self.txn.delete(&secret_row(method, entity))?)
    }

    /// Removes all secrets of a method, `limit` at most; how many.
    pub fn forget_secrets(&mut self, method: &str, limit: usize) -> Result<usize, Error> {
        let page = Page {
            after: String::new(),
            limit: Some(limit),
        };
        let entities = self.ids(&format!("{SECRETS}{method}"), &page)?;
        for entity in &entities {
            self.remove_secret(method, entity)?;
        }
        Ok(entities.len())
    }

    /// Writes, changes or removes an entity: what it was, and what it shall be.
    pub fn replace_entity(&mut self, before: Option<&Entity>, after: Option<&Entity>) -> Result<(), Error> {
        let id = one_of(before, after).map(|entity| entity.id.clone())?;
        let name = |entity: Option<&Entity>| entity.map(|entity| entity.name.clone());
        self.move_name(ENTITIES, &id, name(before), name(after))?;
        let aliases = |entity: Option<&Entity>| entity.map_or_else(Vec::new, |entity| entity.aliases.clone());
        self.move_aliases(ENTITIES, &id, &aliases(before), &aliases(after))?;
        let merged = |entity: Option<&Entity>| entity.map_or_else(Vec::new, |entity| entity.merged.clone());
        let (old, new) = (merged(before), merged(after));
        for gone in old.iter().filter(|old| !new.contains(old)) {
            // It may have gone on to another entity meanwhile.
            if self.get::<String>(&merged_row(gone))?.as_ref() == Some(&id) {
                self.txn.delete(&merged_row(gone))?;
            }
        }
        for taken in new.iter().filter(|new| !old.contains(new)) {
            self.txn.get(&merged_row(taken))?;
            self.put(&merged_row(taken), &id)?;
        }
        match (before, after) {
            (_, Some(entity)) => self.put(&entity_row(&id), entity),
            (before, None) => {
                for method in before.iter().flat_map(|entity| &entity.factors) {
                    self.remove_secret(method, &id)?;
                }
                Ok(self.txn.delete(&entity_row(&id))?)
            }
        }
    }

    /// Writes, changes or removes a group: what it was, and what it shall be.
    pub fn replace_group(&mut self, before: Option<&Group>, after: Option<&Group>) -> Result<(), Error> {
        let id = one_of(before, after).map(|group| group.id.clone())?;
        let name = |group: Option<&Group>| group.map(|group| group.name.clone());
        self.move_name(GROUP_INDEXES, &id, name(before), name(after))?;
        let aliases =
            |group: Option<&Group>| group.map_or_else(Vec::new, |g| g.alias.iter().cloned().collect());
        self.move_aliases(GROUP_INDEXES, &id, &aliases(before), &aliases(after))?;
        let members =
            |group: Option<&Group>| group.map_or_else(Vec::new, |g| g.members().cloned().collect::<Vec<_>>());
        let (mut old, mut new) = (members(before), members(after));
        old.sort_unstable();
        new.sort_unstable();
        for member in old.iter().filter(|member| new.binary_search(member).is_err()) {
            self.change_parents(member, &id, false)?;
        }
        for member in new.iter().filter(|member| old.binary_search(member).is_err()) {
            self.change_parents(member, &id, true)?;
        }
        self.groups_moved = true;
        match after {
            Some(group) => self.put(&group_row(&id), group),
            None => Ok(self.txn.delete(&group_row(&id))?),
        }
    }

    fn change_parents(&mut self, member: &str, group: &str, holds: bool) -> Result<(), Error> {
        let mut parents = self.parents(member)?;
        match (parents.binary_search_by(|known| known.as_str().cmp(group)), holds) {
            (Err(at), true) => parents.insert(at, group.to_owned()),
            (Ok(at), false) => drop(parents.remove(at)),
            _ => return Ok(()),
        }
        if parents.len() > MAX_PARENTS {
            return Err(Error::invalid(format!(
                "a member may be in at most {MAX_PARENTS} groups directly"
            )));
        }
        match parents.is_empty() {
            true => Ok(self.txn.delete(&member_row(member))?),
            false => self.put(&member_row(member), &parents),
        }
    }

    fn move_name(
        &mut self,
        indexes: Indexes,
        id: &str,
        before: Option<String>,
        after: Option<String>,
    ) -> Result<(), Error> {
        if before == after {
            return Ok(());
        }
        if let Some(name) = before {
            let hash = hashed(self.barrier, &name);
            self.txn.delete(&format!("{}/{hash}", indexes.names))?;
        }
        let Some(name) = after else { return Ok(()) };
        let path = format!("{}/{}", indexes.names, hashed(self.barrier, &name));
        if self.get::<Named>(&path)?.is_some() {
            return Err(Error::internal("a name that was free is in use"));
        }
        let id = id.to_owned();
        self.put(&path, &Named { id, name })
    }

    fn move_aliases(
        &mut self,
        indexes: Indexes,
        id: &str,
        before: &[Alias],
        after: &[Alias],
    ) -> Result<(), Error> {
        let same = |a: &Alias, b: &Alias| a.id == b.id && a.mount == b.mount && a.name == b.name;
        for gone in before
            .iter()
            .filter(|old| !after.iter().any(|new| same(old, new)))
        {
            self.txn.delete(&format!("{}/{}", indexes.aliases, gone.id))?;
            self.txn.delete(&self.factors(indexes, gone.mount, &gone.name))?;
        }
        for new in after
            .iter()
            .filter(|new| !before.iter().any(|old| same(old, new)))
        {
            let path = self.factors(indexes, new.mount, &new.name);
            if self.get::<String>(&path)?.is_some_and(|owner| owner != id) {
                return Err(Error::internal("an alias that was free is in use"));
            }
            let owner = id.to_owned();
            self.put(&path, &owner)?;
            self.put(&format!("{}/{}", indexes.aliases, new.id), &owner)?;
        }
        Ok(())
    }
}

fn one_of<'a, T>(before: Option<&'a T>, after: Option<&'a T>) -> Result<&'a T, Error> {
    before
        .or(after)
        .ok_or_else(|| Error::internal("nothing is replaced by nothing"))
}
