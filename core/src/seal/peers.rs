//! What members say to each other about keys: who is sealed, shares handed on, root keys offered and asked for. Everything
//! secret is sealed to the recipient's key of this start, inside the authenticated channel.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};

use conclave_barrier::{SecretBytes, ShareProgress, seal_to};
use conclave_raft::{PeerCall, PeerHandler};

use crate::anomaly;
use crate::autopilot;
use crate::core::Core;
use crate::divergence::{HOLD, TELL};
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::members::CHANGE;
use crate::quota::SLICE;
use crate::seal::gather::{Held, Nonce, Origin};
use crate::seal::introduction::Received;
use crate::sys::WAITING;
use crate::trail::Step;

// 1 and 3 were a greeting and an offer that no build speaks any more; 4 is `CHANGE`, 9 `WAITING`, 10 `HOLD`, 11 `TELL`, 12 `SLICE`,
// 32 and 33 those of `anomaly`, 40 that of `autopilot`.
const SHARE: u16 = 2;
const RESET: u16 = 5;
const GREET: u16 = 6;
/// The root key for a sealed member.
pub(super) const OFFER: u16 = 7;
/// A sealed member asks to be opened; answered with an offer.
pub(super) const ASK: u16 = 8;
/// A share of a namespace's seal, handed on.
pub(super) const RING_SHARE: u16 = 16;
/// The shares given for a namespace are to be forgotten.
pub(super) const RING_RESET: u16 = 17;
/// A member asks for the keys of a namespace; answered with an offer.
pub(super) const RING_ASK: u16 = 18;
/// Whether a member holds no keys of a namespace but those of a generation.
pub(super) const RING_FOLLOW: u16 = 19;

const SHARE_PURPOSE: &[u8] = b"conclave share from a member 2\0";

/// How long handing a share on may hold up the operator who gave it.
const HAND_ON: Duration = Duration::from_secs(2);
/// How often a member is tried meanwhile: one that has just joined or restarted may refuse the first connection.
const HAND_ON_TRIES: u32 = 4;
/// Pause between those tries.
const HAND_ON_PAUSE: Duration = Duration::from_millis(100);

/// Whether shares open anybody, once there are enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needed {
    /// A member is sealed.
    Yes,
    /// None says so, but not all answer.
    Perhaps,
    /// All are open.
    No,
}

/// Answers members' calls for one node.
pub struct Peers {
    core: Weak<Core>,
}

impl Peers {
    /// For this node.
    pub fn new(core: &Arc<Core>) -> Self {
        Self {
            core: Arc::downgrade(core),
        }
    }
}

impl PeerHandler for Peers {
    fn handle(&self, from: u64, call: PeerCall) -> BoxFuture<'_, Result<Bytes, conclave_raft::Error>> {
        Box::pin(async move {
            let core = self
                .core
                .upgrade()
                .ok_or_else(|| refused(from, "the node is stopping"))?;
            let answered = match call.kind {
                GREET => core.introduce(from),
                SHARE => core.receive_share(from, &call.payload).await,
                OFFER => core.take_offer(from, &call.payload).await.map(|()| Bytes::new()),
                ASK => core.answer_ask(from, &call.payload).await,
                RESET => core.receive_reset(&call.payload),
                RING_SHARE => core.receive_ring_share(from, &call.payload).await,
                RING_RESET => core.receive_ring_reset(&call.payload),
                RING_ASK => core.answer_ring_ask(from, &call.payload).await,
                RING_FOLLOW => core.tell_ring_follows(&call.payload),
                CHANGE => core.receive_change(&call.payload).await,
                WAITING => core.tell_waiting(),
                HOLD => core.receive_hold(&call.payload),
                TELL => core.receive_tell(&call.payload),
                SLICE => core.receive_ask(from, &call.payload),
                autopilot::STATE => core.receive_state(),
                anomaly::SUMMARY => core.receive_summary(from, &call.payload).await,
                anomaly::ASK => core.receive_question(&call.payload).await,
                kind => Err(Error::Unsupported(format!("message {kind} of a member"))),
            };
            answered.map_err(|error| refused(from, &error.to_string()))
        })
    }

    fn willing_to_lead(&self) -> bool {
        self.core.upgrade().is_some_and(|core| core.may_lead())
    }
}

