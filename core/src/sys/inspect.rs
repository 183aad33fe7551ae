//! `sys/internal/inspect/router`: which mount answers what, in all namespaces, by path, id or where its rows lie.

use serde_json::{Value, json};

use crate::error::Error;
use crate::routes::{Answer, Call};
use crate::store::layout::ROOT_NAMESPACE;
use crate::sys::{mounts, object};

/// `GET sys/internal/inspect/router/:tag`.
pub fn router(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let tag = call.params.get("tag").to_owned();
    let places = match tag.as_str() {
        "root" | "storage" => true,
        "uuid" | "accessor" => false,
        _ => return Err(Error::UnsupportedPath),
    };
    let mut entries = Vec::new();
    for node in call.work.catalog.tree().beneath(ROOT_NAMESPACE) {
        for mount in node.own.all_mounts() {
            let mut entry = object(json!({
                "accessor": mount.accessor,
                "mount_namespace": node.record.path,
                "mount_path": mount.path,
                "mount_type": mounts::shown_kind(mount),
                "uuid": mount.uuid,
            }));
            if places {
                // Namespaces and mounts are numbers in the keys of rows.
                let prefix = format!("{}/{}/", mount.namespace, mount.id);
                entry.insert("storage_prefix".to_owned(), json!(prefix));
                entry.insert("tainted".to_owned(), json!(node.record.closing));
            }
            entries.push(Value::Object(entry));
        }
    }
    Ok(Answer::data(object(json!({tag: entries}))))
}
