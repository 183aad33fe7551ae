//! `sys/internal/inspect`: which mount answers what, in all namespaces, by path, id or where its rows lie; and what is
//! known of a request and of who makes it.

use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::identity;
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

/// `GET sys/internal/inspect/request`: what an engine could be told. The token itself is never said back.
pub fn request(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let caller = call.caller;
    let (entity, groups) = match caller.record.entity.as_str() {
        "" => (Value::Null, Value::Null),
        id => {
            let (entity, groups) = identity::who(call, id)?;
            (Value::Object(entity), Value::Array(groups))
        }
    };
    let version = &call.core.settings.vault_version;
    let mut told = object(json!({
        "cluster_id": super::open::cluster_id(call.core)?,
        "data": call.data,
        "entity": entity,
        "groups": groups,
        "plugin_env": {"vault_version": version},
        "req": asked(call)?,
        "vault_version": version,
    }));
    // What could not be found out: nothing, or the request would have failed.
    for member in ["cluster_id", "entity", "groups", "plugin_env", "vault_version"] {
        told.insert(format!("{member}_error"), Value::Null);
    }
    Ok(Answer::data(told))
}

fn asked(call: &Call<'_, '_>) -> Result<Map<String, Value>, Error> {
    let record = &call.caller.record;
    let uses = match record.num_uses {
        0 => 0,
        _ => crate::tokens::uses(call.work.opened(), &call.caller.name)?.unwrap_or(0),
    };
    let mut asked = object(json!({
        "ClientTokenSource": 1,
        "InboundSSCToken": "",
        "client_id": record.entity,
        "client_token": "",
        "client_token_accessor": record.accessor,
        "client_token_remaining_uses": uses,
        "connection": {
            "ConnState": null,
            "peer_certificates": null,
            "proxied_certificates": null,
            "remote_addr": call.remote.map(|address| address.to_string()).unwrap_or_default(),
            "remote_port": 0,
        },
        "display_name": record.display_name,
        "entity_id": record.entity,
        "headers": {},
        "id": call.request_id,
        "mount_accessor": "",
        "mount_point": "sys/",
        "mount_type": "system",
        "operation": "read",
        "path": call.path,
        "policy_override": false,
        "replication_cluster": "",
        "unauthenticated": false,
    }));
    let data = (!call.data.is_empty()).then_some(call.data);
    asked.insert("map".to_owned(), json!(data));
    for nothing in ["auth", "mfa_creds", "secret", "wrap_info"] {
        asked.insert(nothing.to_owned(), Value::Null);
    }
    Ok(asked)
}