fn refused(node: u64, detail: &str) -> conclave_raft::Error {
    conclave_raft::Error::Peer {
        node,
        detail: detail.to_owned(),
    }
}

impl Core {
    /// A member counted a share; so does this node, sealed or not, that progress be the cluster's.
    async fn receive_share(self: &Arc<Self>, from: u64, payload: &[u8]) -> Result<Bytes, Error> {
        let opened = self.open_from(from, SHARE_PURPOSE, payload)?;
        let (name, share) = opened
            .expose()
            .split_first_chunk::<{ ShareProgress::NONCE_LEN }>()
            .ok_or_else(|| Error::invalid("a share from a member is too short"))?;
        self.take_share(from, SecretBytes::copy_of(share), *name).await?;
        Ok(Bytes::new())
    }

    /// Opens what member `from` has sealed to this start of the node for a purpose.
    pub(super) fn open_from(&self, from: u64, purpose: &[u8], sealed: &[u8]) -> Result<SecretBytes, Error> {
        let to = self.seal.replica()?.node_id();
        let recipient = self.seal.recipient.lock().clone();
        let recipient = recipient.ok_or_else(|| Error::invalid("this start of the node gave out no key"))?;
        Ok(recipient.open(&share_context(purpose, from, to), sealed)?)
    }

    /// Counts a share that a member handed on, and leaves a record of it: nobody asked this node for it. A share that
    /// changes nothing leaves none, for members hand on all they have whenever one is given.
    async fn take_share(self: &Arc<Self>, from: u64, share: SecretBytes, name: Nonce) -> Result<(), Error> {
        let seal = self.newest_seal().await;
        let wanted = match &seal {
            Ok(seal) => self.seal.gathering.lock().wants(seal.epoch, &share, name),
            Err(_) => true,
        };
        let path = format!("sys/unseal/share/from-node/{from}");
        let step = match wanted {
            true => Some(Step::begin(self, &path, None)?),
            false => None,
        };
        let counted = match seal {
            Ok(seal) => self.count_share(&seal, share, Origin::Member(name)).await,
            Err(error) => Err(error),
        };
        let counted = counted.map(|_| ());
        match step {
            Some(step) => step.end(counted, &self.unseal_told()).await,
            None => counted,
        }
    }

    fn receive_reset(&self, names: &[u8]) -> Result<Bytes, Error> {
        let (names, rest) = names.as_chunks::<{ ShareProgress::NONCE_LEN }>();
        if !rest.is_empty() {
            return Err(Error::invalid("a member's message does not decode"));
        }
        let mut gathering = self.seal.gathering.lock();
        gathering.end();
        gathering.drop_late(names);
        Ok(Bytes::new())
    }

    /// Hands shares on to every member that answers soon.
    pub(super) async fn hand_shares_on(&self, held: &Held) {
        let message = |share: &SecretBytes| SecretBytes::new([&held.nonce, share.expose()].concat());
        let messages: Vec<SecretBytes> = held.shares.iter().map(message).collect();
        self.hand_on(SHARE, SHARE_PURPOSE, &messages).await;
    }

    /// Sends messages to every member that answers soon, each sealed to its present start.
    pub(super) async fn hand_on(&self, kind: u16, purpose: &[u8], messages: &[SecretBytes]) {
        let sent = join_all(self.others().into_iter().map(async |node| {
            let mut last = self.send_sealed(node, kind, purpose, messages).await;
            for _ in 1..HAND_ON_TRIES {
                if last.is_ok() {
                    break;
                }
                tokio::time::sleep(HAND_ON_PAUSE).await;
                last = self.send_sealed(node, kind, purpose, messages).await;
            }
            last
        }));
        match tokio::time::timeout(HAND_ON, sent).await {
            Ok(sent) => {
                for error in sent.into_iter().filter_map(Result::err) {
                    tracing::info!(%error, "a member did not take the share");
                }
            }
            Err(_) => tracing::info!("a member did not take the share in time"),
        }
    }

