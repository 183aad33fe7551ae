//! `sys/audit`: declaring audit devices over the API.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::catalog::{AuditRecord, encode_record};
use crate::error::Error;
use crate::routes::{Answer, Call};

/// Options a file device knows.
const FILE_OPTIONS: [&str; 3] = ["file_path", "path", "mode"];
/// Bytes of a device's salt.
const SALT_BYTES: usize = 32;

/// `audit list`.
pub fn list(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let devices = call
        .work
        .catalog
        .audit
        .iter()
        .map(|(path, device)| (path.clone(), describe(device)));
    Ok(Answer::at_top_level(devices.collect::<Map<_, _>>()))
}

fn describe(device: &AuditRecord) -> Value {
    json!({
        "type": device.kind,
        "description": device.description,
        "options": device.options,
        "local": false,
        "path": device.path,
    })
}

/// `audit enable`. The file is opened here first, so that a wrong path is the caller's error and not everybody's.
pub fn enable(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let path = format!("{}/", call.params.get("path"));
    let fields = call.fields();
    let kind = fields.required("type")?;
    if kind != "file" {
        return Err(Error::Unsupported(format!("audit devices of type {kind:?}")));
    }
    let options: BTreeMap<String, String> = fields.string_map("options")?.unwrap_or_default();
    for name in options.keys() {
        if !FILE_OPTIONS.contains(&name.as_str()) {
            return Err(Error::invalid(format!(
                "audit option {name:?} is not supported by file devices"
            )));
        }
    }
    if options
        .get("mode")
        .is_some_and(|mode| !matches!(mode.as_str(), "0600" | "600"))
    {
        return Err(Error::invalid("audit files are made with mode 0600 and no other"));
    }
    if call.work.catalog.audit.contains_key(&path) {
        return Err(Error::invalid(format!("path already in use: {path}")));
    }
    let record = AuditRecord {
        kind,
        description: fields.string("description")?.unwrap_or_default(),
        options,
        salt: call.env.hex(SALT_BYTES),
        accessor: format!("audit_file_{}", call.env.hex(4)),
        path,
    };
    call.core.audit.probe(&record)?;
    let row = row_of(&record.path);
    call.work.config.get(&row)?;
    call.work.config.put(&row, encode_record(&record)?)?;
    Ok(Answer::empty())
}

/// `audit disable`.
pub fn disable(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let path = format!("{}/", call.params.get("path"));
    if !call.work.catalog.audit.contains_key(&path) {
        return Err(Error::invalid(format!("no matching audit device at {path}")));
    }
    call.work.config.delete(&row_of(&path))?;
    Ok(Answer::empty())
}

/// Paths of devices may hold slashes; rows have one segment.
fn row_of(path: &str) -> String {
    format!("audit/{}", hex::encode(path))
}
