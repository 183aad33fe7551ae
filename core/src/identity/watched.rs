//! What detection needs of identities: who there is, which groups an entity is in, and locking it.

use conclave_engine_api::{Millis, Page};

use crate::catalog::{Catalog, decode_record};
use crate::error::Error;
use crate::identity::membership;
use crate::identity::mfa;
use crate::identity::record::Entity;
use crate::identity::rows::{ENTITY_ROWS, entity_row, in_rows, space};
use crate::identity::subject;
use crate::store::Opened;
use crate::work::Work;

/// Ids of all groups that an entity is in, directly or through others.
pub fn groups_of_entity(opened: &Opened, catalog: &Catalog, entity: &str) -> Result<Vec<String>, Error> {
    let reader = opened.space(space(catalog)?);
    let groups = membership::groups_of(entity, |member| subject::parents(&reader, member))?;
    Ok(groups.all().cloned().collect())
}

/// The namespace of an entity that asked for something in the namespace of `catalog`: that one, or one above. `None` if it is
/// gone.
///
/// # Errors
/// The store's own.
pub fn home_of(opened: &Opened, catalog: &Catalog, entity: &str) -> Result<Option<Catalog>, Error> {
    for node in catalog.tree().way(catalog.namespace().number).into_iter().rev() {
        let home = catalog.of(node.record.number)?;
        if opened.space(space(&home)?).row(&entity_row(entity))?.is_some() {
            return Ok(Some(home));
        }
    }
    Ok(None)
}

/// Shows every entity of a namespace.
///
/// # Errors
/// The store's own, and those of `see`, after which no more are shown.
pub fn each_entity(
    opened: &Opened,
    catalog: &Catalog,
    see: &mut dyn FnMut(Entity) -> Result<(), Error>,
) -> Result<(), Error> {
    let reader = opened.space(space(catalog)?);
    for id in reader.names(ENTITY_ROWS, &Page::default())? {
        if let Some(row) = reader.row(&format!("{ENTITY_ROWS}{id}"))? {
            see(decode_record(&row.value)?)?;
        }
    }
    Ok(())
}

/// Whether an entity has a secret of a second factor that can be shown in its namespace.
pub fn has_factor(work: &mut Work<'_>, id: &str) -> Result<bool, Error> {
    let catalog = work.catalog;
    let entity = in_rows(work, |rows| rows.entity(id))?;
    let mut factors = entity.into_iter().flat_map(|entity| entity.factors);
    Ok(factors.any(|id| mfa::is_method(catalog, &id)))
}

/// Disables an entity: its tokens are good for nothing until somebody enables it. Whether it was not before.
pub fn disable(work: &mut Work<'_>, id: &str, now: Millis) -> Result<bool, Error> {
    in_rows(work, |rows| {
        let Some(known) = rows.entity(id)?.filter(|known| !known.disabled) else {
            return Ok(false);
        };
        let mut entity = known.clone();
        entity.disabled = true;
        entity.updated = now;
        rows.replace_entity(Some(&known), Some(&entity))?;
        Ok(true)
    })
}
