//! What detection needs of identities: which groups an entity is in, and locking it.

use conclave_engine_api::Millis;

use crate::catalog::Catalog;
use crate::error::Error;
use crate::identity::membership;
use crate::identity::rows::{in_rows, space};
use crate::identity::subject;
use crate::store::Opened;
use crate::work::Work;

/// Ids of all groups that an entity is in, directly or through others.
pub fn groups_of_entity(opened: &Opened, catalog: &Catalog, entity: &str) -> Result<Vec<String>, Error> {
    let reader = opened.space(space(catalog)?);
    let groups = membership::groups_of(entity, |member| subject::parents(&reader, member))?;
    Ok(groups.all().cloned().collect())
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
