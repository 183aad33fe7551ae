//! `sys/namespaces`: making, listing, describing, locking and ending the namespaces beneath the one that is asked.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use conclave_engine_api::{Operation, Txn};

use crate::catalog::{Category, PolicyRecord, decode_record, encode_record};
use crate::error::Error;
use crate::leases;
use crate::namespaces::close::close;
use crate::namespaces::{NEXT_NUMBER, NamespaceRecord, Node, check_name, stored};
use crate::policy::DEFAULT;
use crate::routes::{Answer, Call};
use crate::store::layout::{RING, nth_of, owner_of, ring_of};
use crate::store::{Opened, Space, Table};
use crate::sys::namespace_seal::{self, Wanted};
use crate::sys::{mounts, object};

/// Most namespaces of a cluster.
const MAX_NAMESPACES: usize = 10_000;
/// Longest path of a namespace in bytes: it begins the paths of requests.
const MAX_PATH_BYTES: usize = 1024;
/// Most entries of `custom_metadata`.
const MAX_METADATA: usize = 64;
/// Longest key and value of `custom_metadata`, in bytes.
const MAX_METADATA_KEY: usize = 128;
const MAX_METADATA_VALUE: usize = 512;
/// Characters of a key that opens a locked namespace.
const UNLOCK_KEY_CHARS: usize = 24;

/// `namespace list`: those right beneath, or with SCAN all of them.
pub fn list(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let page = call.fields().page()?;
    let here = call.work.catalog.namespace();
    let tree = call.work.catalog.tree();
    let deep = call.operation == Operation::Scan;
    let mut found = BTreeMap::new();
    for node in tree.beneath(here.number) {
        let way = here.way_to(&node.record).unwrap_or_default();
        let is_child = way.matches('/').count() == 1;
        if !way.is_empty() && (deep || is_child) && way > page.after.as_str() {
            found.insert(way.to_owned(), Value::Object(describe(&node.record)));
        }
    }
    let found: Vec<_> = found.into_iter().take(page.limit.unwrap_or(usize::MAX)).collect();
    match found.is_empty() {
        // As upstream: an empty scan is an answer, an empty list is none.
        true if deep => return Ok(Answer::data(Map::new())),
        true => return Err(Error::NotFound { warnings: Vec::new() }),
        false => {}
    }
    let keys: Vec<_> = found.iter().map(|(way, _)| way.clone()).collect();
    let key_info: Map<_, _> = found.into_iter().collect();
    Ok(Answer::data(object(json!({"keys": keys, "key_info": key_info}))))
}

/// `namespace lookup`.
pub fn read(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let record = child(call)?.ok_or(Error::NotFound { warnings: Vec::new() })?;
    Ok(Answer::data(describe(&record)))
}

/// `namespace create`; one that is there gets the metadata given now. With a seal of its own it is sealed at first, and the
/// answer has the shares that open it.
pub fn write(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let name = name_of(call)?.to_owned();
    check_name(&name)?;
    let wanted = Wanted::of(&call.fields())?;
    let custom_metadata = call.fields().string_map("custom_metadata")?.unwrap_or_default();
    check_metadata(&custom_metadata)?;
    let (record, seal) = match child(call)? {
        Some(known) if known.closing => return Err(is_ending(&known)),
        Some(_) if wanted.is_some() => return Err(seal_stays()),
        Some(known) => {
            let record = NamespaceRecord {
                custom_metadata,
                ..known
            };
            (record, None)
        }
        None => make(call, &name, custom_metadata, wanted)?,
    };
    stored::put(call.work, &record)?;
    let mut answer = Answer::data(describe(&record));
    if let Some(seal) = seal {
        seal.tell(&mut answer);
    }
    Ok(answer)
}

/// `namespace patch`: entries of the metadata are replaced one by one, and removed by null.
pub fn patch(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let known = child(call)?.ok_or_else(|| Error::invalid("namespace not found"))?;
    if known.closing {
        return Err(is_ending(&known));
    }
    if Wanted::of(&call.fields())?.is_some() {
        return Err(seal_stays());
    }
    let mut record = known;
    if let Some(changes) = call.fields().object("custom_metadata")? {
        for (key, value) in changes {
            match value {
                Value::Null => drop(record.custom_metadata.remove(key)),
                Value::String(text) => drop(record.custom_metadata.insert(key.clone(), text.clone())),
                _ => return Err(Error::invalid("values of custom_metadata must be strings")),
            }
        }
    }
    check_metadata(&record.custom_metadata)?;
    stored::put(call.work, &record)?;
    Ok(Answer::data(describe(&record)))
}

