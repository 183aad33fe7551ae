//! `sys/anomaly/canaries`: secrets that nobody should read.

use serde_json::{Map, Value, json};

use super::{bounded, named, not_found};
use crate::anomaly::{CANARIES, CanaryRecord};
use crate::canon::CanonPath;
use crate::catalog::encode_record;
use crate::error::Error;
use crate::namespaces::Place;
use crate::routes::{Answer, Call};
use crate::sys::object;

/// Most canaries: those whose paths end in `*` are compared one by one.
const MAX_CANARIES: usize = 1000;
/// Longest path in bytes: it must be whole where names are cut.
const MAX_PATH: usize = 240;

/// `LIST sys/anomaly/canaries`.
pub fn canaries(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    named::list(call, CANARIES, |canary: CanaryRecord| {
        (canary.path.clone(), describe(&canary))
    })
}

fn describe(record: &CanaryRecord) -> Map<String, Value> {
    object(json!({
        "path": record.path,
        "requests_for": record.asked,
        "revoke": record.revoke,
        "note": record.note,
    }))
}

/// `GET sys/anomaly/canaries/*path`.
pub fn canary(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let row = row_of(call);
    let canary = named::load(call, &row)?.ok_or_else(not_found)?;
    Ok(Answer::data(describe(&canary)))
}

/// Declares a path a canary. The secret should be there: an attacker is to find it.
pub fn plant(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let path = call.params.get("path").to_owned();
    if path.len() > MAX_PATH {
        return Err(Error::invalid(format!("path is longer than {MAX_PATH} bytes")));
    }
    let (namespace, asked) = asked_for(call, &path)?;
    let fields = call.fields();
    let record = CanaryRecord {
        revoke: fields.bool("revoke")?.unwrap_or(false),
        note: bounded("note", fields.string("note")?)?.unwrap_or_default(),
        namespace,
        asked,
        path,
    };
    let row = row_of(call);
    let full = format!("there are {MAX_CANARIES} canaries already");
    named::bound(call, CANARIES, &row, MAX_CANARIES, &full)?;
    call.work.config.put(&row, encode_record(&record)?)?;
    Ok(Answer::empty())
}

/// The namespace a path leads into, and what requests that read it ask for: beneath `data/` of a versioned mount.
fn asked_for(call: &Call<'_, '_>, path: &str) -> Result<(u32, String), Error> {
    let beginning = path.strip_suffix('*');
    let plain = beginning.unwrap_or(path);
    let canon = CanonPath::parse(&plain.replace('%', "%25"))?;
    let root = call.work.catalog;
    let place = Place::find(root, None, &canon)?;
    let routed = place
        .catalog
        .route(&place.path)
        .ok_or_else(|| Error::invalid(format!("no mount answers {path:?}")))?;
    if matches!(
        routed.mount.kind.as_str(),
        "system" | "identity" | "token" | "cubbyhole"
    ) {
        return Err(Error::invalid("a canary is a path of a secrets engine"));
    }
    let versioned = routed.mount.kind == "kv"
        && routed
            .mount
            .options
            .get("version")
            .is_some_and(|version| version == "2");
    let data = match versioned && !routed.rest.starts_with("data/") && routed.rest != "data" {
        true => "data/",
        false => "",
    };
    let star = if beginning.is_some() { "*" } else { "" };
    let mount = routed.mount.full_path();
    Ok((
        place.catalog.namespace().number,
        format!("{mount}{data}{}{star}", routed.rest),
    ))
}

/// A canary no more.
pub fn remove(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let row = row_of(call);
    named::remove(call, &row)
}

/// Paths may lie beneath one another: the row is named by a hash.
fn row_of(call: &Call<'_, '_>) -> String {
    let path = call.params.get("path");
    let hash = call
        .work
        .opened()
        .barrier()
        .lease_hmac(format!("canary\0{path}").as_bytes());
    format!("{CANARIES}{}", hex::encode(hash))
}
