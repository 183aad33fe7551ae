//! The root key on its way from an open member to a sealed one. The sealed one introduces itself; the open one checks it
//! against the register as it is now, and seals the key to it so that nobody else, no other start of it, and no other state
//! of the cluster can take it. Both record it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::future::join_all;

use conclave_barrier::{BarrierId, RootKey, SecretBytes, seal_to};
use conclave_engine_api::Env;
use conclave_raft::state::{registered_node, registered_nodes};
use conclave_raft::{PeerCall, View};
use serde_json::Map;

use crate::audit::{Head, Record, Taken};
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::seal::ceremony::CATCH_UP;
use crate::seal::introduction::{Introduction, Received};
use crate::seal::keys::{By, sealed_on_purpose};
use crate::seal::peers::{ASK, OFFER};
use crate::seal::{PeerUnseal, rows};
use crate::session::{Derived, Session};

/// How long a member that was not reached is tried again after a ceremony.
const OFFER_TRIES: u32 = 20;
/// Pause between those tries.
const OFFER_PAUSE: Duration = Duration::from_millis(500);
const PURPOSE: &[u8] = b"conclave root key for a member 2\0";
const FORMAT: u8 = 1;

/// Starts of nodes as the register knows them: incarnation by node id.
pub(super) type Starts = BTreeMap<u64, u64>;

/// Everything that both ends of an offer must agree on.
pub(super) struct Binding {
    pub barrier: BarrierId,
    pub from: u64,
    pub to: u64,
    pub from_nonce: [u8; 16],
    pub to_nonce: [u8; 16],
    /// Which start of the receiver it is for.
    pub incarnation: u64,
    /// Generation of the keyring that the key opens.
    pub generation: u64,
    /// The seal epoch in which it was offered.
    pub epoch: u64,
}

impl Binding {
    pub fn context(&self) -> Vec<u8> {
        let numbers = [self.from, self.to, self.incarnation, self.generation, self.epoch];
        let numbers = numbers.map(u64::to_be_bytes);
        [
            PURPOSE,
            self.barrier.as_bytes().as_slice(),
            numbers.as_flattened(),
            &self.from_nonce,
            &self.to_nonce,
        ]
        .concat()
    }
}

/// An offer on the wire: `format u8 | nonce of the sender 16 | generation u64 | epoch u64 | sealed root key`.
pub(super) struct Offer<'o> {
    pub from_nonce: [u8; 16],
    pub generation: u64,
    pub epoch: u64,
    pub sealed: &'o [u8],
}

impl<'o> Offer<'o> {
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(FORMAT);
        out.put_slice(&self.from_nonce);
        out.put_u64(self.generation);
        out.put_u64(self.epoch);
        out.put_slice(self.sealed);
        out.freeze()
    }

    pub fn decode(bytes: &'o [u8]) -> Option<Self> {
        let (&format, rest) = bytes.split_first()?;
        let (from_nonce, rest) = rest.split_first_chunk::<16>()?;
        let (generation, rest) = rest.split_first_chunk::<8>()?;
        let (epoch, sealed) = rest.split_first_chunk::<8>()?;
        (format == FORMAT).then_some(Self {
            from_nonce: *from_nonce,
            generation: u64::from_be_bytes(*generation),
            epoch: u64::from_be_bytes(*epoch),
            sealed,
        })
    }
}

impl Core {
    /// The starts that are registered now.
    pub(super) fn registered_starts(&self, view: &View) -> Result<Starts, Error> {
        let nodes = registered_nodes(view)?.into_iter();
        Ok(nodes.map(|node| (node.id, node.incarnation)).collect())
    }

    /// After a ceremony: offers the root key to every sealed member, for a while also to those that cannot be reached at
    /// once. `eligible` are the starts that were registered when the last share was given.
    pub(super) fn offer_root_key(self: &Arc<Self>, eligible: Starts) {
        if self.settings.peer_unseal == PeerUnseal::Off {
            return;
        }
        let core = Arc::downgrade(self);
        let mut waiting = self.others();
        tokio::spawn(async move {
            for _ in 0..OFFER_TRIES {
                let Some(core) = core.upgrade() else { return };
                if core.seal.is_sealed() {
                    return;
                }
                let offered = join_all(waiting.iter().map(|node| core.offer_to(*node, &eligible))).await;
                let mut left = Vec::new();
                for (node, offered) in waiting.iter().zip(offered) {
                    if let Err(error) = offered {
                        tracing::debug!(node, %error, "a member was not offered the root key yet");
                        left.push(*node);
                    }
                }
                waiting = left;
                if waiting.is_empty() {
                    return;
                }
                drop(core);
                tokio::time::sleep(OFFER_PAUSE).await;
            }
        });
    }