/// `namespace delete`. From then on nothing reaches it; what is in it is removed in batches, the namespace itself last.
pub fn delete(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let Some(record) = child(call)? else {
        let mut answer = Answer::empty();
        let warning = "requested namespace does not exist".to_owned();
        answer.reply.warnings.push(warning);
        return Ok(answer);
    };
    let node = call.work.catalog.tree().node(record.number);
    if !record.closing && node.is_some_and(Node::is_sealed) {
        return Err(Error::NamespaceSealed { ring: record.ring() });
    }
    if node.is_some_and(|node| !node.children.is_empty()) {
        return Err(Error::invalid(
            "unable to delete namespace containing child namespaces",
        ));
    }
    if !record.closing {
        close(call.work, &record)?;
    } else if call.fields().bool("force")?.unwrap_or(false) {
        // What its leases stand for outside stays there: for whoever knows that the target is gone.
        leases::close_prefix(call.work, record.number, "", true)?;
    }
    Ok(Answer::data(object(json!({"status": "in-progress"}))))
}

/// `namespace lock`: until it is unlocked, nothing but that is answered in the namespace and beneath it.
pub fn lock(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let mut record = subject(call)?;
    if record.lock.is_some() {
        return Err(Error::invalid(format!(
            "cannot lock namespace {:?}: is already locked",
            record.path
        )));
    }
    let key = call.env.base62(UNLOCK_KEY_CHARS);
    record.lock = Some(digest(&key));
    stored::put(call.work, &record)?;
    Ok(Answer::data(object(json!({"unlock_key": key}))))
}

/// `namespace unlock`: with the key, or without for whoever has `sudo` here.
pub fn unlock(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let mut record = subject(call)?;
    let Some(lock) = &record.lock else {
        return Err(Error::invalid(format!(
            "namespace {:?} is not locked",
            record.path
        )));
    };
    let key = call.fields().string("unlock_key")?.unwrap_or_default();
    let mut answer = Answer::empty();
    if key.is_empty() {
        if !call.may_sudo(&format!("sys/{}", call.path)) {
            return Err(Error::listed("provided empty key"));
        }
        let warning = "Namespace unlocked using sudo capabilities".to_owned();
        answer.reply.warnings.push(warning);
    } else if digest(&key) != *lock {
        return Err(Error::invalid("incorrect unlock key"));
    }
    record.lock = None;
    stored::put(call.work, &record)?;
    Ok(answer)
}

/// The name in the path.
fn name_of<'c>(call: &'c Call<'_, '_>) -> Result<&'c str, Error> {
    let name = call.params.get("name").trim_end_matches('/');
    if matches!(name.split_once('/'), Some(("api-lock", what)) if what.starts_with("lock") || what.starts_with("unlock"))
    {
        return Err(Error::UnsupportedOperation);
    }
    if matches!(
        name.split_once('/'),
        Some((_, "seal" | "unseal" | "seal-status" | "delete-sealed"))
    ) {
        return Err(Error::UnsupportedOperation);
    }
    match name.contains('/') {
        true => Err(Error::invalid("namespace name cannot contain /")),
        false => Ok(name),
    }
}

/// The namespace that the path names right beneath this one.
fn child(call: &Call<'_, '_>) -> Result<Option<NamespaceRecord>, Error> {
    let name = name_of(call)?;
    let node = call.work.catalog.tree().child(call.work.namespace(), name);
    Ok(node.map(|node| node.record.as_ref().clone()))
}

/// The namespace that is locked or unlocked: this one, or the one at the path, at any depth.
fn subject(call: &Call<'_, '_>) -> Result<NamespaceRecord, Error> {
    let tree = call.work.catalog.tree();
    let missing = || Error::invalid("requested namespace does not exist");
    let mut node: &Node = tree.node(call.work.namespace()).ok_or_else(missing)?;
    let path = call.params.get("path").trim_matches('/');
    for name in path.split('/').filter(|name| !name.is_empty()) {
        let next = tree.child(node.record.number, name);
        node = next.filter(|next| !next.record.closing).ok_or_else(missing)?;
    }
    match node.record.is_root() {
        true => Err(Error::invalid("root namespace cannot be locked/unlocked")),
        false => Ok(node.record.as_ref().clone()),
    }
}

