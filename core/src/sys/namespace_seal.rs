//! `sys/namespaces/:name/{seal,unseal,seal-status,delete-sealed}`: namespaces with a seal of their own, and what is asked for when
//! one is made.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use conclave_barrier::{Keyring, RingKeys, RootKey, SealConfig};
use conclave_engine_api::Fields;
use conclave_hcl as hcl;

use crate::catalog::{decode_record, encode_record};
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::namespaces::{NamespaceRecord, close, seals_made_of};
use crate::routes::{Act, Answer, Call};
use crate::seal::ring_rows::{self, RingRow};
use crate::seal::{Handed, Threshold, decode_share, hand_out, read_all};
use crate::sys::{object, uuid_text};

/// Row of the next ring's number, among the root's configuration.
const NEXT_RING: &str = "next-ring";
/// The first ring beside the cluster's.
const FIRST_RING: u16 = 1;
/// Most seals that are made beneath a namespace right beneath the root, in its life and at any depth: numbers of rings are never used
/// again, and nobody there can use them up for the others.
const MAX_BENEATH: u16 = 256;
/// So many of the last numbers are for callers with the root policy of the root alone.
const KEPT_FOR_ROOT: u16 = 1024;
/// The one kind of seal that a namespace can have.
const SHAMIR: &str = "shamir";

/// The seal that a new namespace is to have.
pub struct Wanted {
    split: Threshold,
    pgp_keys: Option<Vec<String>>,
}

impl Wanted {
    /// What a request asks for: `seal` is the text of one `seal "shamir"` stanza, HCL or JSON.
    ///
    /// # Errors
    /// [`Error::Invalid`] in the original's words.
    pub fn of(fields: &Fields<'_>) -> Result<Option<Self>, Error> {
        let Some(text) = fields.string("seal")? else {
            return Ok(None);
        };
        let unreadable = |error: hcl::Error| Error::invalid(format!("unable to parse seal config: {error}"));
        let body = hcl::parse(&text).map_err(unreadable)?;
        let stanzas = body.sections("seal", 1).map_err(unreadable)?;
        let [stanza] = stanzas.as_slice() else {
            return Err(Error::invalid("seal config must contain exactly one seal stanza"));
        };
        if stanza.labels.iter().any(|label| label.name != SHAMIR) {
            return Err(Error::invalid("namespaces currently only support shamir seals"));
        }
        let number = |name: &str| match stanza.body.value(name).map_err(unreadable)? {
            None => Ok(0),
            Some(value) => {
                let text = value.text().map_err(unreadable)?;
                let number = text.parse::<i64>();
                number.map_err(|_| {
                    Error::invalid(format!("unable to parse seal config: {name} must be a number"))
                })
            }
        };
        let split =
            Threshold::check(number("shares")?, number("threshold")?).map_err(|error| match error {
                Error::Invalid(text) => Error::Invalid(text.replace("seal configuration", "seal config")),
                other => other,
            })?;
        let named = stanza.body.value("pgp_keys").map_err(unreadable)?;
        let named = named.map(|keys| keys.texts().map_err(unreadable)).transpose()?;
        Ok(Some(Self {
            split,
            pgp_keys: fields.strings("pgp_keys")?.or(named),
        }))
    }
}

/// The seal of a new namespace.
pub struct Made {
    /// The ring's number.
    pub ring: u16,
    /// Its keys, with which what the namespace is born with is sealed.
    pub keys: RingKeys,
    shares: Vec<Handed>,
    threshold: u8,
}

impl Made {
    /// Adds the shares to what is answered, which must be stored nowhere.
    pub fn tell(&self, answer: &mut Answer) {
        let shares: Vec<String> = self.shares.iter().map(hex::encode).collect();
        let data = answer.reply.data.get_or_insert_with(Map::new);
        data.insert("key_shares".to_owned(), json!(shares));
        data.insert("key_threshold".to_owned(), json!(self.threshold));
        answer.told_once = true;
    }
}

