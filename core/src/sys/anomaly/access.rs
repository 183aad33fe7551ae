//! `sys/anomaly/access`, `sys/anomaly/unused` and `sys/anomaly/identities`: who used a secret last, which nobody uses, and what
//! an entity used last; and the first beside a secret's metadata, for who asks.

use serde_json::{Map, Value, json};

use conclave_engine_api::{Operation, Page, Reply, Request};

use super::not_found;
use crate::anomaly::access::{AccessRecord, Use, has_secrets, is_versioned, of_entity, space_of};
use crate::canon::CanonPath;
use crate::catalog::{MountRecord, decode_record};
use crate::clocktext::rfc3339;
use crate::error::Error;
use crate::namespaces::Place;
use crate::routes::{Answer, Call};
use crate::store::{Opened, SpaceReader};
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
    let mut told = described(&record, "identity");
    told.insert("path".to_owned(), path.into());
    Ok(Answer::data(told))
}

/// What was read and written last, and by whom, or of an entity of which path: `by` says how that is called.
pub(super) fn described(record: &AccessRecord, by: &str) -> Map<String, Value> {
    let used = |used: Option<&Use>| {
        used.map_or(
            Value::Null,
            |used| json!({"time": rfc3339(used.at), by: used.by, "network": used.from, "count": used.count}),
        )
    };
    object(json!({
        "last_read": used(record.read.as_ref()), "last_write": used(record.write.as_ref()),
    }))
}

/// `GET sys/anomaly/identities/:entity`: what an entity used last.
pub fn identity(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let entity = call.params.get("entity");
    let record = of_entity(call.work.opened(), entity)?.ok_or_else(not_found)?;
    let mut told = described(&record, "path");
    told.insert("entity_id".to_owned(), entity.into());
    Ok(Answer::data(told))
}

/// Adds to the metadata of a versioned secret who used it last, if the request says `access=true`.
///
/// # Errors
/// The store's own; `Error::Invalid` for an `access` that is neither yes nor no.
pub fn add_to_metadata(
    opened: &Opened,
    mount: &MountRecord,
    request: &Request<'_>,
    reply: &mut Reply,
) -> Result<(), Error> {
    let name = request.path.strip_prefix("metadata/");
    let (Some(name), Some(data)) = (name.filter(|_| is_versioned(mount)), &mut reply.data) else {
        return Ok(());
    };
    if request.operation == Operation::Read && request.fields().bool("access")? == Some(true) {
        let row = opened.space(space_of(mount)).row(&format!("data/{name}"))?;
        let record = row.map(|row| decode_record(&row.value)).transpose()?;
        data.extend(described(&record.unwrap_or_default(), "identity"));
    }
    Ok(())
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
                infos.insert(shown.clone(), described(&record, "identity").into());
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
