//! What an engine could be told of who asks: the entity, its aliases and its groups.

use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::identity::alias::mount_of;
use crate::identity::membership::groups_of;
use crate::identity::rows::in_rows;
use crate::routes::Call;
use crate::sys::object;

/// The entity `id` and all its groups.
///
/// # Errors
/// The store's own, and a refusal if the entity is gone.
pub fn who(call: &mut Call<'_, '_>, id: &str) -> Result<(Map<String, Value>, Vec<Value>), Error> {
    let catalog = call.work.catalog;
    let namespace = catalog.namespace().id();
    in_rows(call.work, |rows| {
        let entity = rows.entity(id)?.ok_or_else(Error::unauthenticated)?;
        let aliases: Vec<Value> = entity
            .aliases
            .iter()
            .map(|alias| {
                let mount = mount_of(catalog, &alias.accessor);
                json!({
                    "ID": alias.id,
                    "mount_accessor": alias.accessor,
                    "mount_type": mount.map(|(mount, _)| mount.kind.clone()).unwrap_or_default(),
                    "name": alias.name,
                    "namespace_id": namespace,
                })
            })
            .collect();
        let mut groups = Vec::new();
        for group in groups_of(&entity.id, |member| rows.parents(member))?.all() {
            let name = rows.group(group)?.map(|group| group.name);
            groups.push(json!({"ID": group, "name": name, "namespace_id": namespace}));
        }
        let told = json!({"ID": entity.id, "name": entity.name, "aliases": aliases});
        Ok((object(told), groups))
    })
}
