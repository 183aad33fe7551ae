//! `sys/locked-users`: names whose logins failed too often, and letting them in again.

use serde_json::{Value, json};

use crate::auth::lockout;
use crate::error::Error;
use crate::routes::{Answer, Call};

/// Who is locked out, by mount.
pub fn list(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let only = call
        .fields()
        .string("mount_accessor")?
        .filter(|only| !only.is_empty());
    let work = &call.work;
    let mut total = 0;
    let mut namespaces = Vec::new();
    for node in work.catalog.tree().open_beneath(work.namespace()) {
        let catalog = work.catalog.of(node.record.number)?;
        let (opened, settings) = (work.opened(), &call.core.settings);
        let locked = lockout::locked(opened, &catalog, settings, only.as_deref(), call.env.now())?;
        let counts: usize = locked.values().map(Vec::len).sum();
        total += counts;
        let mut mounts: Vec<Value> = locked
            .into_iter()
            .map(|(accessor, names)| {
                json!({"mount_accessor": accessor, "counts": names.len(), "alias_identifiers": names})
            })
            .collect();
        let own = node.record.number == work.namespace();
        if let (Some(only), true) = (&only, own && mounts.is_empty()) {
            mounts.push(json!({"mount_accessor": only, "counts": 0, "alias_identifiers": null}));
        }
        namespaces.push(json!({
            "namespace_id": node.record.id(),
            "namespace_path": node.record.path,
            "counts": counts,
            "mount_accessors": mounts,
        }));
    }
    Ok(Answer::data(super::object(
        json!({"by_namespace": namespaces, "total": total}),
    )))
}

/// Lets a name in again. One that is not locked out may stay as it is.
pub fn unlock(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let (accessor, alias) = (
        call.params.get("accessor").to_owned(),
        call.params.get("alias").to_owned(),
    );
    lockout::unlock(call.work, &accessor, &alias)?;
    Ok(Answer::empty())
}
