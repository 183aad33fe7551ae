//! The keys of a namespace's ring on their way between open members: shares that are handed on, and the root key for one that
//! has restarted or was away. What is asked for is sealed to the asking start of the member and, within, under the cluster's
//! own keys: a member that holds none of those gets nothing by asking. Both ends record it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::future::join_all;
use tokio::time::Instant;

use conclave_barrier::{RootKey, SecretBytes, ShareProgress, seal_to};
use conclave_raft::PeerCall;

use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::seal::gather::{Held, Nonce, Origin};
use crate::seal::offer::{Binding, Offer};
use crate::seal::peers::{RING_ASK, RING_FOLLOW, RING_RESET, RING_SHARE};
use crate::seal::rings::record_path;
use crate::seal::{PeerUnseal, ring_rows};
use crate::store::Table;
use crate::store::layout::RING;
use crate::trail::Step;

const SHARE_PURPOSE: &[u8] = b"conclave share of a namespace from a member 1\0";
const OFFER_PURPOSE: &[u8] = b"conclave root key of a namespace for a member 1\0";
/// How long one member may take to answer.
const ANSWER: Duration = Duration::from_secs(2);
/// How long members that had no keys of a ring are not asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// What a member answers that holds no older keys of a ring, and one that does.
const FOLLOWS: [u8; 1] = [1];
const LAGS: [u8; 1] = [0];
/// Most rings that are asked for in one look.
const AT_ONCE: usize = 32;

impl Core {
    /// Hands shares of a ring on to every member that answers soon.
    pub(super) async fn hand_ring_shares_on(&self, ring: u16, held: &Held) {
        let message = |share: &SecretBytes| {
            SecretBytes::new([ring.to_be_bytes().as_slice(), &held.nonce, share.expose()].concat())
        };
        let messages: Vec<SecretBytes> = held.shares.iter().map(message).collect();
        self.hand_on(RING_SHARE, SHARE_PURPOSE, &messages).await;
    }

    /// A member counted a share of a ring; so does this node unless it has the ring's keys.
    pub(super) async fn receive_ring_share(&self, from: u64, payload: &[u8]) -> Result<Bytes, Error> {
        self.seal.session()?;
        let opened = self.open_from(from, SHARE_PURPOSE, payload)?;
        let short = || Error::invalid("a share from a member is too short");
        let (ring, rest) = opened.expose().split_first_chunk::<2>().ok_or_else(short)?;
        let (name, share) = rest
            .split_first_chunk::<{ ShareProgress::NONCE_LEN }>()
            .ok_or_else(short)?;
        let ring = u16::from_be_bytes(*ring);
        if self.ring_is_open(ring) {
            return Ok(Bytes::new());
        }
        let (row, share) = (self.ring_row(ring).await?, SecretBytes::copy_of(share));
        // Members hand on all they have whenever one is given: what changes nothing leaves no record.
        if !self.seal.rings.wants(ring, row.epoch, &share, *name) {
            return Ok(Bytes::new());
        }
        let path = record_path(ring, &format!("unseal/share/from-node/{from}"));
        let step = Step::begin(self, &path, None)?;
        let counted = self.count_ring_share(ring, &row, share, Origin::Member(*name));
        let counted = counted.await.map(|_| Bytes::new());
        step.end(counted, &serde_json::Map::new()).await
    }

    /// Tells members that answer soon to forget the shares given for a ring.
    pub(super) async fn tell_ring_reset(&self, ring: u16, names: &[Nonce]) {
        let Ok(replica) = self.seal.replica() else { return };
        let mut payload = BytesMut::new();
        payload.put_u16(ring);
        payload.put_slice(names.as_flattened());
        let call = PeerCall {
            kind: RING_RESET,
            payload: payload.freeze(),
        };
        let others = self.others().into_iter();
        let told = join_all(others.map(|node| replica.call_peer(node, call.clone())));
        if tokio::time::timeout(ANSWER, told).await.is_err() {
            tracing::info!("a member was not told in time that shares of a namespace are to be forgotten");
        }
    }

