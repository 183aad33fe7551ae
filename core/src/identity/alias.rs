//! Aliases of entities and groups alike: the mounts they name, and what becomes of them when a mount goes.

use std::sync::Arc;

use crate::catalog::{Catalog, Category, MountRecord};
use crate::error::Error;
use crate::identity::rows::{ENTITIES, GROUP_INDEXES, in_rows_of};
use crate::work::Work;

/// Most entities and groups of a gone mount that one command changes.
const BATCH: usize = 64;

/// The mount with an accessor, and its whole path.
pub fn mount_of<'c>(catalog: &'c Catalog, accessor: &str) -> Option<(&'c Arc<MountRecord>, String)> {
    let mounts = |category| catalog.mounts(category).values();
    let mount = mounts(Category::Auth)
        .chain(mounts(Category::Secret))
        .find(|mount| mount.accessor == accessor)?;
    let path = match mount.category {
        Category::Auth => format!("auth/{}", mount.path),
        Category::Secret => mount.path.clone(),
    };
    Some((mount, path))
}

/// The mount that a request names.
pub fn named_mount<'c>(catalog: &'c Catalog, accessor: &str) -> Result<&'c Arc<MountRecord>, Error> {
    let found = mount_of(catalog, accessor).map(|(mount, _)| mount);
    found.ok_or_else(|| Error::invalid(format!("invalid mount accessor {accessor:?}")))
}

/// Removes a batch of the aliases that belong to a mount which is gone. Whether none is left.
pub fn forget_mount(work: &mut Work<'_>, namespace: u32, mount: u32) -> Result<bool, Error> {
    // With a namespace all its rows go.
    let Ok(catalog) = work.catalog.of(namespace) else {
        return Ok(true);
    };
    if catalog.namespace().closing || catalog.mount_by_id(mount).is_some() {
        return Ok(true);
    }
    in_rows_of(work, &catalog, |rows| {
        let entities = rows.at_mount(ENTITIES, mount, BATCH)?;
        for id in &entities {
            let known = rows.entity(id)?;
            let known = known.ok_or_else(|| Error::internal("an alias belongs to no entity"))?;
            let mut entity = known.clone();
            entity.aliases.retain(|alias| alias.mount != mount);
            rows.replace_entity(Some(&known), Some(&entity))?;
        }
        let groups = rows.at_mount(GROUP_INDEXES, mount, BATCH)?;
        for id in &groups {
            let known = rows.group(id)?;
            let known = known.ok_or_else(|| Error::internal("an alias belongs to no group"))?;
            let mut group = known.clone();
            group.alias = None;
            rows.replace_group(Some(&known), Some(&group))?;
        }
        Ok(entities.len() < BATCH && groups.len() < BATCH)
    })
}