/// A new namespace, with the mounts and the policy that each is born with.
fn make(
    call: &mut Call<'_, '_>,
    name: &str,
    custom_metadata: BTreeMap<String, String>,
    wanted: Option<Wanted>,
) -> Result<(NamespaceRecord, Option<namespace_seal::Made>), Error> {
    let catalog = call.work.catalog;
    if catalog.tree().len() > MAX_NAMESPACES {
        return Err(Error::Overloaded(format!(
            "more than {MAX_NAMESPACES} namespaces"
        )));
    }
    let path = format!("{}{name}/", catalog.namespace().path);
    if path.len() > MAX_PATH_BYTES {
        return Err(Error::invalid(format!(
            "the path of the namespace is longer than {MAX_PATH_BYTES} bytes"
        )));
    }
    let beneath = format!("{name}/");
    let mut mounts = catalog.mounts(Category::Secret).keys();
    if let Some(known) = mounts.find(|known| known.starts_with(&beneath)) {
        return Err(Error::invalid(format!(
            "new namespace conflicts with existing mount: {known}"
        )));
    }
    let parent_ring = ring_of(call.work.namespace());
    let seal = match wanted {
        Some(wanted) => Some(namespace_seal::make(call, &wanted, parent_ring)?),
        None => None,
    };
    let record = NamespaceRecord {
        number: match &seal {
            Some(seal) => owner_of(seal.ring),
            None => next_number(call, parent_ring)?,
        },
        uuid: call.env.uuid(),
        path,
        custom_metadata,
        parent_ring,
        ..NamespaceRecord::default()
    };
    let opened = match &seal {
        Some(seal) => call.work.opened().with_ring(seal.keys.clone()),
        None => call.work.opened().clone(),
    };
    furnish(call, &opened, &record)?;
    Ok((record, seal))
}

/// Puts what every namespace is born with into a new one.
fn furnish(call: &mut Call<'_, '_>, opened: &Opened, record: &NamespaceRecord) -> Result<(), Error> {
    let first = mounts::next_ids(call.work, mounts::BORN)?;
    let reader = opened.space(Space::within(Table::Config, record.number));
    let mut config = Txn::new(&reader);
    for mount in mounts::born_with(&mut call.env, first, record.number) {
        config.put(&mount.row(), encode_record(&mount)?)?;
    }
    let policy = PolicyRecord {
        text: DEFAULT.to_owned(),
        version: 1,
        modified: call.env.now(),
        ..PolicyRecord::default()
    };
    config.put("policy/default", encode_record(&policy)?)?;
    call.work
        .include_config_of(opened, record.number, config.into_changes())
}

/// The next number of a namespace that a ring seals.
fn next_number(call: &mut Call<'_, '_>, ring: u16) -> Result<u32, Error> {
    let counter = match ring {
        RING => NEXT_NUMBER.to_owned(),
        other => format!("{NEXT_NUMBER}-of/{other}"),
    };
    let nth = match call.work.cluster.get(&counter)? {
        Some(row) => decode_record(&row.value)?,
        None => 1_u32,
    };
    let used_up = || Error::Overloaded("numbers of namespaces are used up".to_owned());
    let number = nth_of(ring, nth).ok_or_else(used_up)?;
    call.work.cluster.put(&counter, encode_record(&(nth + 1))?)?;
    Ok(number)
}

fn describe(record: &NamespaceRecord) -> Map<String, Value> {
    object(json!({
        "custom_metadata": record.custom_metadata,
        "id": record.id(),
        "locked": record.lock.is_some(),
        "path": record.path,
        "tainted": record.closing,
        "uuid": record.uuid,
    }))
}

fn seal_stays() -> Error {
    Error::invalid("cannot modify existing namespace seal config")
}

fn is_ending(record: &NamespaceRecord) -> Error {
    Error::invalid(format!("namespace {:?} is being deleted", record.path))
}

fn check_metadata(metadata: &BTreeMap<String, String>) -> Result<(), Error> {
    if metadata.len() > MAX_METADATA {
        return Err(Error::invalid(format!(
            "custom_metadata has more than {MAX_METADATA} entries"
        )));
    }
    for (key, value) in metadata {
        if key.is_empty() || key.len() > MAX_METADATA_KEY || value.len() > MAX_METADATA_VALUE {
            return Err(Error::invalid(format!(
                "keys of custom_metadata have 1 to {MAX_METADATA_KEY} bytes, values at most {MAX_METADATA_VALUE}"
            )));
        }
    }
    Ok(())
}

/// A key of 142 random bits needs no slow hash.
fn digest(key: &str) -> String {
    hex::encode(Sha256::digest(key.as_bytes()))
}