    pub(super) fn receive_ring_reset(&self, payload: &[u8]) -> Result<Bytes, Error> {
        let damaged = || Error::invalid("a member's message does not decode");
        let (ring, names) = payload.split_first_chunk::<2>().ok_or_else(damaged)?;
        let (names, rest) = names.as_chunks::<{ ShareProgress::NONCE_LEN }>();
        if !rest.is_empty() {
            return Err(damaged());
        }
        self.seal.rings.drop_late(u16::from_be_bytes(*ring), names);
        Ok(Bytes::new())
    }

    /// Whether every other member answers and holds no keys of a ring, or has opened a keyring of at least this generation.
    pub(crate) async fn all_follow_ring(&self, ring: u16, generation: u64) -> bool {
        let Ok(replica) = self.seal.replica() else {
            return false;
        };
        let mut payload = BytesMut::new();
        payload.put_u16(ring);
        payload.put_u64(generation);
        let call = PeerCall {
            kind: RING_FOLLOW,
            payload: payload.freeze(),
        };
        let others = self.others().into_iter();
        let asked = join_all(others.map(|node| replica.call_peer(node, call.clone())));
        match tokio::time::timeout(ANSWER, asked).await {
            Ok(told) => told
                .iter()
                .all(|told| told.as_ref().is_ok_and(|told| **told == FOLLOWS)),
            Err(_) => false,
        }
    }

    /// Whether this node, as far as it has looked at the state, holds no keys of a ring older than a generation.
    pub(super) fn tell_ring_follows(&self, payload: &[u8]) -> Result<Bytes, Error> {
        let damaged = || Error::invalid("a member's message does not decode");
        let (ring, generation) = payload.split_first_chunk::<2>().ok_or_else(damaged)?;
        let generation = <[u8; 8]>::try_from(generation).map_err(|_| damaged())?;
        let follows = self.follows_ring(u16::from_be_bytes(*ring), u64::from_be_bytes(generation));
        Ok(Bytes::from_static(match follows {
            true => &FOLLOWS,
            false => &LAGS,
        }))
    }

    /// Whether this node holds no keys of a ring older than a generation.
    pub(crate) fn follows_ring(&self, ring: u16, generation: u64) -> bool {
        let held = self.seal.session().ok();
        let held = held.and_then(|session| session.ring_generation(ring));
        held.is_none_or(|held| held >= generation)
    }

    /// Asks members for the keys of rings that somebody has opened and this node does not hold; once at a time.
    pub(super) async fn ask_for_rings(self: Arc<Self>) {
        let Ok(_alone) = self.seal.rings.looking.try_lock() else {
            return;
        };
        match self.missing_rings() {
            Ok(missing) => {
                for ring in missing {
                    self.ask_for_ring(ring).await;
                }
            }
            Err(error) => tracing::debug!(%error, "members are not asked for keys of namespaces"),
        }
    }

    /// Some rings that somebody has opened and this node does not hold, though it could.
    fn missing_rings(&self) -> Result<Vec<u16>, Error> {
        let view = self.seal.replica()?.view()?;
        let mut missing = Vec::new();
        for ring in ring_rows::numbers(&view)? {
            if missing.len() >= AT_ONCE {
                break;
            }
            let row = ring_rows::ring(&view, ring)?.filter(|_| !self.ring_is_open(ring));
            if row.is_some_and(|(row, _)| row.opened && self.ring_is_open(row.parent)) {
                missing.push(ring);
            }
        }
        Ok(missing)
    }

    /// Asks members for the keys of a ring, unless they had none a moment ago. Whether they are here now.
    pub(crate) async fn ask_for_ring(&self, ring: u16) -> bool {
        if ring == RING || self.settings.peer_unseal == PeerUnseal::Off {
            return self.ring_is_open(ring);
        }
        let _turn = self.seal.rings.asking.lock().await;
        let asked = self.seal.rings.asked.lock().get(&ring).copied();
        if self.ring_is_open(ring) || asked.is_some_and(|asked| asked.elapsed() < AGAIN) {
            return self.ring_is_open(ring);
        }
        for node in self.others() {
            match tokio::time::timeout(ANSWER, self.ask_member_for_ring(node, ring)).await {
                Ok(Ok(())) => {
                    self.seal.rings.asked.lock().remove(&ring);
                    tracing::info!(ring, node, "a member had the keys of a namespace");
                    return true;
                }
                Ok(Err(error)) => {
                    tracing::debug!(ring, node, %error, "a member gives no keys of a namespace")
                }
                Err(_) => tracing::debug!(ring, node, "a member does not answer"),
            }
        }
        self.seal.rings.asked.lock().insert(ring, Instant::now());
        false
    }