    async fn send_sealed(
        &self,
        node: u64,
        kind: u16,
        purpose: &[u8],
        messages: &[SecretBytes],
    ) -> Result<(), Error> {
        let replica = self.seal.replica()?;
        let met = self.greet(node).await?;
        let context = share_context(purpose, replica.node_id(), node);
        for message in messages {
            let sealed = seal_to(&met.says.public, &context, message.expose(), &mut OsEntropy)?;
            let call = PeerCall {
                kind,
                payload: sealed.into(),
            };
            replica.call_peer(node, call).await?;
        }
        Ok(())
    }

    /// Whether a member holds no keys, as far as they answer soon.
    pub(super) async fn shares_needed(&self) -> Needed {
        let ask = |node| tokio::time::timeout(HAND_ON, self.greet(node));
        let asked = join_all(self.others().into_iter().map(ask)).await;
        let told: Vec<_> = asked.into_iter().map(|told| told.ok()?.ok()).collect();
        if told.iter().flatten().any(|met| met.says.sealed) {
            return Needed::Yes;
        }
        match told.iter().any(Option::is_none) {
            true => Needed::Perhaps,
            false => Needed::No,
        }
    }

    /// Whether every other member answers and is sealed, or has opened a keyring of at least this generation.
    pub(crate) async fn all_follow(&self, generation: u64) -> bool {
        let asked = join_all(self.others().into_iter().map(|node| self.greet(node)));
        let follows = |met: &Received| met.says.sealed || met.says.generation >= generation;
        match tokio::time::timeout(HAND_ON, asked).await {
            Ok(met) => met.iter().all(|met| met.as_ref().is_ok_and(follows)),
            Err(_) => false,
        }
    }

    /// Tells all members that answer soon to forget the shares given so far.
    pub(super) async fn tell_reset(&self, names: &[Nonce]) {
        let Ok(replica) = self.seal.replica() else { return };
        let call = PeerCall {
            kind: RESET,
            payload: Bytes::copy_from_slice(names.as_flattened()),
        };
        let told = join_all(
            self.others()
                .into_iter()
                .map(|node| replica.call_peer(node, call.clone())),
        );
        if tokio::time::timeout(HAND_ON, told).await.is_err() {
            tracing::info!("a member was not told in time that the shares are to be forgotten");
        }
    }

    /// Asks a member to introduce itself.
    pub(super) async fn greet(&self, node: u64) -> Result<Received, Error> {
        let replica = self.seal.replica()?;
        let call = PeerCall {
            kind: GREET,
            payload: Bytes::new(),
        };
        let met = self.meet(node, &replica.call_peer(node, call).await?)?;
        let recorded = replica.status().borrow().members.iter().any(|member| {
            // What the channel proved already, for a secret is about to be sealed to what was said.
            member.id == node && member.record.key_hash == met.key_hash
        });
        match recorded {
            true => Ok(met),
            false => Err(Error::invalid("a member's introduction is signed by another")),
        }
    }

    /// All members but this one.
    pub(crate) fn others(&self) -> Vec<u64> {
        let Ok(replica) = self.seal.replica() else {
            return Vec::new();
        };
        let own = replica.node_id();
        let status = replica.status().borrow().clone();
        status
            .members
            .iter()
            .map(|member| member.id)
            .filter(|id| *id != own)
            .collect()
    }
}

/// Binds a share to its purpose, sender and receiver.
fn share_context(purpose: &[u8], from: u64, to: u64) -> Vec<u8> {
    [purpose, &from.to_be_bytes(), &to.to_be_bytes()].concat()
}
