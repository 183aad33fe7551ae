//! `sys/audit`: declaring audit devices over the API.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::audit::DeviceOptions;
use crate::catalog::{AuditRecord, encode_record};
use crate::clocktext::rfc3339;
use crate::error::Error;
use crate::heads;
use crate::routes::{Answer, Call};

/// Bytes of a device's salt.
const SALT_BYTES: usize = 32;
/// What is shown of headers: they may hold a password.
const HIDDEN: &str = "(not shown)";

/// `audit list`: the cluster's devices, and those that the configuration of this node declares.
pub fn list(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let devices = call.work.catalog.audit().values();
    let shared = devices.map(|device| {
        let description = &device.description;
        let shown = describe(&device.path, &device.kind, description, &device.options, false);
        (device.path.clone(), shown)
    });
    let mut devices = shared.collect::<Map<_, _>>();
    for device in call.core.audit.declared() {
        let shown = describe(
            &device.path,
            &device.kind,
            &device.description,
            &device.options,
            true,
        );
        devices.insert(device.path.clone(), shown);
    }
    Ok(Answer::at_top_level(devices))
}

fn describe(
    path: &str,
    kind: &str,
    description: &str,
    options: &BTreeMap<String, String>,
    local: bool,
) -> Value {
    let options: BTreeMap<&str, &str> = options
        .iter()
        .map(|(name, text)| {
            (
                name.as_str(),
                if name == "headers" { HIDDEN } else { text.as_str() },
            )
        })
        .collect();
    json!({
        "type": kind,
        "description": description,
        "options": options,
        "local": local,
        "path": path,
    })
}

/// `sys/audit-hash/:path`: the keyed hash of a text as a device writes it, to look for it in its records.
pub fn hash(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let path = format!("{}/", call.params.get("path"));
    let input = call.fields().required("input")?;
    let hash = call
        .core
        .audit
        .current()
        .hash(&path, &input)
        .ok_or_else(|| Error::invalid(format!("unknown audit backend {path:?}")))?;
    Ok(Answer::at_top_level(Map::from_iter([(
        "hash".to_owned(),
        json!(hash),
    )])))
}

/// `sys/audit-heads`: ends of every node's chains as they were committed, to verify audit files against.
pub fn heads(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let heads = heads::all(call.work.opened())?;
    let shown = heads.into_iter().map(|head| {
        json!({
            "chain": head.chain,
            "device": head.device,
            "node": head.node,
            "seq": head.seq,
            "hash": head.hash,
            "time": rfc3339(head.time),
        })
    });
    let shown = Value::Array(shown.collect());
    Ok(Answer::data(Map::from_iter([("heads".to_owned(), shown)])))
}

/// `sys/audit-status`: how the devices of this node are.
pub fn status(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let shown = call.core.audit.states().into_iter().map(|(path, state)| {
        let (waiting, room) = state.spool.unzip();
        let status = json!({
            "healthy": state.trouble.is_none(),
            "trouble": state.trouble.unwrap_or_default(),
            "spooled_bytes": waiting.unwrap_or(0),
            "spool_bytes": room.unwrap_or(0),
            "taken_records": state.records.0,
            "refused_records": state.records.1,
        });
        (path, status)
    });
    let shown = Value::Object(shown.collect());
    Ok(Answer::data(Map::from_iter([("devices".to_owned(), shown)])))
}

/// `audit enable`. The file is opened here first, so that a wrong path is the caller's error and not everybody's.
pub fn enable(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let path = format!("{}/", call.params.get("path"));
    let fields = call.fields();
    let kind = fields.required("type")?;
    let options: BTreeMap<String, String> = fields.pairs("options")?.unwrap_or_default();
    let read = DeviceOptions::read(&kind, &options)?;
    if call.work.catalog.audit().contains_key(&path) || call.core.audit.is_declared(&path) {
        return Err(Error::invalid(format!("path already in use: {path}")));
    }
    let others = others(call, &path)?;
    if let Some((fallback, _)) = others.iter().find(|(_, other)| other.fallback && read.fallback) {
        return Err(Error::invalid(format!(
            "{fallback:?} is the fallback audit device already, and there is one"
        )));
    }
    let all: Vec<_> = others.iter().map(|(_, other)| other).chain([&read]).collect();
    if !call.core.audit.take_everything(&all) {
        return Err(Error::invalid(
            "a device with a filter would leave requests without a record, which are refused: enable one without a filter, \
             or with fallback=true, first",
        ));
    }
    let record = AuditRecord {
        accessor: format!("audit_{kind}_{}", call.env.hex(4)),
        kind,
        description: fields.string("description")?.unwrap_or_default(),
        options,
        salt: call.env.hex(SALT_BYTES),
        path,
    };
    call.core.audit.probe(&record)?;
    let row = row_of(&record.path);
    call.work.config.get(&row)?;
    call.work.config.put(&row, encode_record(&record)?)?;
    Ok(Answer::empty())
}

/// `audit disable`. What is not there is as disabled as was asked for.
pub fn disable(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let path = format!("{}/", call.params.get("path"));
    if call.core.audit.is_declared(&path) {
        return Err(Error::invalid(
            "cannot disable configuration-managed audit device",
        ));
    }
    if !call.work.catalog.audit().contains_key(&path) {
        return Ok(Answer::empty());
    }
    let others = others(call, &path)?;
    let left: Vec<_> = others.iter().map(|(_, other)| other).collect();
    if !call.core.audit.take_everything(&left) {
        return Err(Error::invalid(
            "the devices that are left have filters, and requests that all pass over are refused: disable those first",
        ));
    }
    call.work.config.delete(&row_of(&path))?;
    Ok(Answer::empty())
}

/// The cluster's devices but that at `path`.
fn others(call: &Call<'_, '_>, path: &str) -> Result<Vec<(String, DeviceOptions)>, Error> {
    let devices = call.work.catalog.audit().values();
    let others = devices.filter(|device| device.path != path);
    let read = others.map(|device| {
        let options = DeviceOptions::read(&device.kind, &device.options)?;
        Ok((device.path.clone(), options))
    });
    read.collect()
}

/// Paths of devices may hold slashes; rows have one segment.
fn row_of(path: &str) -> String {
    format!("audit/{}", hex::encode(path))
}
