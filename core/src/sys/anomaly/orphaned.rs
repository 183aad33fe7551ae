//! `sys/anomaly/orphaned`: entities that nobody can log in as any more. Whom an auth method still knows is asked of the method.

use std::sync::Arc;

use serde_json::{Map, Value};

use conclave_engine_api::Txn;

use super::access::described;
use crate::anomaly::access::of_entity;
use crate::catalog::MountRecord;
use crate::clocktext::rfc3339;
use crate::core::Core;
use crate::error::Error;
use crate::identity::{self, Alias, Entity};
use crate::routes::{Answer, Call};
use crate::store::Opened;
use crate::store::layout::ROOT_NAMESPACE;
use crate::sys::object;

/// Most entities looked at for one answer.
const MAX_LOOKED: usize = 20_000;
/// Said of an entity that no auth method names.
const NO_ALIAS: &str = "it has no alias";

/// `GET sys/anomaly/orphaned`: of all namespaces.
pub fn orphaned(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let (opened, core) = (call.work.opened(), call.core);
    let tree = call.work.catalog.tree();
    let (mut keys, mut infos, mut looked) = (Vec::new(), Map::new(), 0);
    for node in tree.beneath(ROOT_NAMESPACE) {
        let catalog = call.work.catalog.of(node.record.number)?;
        let mount = |alias: &Alias| catalog.mount_by_id(alias.mount);
        identity::each_entity(opened, &catalog, &mut |entity| {
            looked += 1;
            if looked > MAX_LOOKED {
                return Err(Error::TooLarge(format!(
                    "there are more than {MAX_LOOKED} entities"
                )));
            }
            if let Some(why) = why_orphaned(core, opened, &entity, &mount)? {
                let mut info = described(&of_entity(opened, &entity.id)?.unwrap_or_default(), "path");
                info.extend(object(serde_json::json!({
                    "name": entity.name,
                    "namespace": node.record.path,
                    "reason": why,
                    "disabled": entity.disabled,
                    "created": rfc3339(entity.created),
                })));
                keys.push(entity.id.clone());
                infos.insert(entity.id, Value::Object(info));
            }
            Ok(())
        })?;
    }
    Ok(Answer::data(object(
        serde_json::json!({"keys": keys, "key_info": infos}),
    )))
}

/// Why nobody can log in as an entity; `None` if somebody can, or if that cannot be told.
fn why_orphaned<'m>(
    core: &Core,
    opened: &Opened,
    entity: &Entity,
    mount: &dyn Fn(&Alias) -> Option<&'m Arc<MountRecord>>,
) -> Result<Option<String>, Error> {
    let mut reasons = Vec::new();
    for alias in &entity.aliases {
        // A mount that is gone takes its aliases along, in batches.
        let Some(mount) = mount(alias) else { continue };
        let Some(engine) = core.engine_of(mount) else {
            return Ok(None);
        };
        let reader = opened.space(mount.space());
        match engine.knows(&mut Txn::new(&reader), &alias.name)? {
            Some(false) => reasons.push(format!("{} knows {:?} no more", mount.full_path(), alias.name)),
            Some(true) | None => return Ok(None),
        }
    }
    if reasons.is_empty() {
        reasons.push(NO_ALIAS.to_owned());
    }
    Ok(Some(reasons.join("; ")))
}
