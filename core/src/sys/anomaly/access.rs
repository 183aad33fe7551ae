//! `sys/anomaly/access` and `sys/anomaly/unused`: who used a secret last, and which nobody uses.

use serde_json::{Map, Value, json};

use conclave_engine_api::Page;

use super::not_found;
use crate::anomaly::access::{AccessRecord, Use, has_secrets, is_versioned, space_of};
use crate::canon::CanonPath;
use crate::catalog::{MountRecord, decode_record};
use crate::clocktext::rfc3339;
use crate::error::Error;
use crate::namespaces::Place;
use crate::routes::{Answer, Call};
use crate::store::SpaceReader;
use crate::sys::object;

/// Days without use unless somebody says otherwise.
const UNUSED_DAYS: u64 = 90;
/// Most days that can be asked for.
const MAX_DAYS: u64 = 3650;
const DAY: u64 = 86_400_000;
/// Most secrets looked at for one answer.
const MAX_LOOKED: usize = 20_000;

/// `GET sys/anomaly/access/*path`.
pub fn access(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let path = call.params.get("path").to_owned();
    let (mount, rest) = place(call, &path)?;
    let row = match is_versioned(&mount) && !rest.starts_with("data/") {
        true => format!("data/{rest}"),
        false => rest,
    };
    let reader = call.work.opened().space(space_of(&mount));
    let record = reader.row(&row)?.ok_or_else(not_found)?;
    let record: AccessRecord = decode_record(&record.value)?;
    Ok(Answer::data(object(json!({
        "path": path,
        "last_read": describe(record.read.as_ref()),
        "last_write": describe(record.write.as_ref()),
    }))))
}

fn describe(used: Option<&Use>) -> Value {
    used.map_or(Value::Null, |used| {
        json!({
            "time": rfc3339(used.at), "identity": used.by, "network": used.from, "count": used.count,
        })
    })
}

/// `GET sys/anomaly/unused/*path`: secrets of a mount that were used once and not read for so many days.
pub fn unused(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let path = format!("{}/", call.params.get("path"));
    let days = call.fields().count("days")?.unwrap_or(UNUSED_DAYS);
    if !(1..=MAX_DAYS).contains(&days) {
        return Err(Error::invalid(format!("days must be between 1 and {MAX_DAYS}")));
    }
    let (mount, _) = place(call, &path)?;
    let before = call.env.now().saturating_sub(days * DAY);
    let reader = call.work.opened().space(space_of(&mount));
    let (mut keys, mut infos) = (Vec::new(), Map::new());
    let mut looked = 0;
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        for name in reader.names(&directory, &Page::default())? {
            let path = format!("{directory}{name}");
            if name.ends_with('/') {
                directories.push(path);
                continue;
            }
            looked += 1;
            if looked > MAX_LOOKED {
                return Err(Error::TooLarge(format!(
                    "the mount has more than {MAX_LOOKED} secrets"
                )));
            }
            if let Some(record) = last_read_before(&reader, &path, before)? {
                let shown = path.strip_prefix("data/").filter(|_| is_versioned(&mount));
                let shown = shown.unwrap_or(&path).to_owned();
                let info = json!({
                    "last_read": describe(record.read.as_ref()), "last_write": describe(record.write.as_ref()),
                });
                infos.insert(shown.clone(), info);
                keys.push(shown);
            }
        }
    }
    keys.sort_unstable();
    Ok(Answer::data(object(
        json!({"days": days, "keys": keys, "key_info": infos}),
    )))
}

/// What is known of a secret, if nobody read it since then. One that was written since then is in use too.
fn last_read_before(
    reader: &SpaceReader<'_>,
    path: &str,
    before: u64,
) -> Result<Option<AccessRecord>, Error> {
    let Some(row) = reader.row(path)? else {
        return Ok(None);
    };
    let record: AccessRecord = decode_record(&row.value)?;
    let since = |used: &Option<Use>| used.as_ref().map_or(0, |used| used.at);
    Ok(Some(record).filter(|record| since(&record.read).max(since(&record.write)) < before))
}

/// The mount of a path, in whatever namespace, and the path beneath it.
fn place(call: &Call<'_, '_>, path: &str) -> Result<(MountRecord, String), Error> {
    let canon = CanonPath::parse(&path.replace('%', "%25"))?;
    let place = Place::find(call.work.catalog, None, &canon)?;
    let routed = place
        .catalog
        .route(&place.path)
        .filter(|routed| has_secrets(routed.mount))
        .ok_or_else(|| Error::invalid(format!("no mount with secrets answers {path:?}")))?;
    Ok((routed.mount.as_ref().clone(), routed.rest.to_owned()))
}