/// The number of a new ring, counted to the namespace right beneath the root in which it is made.
fn next_ring(call: &mut Call<'_, '_>) -> Result<u16, Error> {
    let cluster = &mut call.work.cluster;
    let row = cluster.get(NEXT_RING)?;
    let ring = match row {
        Some(row) => decode_record(&row.value)?,
        None => FIRST_RING,
    };
    let caller = call.caller;
    let next = after(ring, caller.namespace.is_root() && caller.acl.is_root())?;
    cluster.put(NEXT_RING, encode_record(&next)?)?;
    let way = call.work.catalog.tree().way(call.work.catalog.namespace().number);
    let Some(top) = way.get(1) else {
        return Ok(ring);
    };
    let row = seals_made_of(top.record.number);
    let made = match cluster.get(&row)? {
        Some(row) => decode_record(&row.value)?,
        None => 0,
    };
    if made >= MAX_BENEATH {
        return Err(Error::invalid(format!(
            "{MAX_BENEATH} namespaces with a seal were made beneath {:?}, which is all there may be in its life, those that are gone \
             included",
            top.record.path
        )));
    }
    cluster.put(&row, encode_record(&(made + 1))?)?;
    Ok(ring)
}

/// The number after that of a new ring.
fn after(ring: u16, for_root: bool) -> Result<u16, Error> {
    let next = ring.checked_add(1);
    let next = next.ok_or_else(|| Error::invalid("the numbers of namespaces with a seal are used up"))?;
    match for_root || ring <= u16::MAX - 1 - KEPT_FOR_ROOT {
        true => Ok(next),
        false => Err(Error::invalid(format!(
            "the last {KEPT_FOR_ROOT} numbers of namespaces with a seal are kept for the root policy"
        ))),
    }
}

/// Makes a ring of keys within the one that holds the namespace asked in. Its root key is split and forgotten: the namespace is
/// sealed from the start.
pub fn make(call: &mut Call<'_, '_>, wanted: &Wanted, parent: u16) -> Result<Made, Error> {
    let ring = next_ring(call)?;
    let split = wanted.split;
    let now = call.env.now();
    // Keys of people are tried before anything is made: what could not be encrypted afterwards would be lost.
    let pgp_keys = read_all(wanted.pgp_keys.clone(), split.shares, now)?;
    let mut entropy = OsEntropy;
    let root = RootKey::generate(&mut entropy);
    let keyring = Keyring::generate_ring(ring, now, &mut entropy);
    let (config, shares) = SealConfig::create(&root, split.shares, split.threshold, 1, &mut entropy)
        .map_err(|error| Error::invalid(error.to_string()))?;
    let sealed = keyring.seal(&root, call.work.opened().barrier().id(), &mut entropy)?;
    let row = RingRow {
        parent,
        epoch: 0,
        opened: false,
        config,
        keyring: Bytes::from(sealed),
    };
    call.work.draft.op(ring_rows::put(ring, &row)?);
    Ok(Made {
        ring,
        keys: RingKeys::new(ring, keyring)?,
        shares: hand_out(&shares, &pgp_keys)?,
        threshold: split.threshold,
    })
}

/// The namespace that an act is about.
struct Subject {
    record: Arc<NamespaceRecord>,
}

impl Subject {
    async fn of(act: &Act) -> Result<Self, Error> {
        let (session, replica) = (act.core.seal.session()?, act.core.seal.replica()?);
        let (_, derived) = session.view(replica.read().await?)?;
        let node = derived
            .catalog
            .tree()
            .child(act.namespace, act.params.get("name"));
        match node {
            Some(node) => Ok(Self {
                record: node.record.clone(),
            }),
            None => Err(Error::invalid("namespace doesn't exist")),
        }
    }

    fn ring(&self) -> Result<u16, Error> {
        match self.record.is_sealable() {
            true => Ok(self.record.ring()),
            false => Err(Error::invalid("namespace is not sealable")),
        }
    }
}