    /// Offers the root key to one member; nothing is to be done about one that is open or will not have it.
    async fn offer_to(&self, node: u64, eligible: &Starts) -> Result<(), Error> {
        let met = self.greet(node).await?;
        let says = &met.says;
        if !says.sealed || says.marked || says.peer_unseal == PeerUnseal::Off {
            return Ok(());
        }
        let always = self.settings.peer_unseal.min(says.peer_unseal) == PeerUnseal::Always;
        if !always && eligible.get(&node) != Some(&says.incarnation) {
            tracing::info!(
                node,
                incarnation = says.incarnation,
                "a member started after the last share was given: it needs shares of its own"
            );
            return Ok(());
        }
        let payload = self.make_offer(&met).await?;
        let call = PeerCall { kind: OFFER, payload };
        self.seal.replica()?.call_peer(node, call).await?;
        Ok(())
    }

    /// A sealed member asks to be opened. Only where both nodes say `always`.
    pub(super) async fn answer_ask(&self, from: u64, introduction: &[u8]) -> Result<Bytes, Error> {
        let met = self.meet(from, introduction)?;
        if self.settings.peer_unseal.min(met.says.peer_unseal) != PeerUnseal::Always {
            return Err(Error::invalid("peer_unseal is not \"always\" on both nodes"));
        }
        if met.says.marked {
            return Err(sealed_on_purpose());
        }
        self.make_offer(&met).await
    }

    /// Seals the root key to a member, if it is one by the register as it is now, in the start it says it is in.
    async fn make_offer(&self, met: &Received) -> Result<Bytes, Error> {
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        let view = replica.read().await?;
        let (opened, derived) = session.view(view)?;
        let says = &met.says;
        self.check_start(opened.view(), met)?;
        let binding = Binding {
            barrier: session.barrier_id(),
            from: replica.node_id(),
            to: says.node,
            from_nonce: self.seal.boot(),
            to_nonce: says.nonce,
            incarnation: says.incarnation,
            generation: opened.barrier().keyring().generation(),
            epoch: session.seal_epoch(),
        };
        let path = format!("sys/unseal/offer/to-node/{}", says.node);
        self.record_offer(&derived, &path).await?;
        let root = SecretBytes::copy_of(session.root().expose());
        let sealed = seal_to(&says.public, &binding.context(), root.expose(), &mut OsEntropy)?;
        tracing::info!(
            to = says.node,
            incarnation = says.incarnation,
            "the root key is offered to a member"
        );
        let offer = Offer {
            from_nonce: binding.from_nonce,
            generation: binding.generation,
            epoch: binding.epoch,
            sealed: &sealed,
        };
        Ok(offer.encode())
    }