    async fn ask_member_for_ring(&self, node: u64, ring: u16) -> Result<(), Error> {
        let mut payload = BytesMut::new();
        payload.put_u16(ring);
        payload.put_slice(&self.introduce(node)?);
        let call = PeerCall {
            kind: RING_ASK,
            payload: payload.freeze(),
        };
        let offer = self.seal.replica()?.call_peer(node, call).await?;
        self.take_ring_offer(node, ring, &offer).await
    }

    /// A member asks for the keys of a ring. It must be one by the register as it is now, in the start it says it is in.
    pub(super) async fn answer_ring_ask(&self, from: u64, payload: &[u8]) -> Result<Bytes, Error> {
        let damaged = || Error::invalid("a member's message does not decode");
        let (ring, introduction) = payload.split_first_chunk::<2>().ok_or_else(damaged)?;
        let ring = u16::from_be_bytes(*ring);
        let met = self.meet(from, introduction)?;
        if self.settings.peer_unseal.min(met.says.peer_unseal) == PeerUnseal::Off {
            return Err(Error::invalid("peer_unseal is \"off\""));
        }
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        let (opened, derived) = session.view(replica.read().await?)?;
        self.check_start(opened.view(), &met)?;
        let (root, row, _) = session.ring_root(opened.view(), ring)?;
        let binding = Binding {
            barrier: session.barrier_id(),
            from: replica.node_id(),
            to: met.says.node,
            from_nonce: self.seal.boot(),
            to_nonce: met.says.nonce,
            incarnation: met.says.incarnation,
            generation: opened.barrier().keyring().generation(),
            epoch: row.epoch,
        };
        let path = record_path(ring, &format!("unseal/offer/to-node/{}", met.says.node));
        self.record_offer(&derived, &path).await?;
        let context = context(ring, &binding);
        let table = Table::Seal as u8;
        let within = opened
            .barrier()
            .seal_value(RING, table, &context, root.expose(), &mut OsEntropy)?;
        let sealed = seal_to(&met.says.public, &context, &within, &mut OsEntropy)?;
        let offer = Offer {
            from_nonce: binding.from_nonce,
            generation: binding.generation,
            epoch: binding.epoch,
            sealed: &sealed,
        };
        Ok(offer.encode())
    }

    /// Takes the keys of a ring that member `from` offers, in the epoch of the ring it was made in.
    async fn take_ring_offer(&self, from: u64, ring: u16, payload: &[u8]) -> Result<(), Error> {
        let offer = Offer::decode(payload).ok_or_else(|| Error::invalid("an offer does not decode"))?;
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        let (opened, derived) = session.view(replica.read().await?)?;
        let row = ring_rows::ring(opened.view(), ring)?;
        if row.is_none_or(|(row, _)| row.epoch != offer.epoch) {
            return Err(Error::invalid(
                "the namespace was sealed after this offer was made",
            ));
        }
        let binding = Binding {
            barrier: session.barrier_id(),
            from,
            to: replica.node_id(),
            from_nonce: offer.from_nonce,
            to_nonce: self.seal.boot(),
            incarnation: replica.next_origin().incarnation,
            generation: offer.generation,
            epoch: offer.epoch,
        };
        let recipient = self.seal.recipient.lock().clone();
        let recipient = recipient.ok_or_else(|| Error::invalid("this start of the node gave out no key"))?;
        let context = context(ring, &binding);
        let within = recipient.open(&context, offer.sealed)?;
        let root = opened
            .barrier()
            .open_value(Table::Seal as u8, &context, within.expose())?;
        let root = RootKey::from_slice(root.expose())?;
        let path = record_path(ring, &format!("unseal/offer/from-node/{from}"));
        self.record_offer(&derived, &path).await?;
        drop(opened);
        match session.take_ring(replica.read().await?, ring, &root)? {
            true => Ok(()),
            false => Err(Error::Contention),
        }
    }
}

/// What both ends of an offer must agree on.
fn context(ring: u16, binding: &Binding) -> Vec<u8> {
    [OFFER_PURPOSE, ring.to_be_bytes().as_slice(), &binding.context()].concat()
}