/// `namespace seal`: all nodes drop the keys of the namespace and of those within it. One without keys of its own stays as it
/// is, as upstream.
pub fn seal(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let subject = Subject::of(&act).await?;
        if subject.record.closing {
            return Err(Error::invalid("namespace doesn't exist"));
        }
        if let Ok(ring) = subject.ring() {
            act.core.seal_ring(ring).await?;
        }
        Ok(Answer::empty())
    }
    .boxed()
}

/// `namespace unseal`: takes one share, or forgets those given.
pub fn unseal(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let ring = Subject::of(&act).await?.ring()?;
        let fields = act.fields();
        if fields.bool("reset")?.unwrap_or(false) {
            act.core.reset_ring_shares(ring).await;
        } else if !act.core.ring_is_open(ring) {
            let key = Zeroizing::new(fields.string("key")?.unwrap_or_default());
            if key.is_empty() {
                return Err(Error::invalid("provided key is empty"));
            }
            act.core.give_ring_share(ring, decode_share(&key)?).await?;
        }
        status(&act.core, ring).await
    }
    .boxed()
}

/// `namespace seal-status`.
pub fn seal_status(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let ring = Subject::of(&act).await?.ring()?;
        status(&act.core, ring).await
    }
    .boxed()
}

async fn status(core: &Arc<Core>, ring: u16) -> Result<Answer, Error> {
    let view = core.seal.replica()?.read().await?;
    let found = ring_rows::ring(&view, ring)?;
    let (row, _) = found.ok_or_else(|| Error::invalid("namespace doesn't exist"))?;
    drop(view);
    let open = core.ring_is_open(ring) || row.opened && core.ask_for_ring(ring).await;
    let (given, nonce) = core.seal.rings.progress(ring);
    let given = if open { 0 } else { given };
    Ok(Answer::data(object(json!({
        "type": SHAMIR,
        "initialized": true,
        "sealed": !open,
        "t": row.config.threshold(),
        "n": row.config.shares(),
        "progress": given,
        "nonce": nonce.filter(|_| given > 0).map(uuid_text).unwrap_or_default(),
    }))))
}

/// `namespace delete-sealed`: removes what is sealed without opening it.
pub fn delete_sealed(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let force = call.fields().bool("force")?.unwrap_or(false);
    let name = call.params.get("name").to_owned();
    let tree = call.work.catalog.tree();
    let Some(node) = tree.child(call.work.namespace(), &name) else {
        let mut answer = Answer::empty();
        let warning = "requested namespace does not exist".to_owned();
        answer.reply.warnings.push(warning);
        return Ok(answer);
    };
    if !node.is_sealed() || !node.record.is_sealable() {
        return Err(Error::invalid("namespace is not sealed"));
    }
    let record = NamespaceRecord {
        wiped: true,
        ..node.record.as_ref().clone()
    };
    let opened = call.work.opened();
    if !force && close::has_children(opened, record.ring())? {
        return Err(Error::invalid(
            "sealed namespace has leftover child namespaces; pass force=true to delete the entire tree, or unseal the \
             namespace and delete children individually",
        ));
    }
    if !force && close::has_leases(opened, record.ring())? {
        return Err(Error::invalid(
            "sealed namespace has leases whose accounts can be dropped with its keys only; pass force=true to leave them where \
             they are, or unseal the namespace and delete it",
        ));
    }
    close::close(call.work, &record)?;
    Ok(Answer::data(object(
        json!({"status": Value::from("in-progress")}),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_numbers_are_for_root() {
        for (ring, others, root) in [
            (FIRST_RING, true, true),
            (u16::MAX - 1 - KEPT_FOR_ROOT, true, true),
            (u16::MAX - KEPT_FOR_ROOT, false, true),
            (u16::MAX - 1, false, true),
            (u16::MAX, false, false),
        ] {
            assert_eq!(
                (after(ring, false).is_ok(), after(ring, true).is_ok()),
                (others, root),
                "{ring}"
            );
        }
    }
}