    /// Refuses who is no member by the register, or not in the start that is registered.
    pub(super) fn check_start(&self, view: &View, met: &Received) -> Result<(), Error> {
        let says = &met.says;
        let registered = registered_node(view, says.node)?;
        let registered =
            registered.filter(|node| node.record.key_hash == met.key_hash && self.is_member(says.node));
        let registered = registered.ok_or_else(|| Error::invalid("who asks is no member"))?;
        if registered.incarnation == says.incarnation {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "this start of the member ({}) is not the registered one ({})",
            says.incarnation, registered.incarnation
        )))
    }

    fn is_member(&self, node: u64) -> bool {
        self.others().contains(&node)
    }

    /// Takes the root key that member `from` offers: on a view as new as the offer, in the epoch it was made in.
    pub(super) async fn take_offer(&self, from: u64, payload: &[u8]) -> Result<(), Error> {
        if !self.seal.is_sealed() {
            return Ok(());
        }
        if self.seal.is_marked() {
            return Err(sealed_on_purpose());
        }
        if self.settings.peer_unseal == PeerUnseal::Off {
            return Err(Error::invalid(
                "this node takes no offers: peer_unseal is \"off\"",
            ));
        }
        let offer = Offer::decode(payload).ok_or_else(|| Error::invalid("an offer does not decode"))?;
        let replica = self.seal.replica()?;
        let view = tokio::time::timeout(CATCH_UP, replica.read())
            .await
            .map_err(|_| Error::NoLeader("this node does not catch up in time".to_owned()))??;
        let epoch = rows::seal_epoch(&view)?;
        if epoch != offer.epoch {
            return Err(Error::invalid("the cluster was sealed after this offer was made"));
        }
        let binding = Binding {
            barrier: rows::barrier_id(&view)?,
            from,
            to: replica.node_id(),
            from_nonce: offer.from_nonce,
            to_nonce: self.seal.boot(),
            incarnation: replica.next_origin().incarnation,
            generation: offer.generation,
            epoch,
        };
        let recipient = self.seal.recipient.lock().clone();
        let recipient = recipient.ok_or_else(|| Error::invalid("this start of the node gave out no key"))?;
        let root = recipient.open(&binding.context(), offer.sealed)?;
        let session = Session::open(view.clone(), RootKey::from_slice(root.expose())?)?;
        let (opened, derived) = session.view(view)?;
        if opened.barrier().keyring().generation() < offer.generation {
            return Err(Error::invalid(
                "this node does not have the keyring of the offer yet",
            ));
        }
        drop(opened);
        let path = format!("sys/unseal/offer/from-node/{from}");
        self.record_offer(&derived, &path).await?;
        self.open(session, By::Offer)
    }

    /// Asks the members, one after the other, to open this node.
    pub(super) async fn ask_members(&self) -> Result<(), Error> {
        let replica = self.seal.replica()?;
        let mut last = Error::NoLeader("no member is known".to_owned());
        for node in self.others() {
            let call = PeerCall {
                kind: ASK,
                payload: self.introduce(node)?,
            };
            let asked = match replica.call_peer(node, call).await {
                Ok(offer) => self.take_offer(node, &offer).await,
                Err(error) => Err(error.into()),
            };
            match asked {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Leaves a record of an offer on this node's audit devices. Without one that takes it, no key moves.
    pub(super) async fn record_offer(&self, derived: &Derived, path: &str) -> Result<(), Error> {
        let devices = self.audit.follow(derived)?;
        let request_id = Env::new(0, &mut OsEntropy).uuid();
        let head = Head::step(&request_id, self.seal.now(), path, None);
        let mut taken = Taken::default();
        devices.record(&Record::request(head, &Map::new()), &mut taken)?;
        devices.settle(taken).await
    }

    /// This node as it introduces itself to member `to`.
    pub(super) fn introduce(&self, to: u64) -> Result<Bytes, Error> {
        let replica = self.seal.replica()?;
        let generation = self.seal.session().map_or(0, |session| session.generation());
        let says = Introduction {
            node: replica.node_id(),
            sealed: self.seal.is_sealed(),
            marked: self.seal.is_marked(),
            peer_unseal: self.settings.peer_unseal,
            public: *self.seal.recipient()?.public(),
            nonce: self.seal.boot(),
            incarnation: replica.next_origin().incarnation,
            generation,
        };
        says.encode(&self.cluster()?, to, |message| self.launcher.sign(message))
    }

    /// Reads how member `from` introduces itself to this node.
    pub(super) fn meet(&self, from: u64, introduction: &[u8]) -> Result<Received, Error> {
        let replica = self.seal.replica()?;
        let met = Introduction::decode(introduction, &self.cluster()?, replica.node_id())?;
        if met.says.node == from {
            Ok(met)
        } else {
            Err(Error::invalid("a member introduces itself as another"))
        }
    }

    fn cluster(&self) -> Result<[u8; 16], Error> {
        let membership = self.launcher.membership()?;
        membership
            .map(|membership| membership.cluster_id)
            .ok_or(Error::NotInitialized)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding() -> Binding {
        Binding {
            barrier: BarrierId::from_slice(&[1; 16]).unwrap(),
            from: 1,
            to: 2,
            from_nonce: [3; 16],
            to_nonce: [4; 16],
            incarnation: 5,
            generation: 6,
            epoch: 7,
        }
    }

    #[test]
    fn every_part_of_the_binding_counts() {
        let changes: [fn(&mut Binding); 8] = [
            |binding| binding.barrier = BarrierId::from_slice(&[9; 16]).unwrap(),
            |binding| binding.from = 9,
            |binding| binding.to = 9,
            |binding| binding.from_nonce = [9; 16],
            |binding| binding.to_nonce = [9; 16],
            |binding| binding.incarnation = 9,
            |binding| binding.generation = 9,
            |binding| binding.epoch = 9,
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let mut other = binding();
            change(&mut other);
            assert_ne!(binding().context(), other.context(), "part {at}");
        }
    }

    #[test]
    fn offers_survive_the_wire() {
        let sent = Offer {
            from_nonce: [1; 16],
            generation: 2,
            epoch: 3,
            sealed: &[4; 5],
        }
        .encode();
        let read = Offer::decode(&sent).unwrap();
        assert_eq!(
            (read.from_nonce, read.generation, read.epoch, read.sealed),
            ([1; 16], 2, 3, [4u8; 5].as_slice())
        );
        assert!(Offer::decode(&sent[..32]).is_none());
        let mut other = sent.to_vec();
        other[0] = 2;
        assert!(Offer::decode(&other).is_none());
    }
}
