//! What sealed and unsealed members say to each other: shares handed on, root keys offered. Everything secret is sealed to
//! the recipient's key of this start, inside the authenticated channel.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use serde::{Deserialize, Serialize};

use conclave_barrier::{Recipient, RootKey, SecretBytes, ShareProgress, seal_to};
use conclave_raft::{PeerCall, PeerHandler};

use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::members::CHANGE;
use crate::seal::ceremony::Held;

const HELLO: u16 = 1;
const SHARE: u16 = 2;
const OFFER: u16 = 3;
const RESET: u16 = 5;

/// How long handing a share on may hold up the operator who gave it.
const HAND_ON: Duration = Duration::from_secs(2);
/// How often a member is tried meanwhile: one that has just joined or restarted may refuse the first connection.
const HAND_ON_TRIES: u32 = 4;
/// Pause between those tries.
const HAND_ON_PAUSE: Duration = Duration::from_millis(100);
/// How long a member that was not reached is tried again after a ceremony.
const OFFER_TRIES: u32 = 20;
/// Pause between those tries.
const OFFER_PAUSE: Duration = Duration::from_millis(500);

/// What a member says of itself.
#[derive(Serialize, Deserialize)]
struct Hello {
    sealed: bool,
    /// Public key to which this start of the node is sent secrets, hexadecimal.
    public: String,
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
                HELLO => core.hello(),
                SHARE => core.receive_share(from, &call.payload),
                OFFER => core.receive_offer(from, &call.payload),
                RESET => {
                    core.forget_shares();
                    Ok(Bytes::new())
                }
                CHANGE => core.receive_change(&call.payload).await,
                kind => Err(Error::Unsupported(format!("message {kind} of a member"))),
            };
            answered.map_err(|error| refused(from, &error.to_string()))
        })
    }

    fn willing_to_lead(&self) -> bool {
        self.core.upgrade().is_some_and(|core| !core.seal.is_sealed())
    }
}

fn refused(node: u64, detail: &str) -> conclave_raft::Error {
    conclave_raft::Error::Peer {
        node,
        detail: detail.to_owned(),
    }
}

impl Core {
    fn hello(&self) -> Result<Bytes, Error> {
        let recipient = {
            let mut slot = self.seal.recipient.lock();
            match slot.as_ref() {
                Some(known) => known.clone(),
                None => {
                    let fresh = Arc::new(Recipient::new(&mut OsEntropy)?);
                    *slot = Some(fresh.clone());
                    fresh
                }
            }
        };
        let hello = Hello {
            sealed: self.seal.is_sealed(),
            public: hex::encode(recipient.public()),
        };
        encode(&hello)
    }

    fn receive_share(self: &Arc<Self>, from: u64, payload: &[u8]) -> Result<Bytes, Error> {
        let opened = self.open_message(SHARE, from, payload)?;
        let (nonce, share) = opened
            .expose()
            .split_first_chunk::<{ ShareProgress::NONCE_LEN }>()
            .ok_or_else(|| Error::invalid("a share from a member is too short"))?;
        if self.seal.is_sealed() {
            self.take_share(SecretBytes::copy_of(share), *nonce)?;
        }
        if !self.seal.is_sealed() {
            // Opened meanwhile: what came late is not the beginning of another ceremony.
            self.forget_shares();
        }
        Ok(Bytes::new())
    }

    fn receive_offer(&self, from: u64, payload: &[u8]) -> Result<Bytes, Error> {
        let opened = self.open_message(OFFER, from, payload)?;
        self.open_with(RootKey::from_slice(opened.expose())?)?;
        Ok(Bytes::new())
    }

    fn open_message(&self, kind: u16, from: u64, payload: &[u8]) -> Result<SecretBytes, Error> {
        let to = self.seal.replica()?.node_id();
        let recipient = self.seal.recipient.lock().clone();
        let recipient = recipient.ok_or_else(|| Error::invalid("this start of the node gave out no key"))?;
        Ok(recipient.open(&context(kind, from, to), payload)?)
    }

    /// Hands shares on to every sealed member that answers soon.
    pub(super) async fn hand_shares_on(&self, held: &Held) {
        let seal = |share: &SecretBytes| SecretBytes::new([&held.nonce, share.expose()].concat());
        let messages: Vec<SecretBytes> = held.shares.iter().map(seal).collect();
        let messages = messages.as_slice();
        let sent = join_all(self.others().into_iter().map(async |node| {
            let mut last = self.send_shares(node, messages).await;
            for _ in 1..HAND_ON_TRIES {
                if last.is_ok() {
                    break;
                }
                tokio::time::sleep(HAND_ON_PAUSE).await;
                last = self.send_shares(node, messages).await;
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

    async fn send_shares(&self, node: u64, messages: &[SecretBytes]) -> Result<(), Error> {
        for message in messages {
            self.send_sealed(node, SHARE, message).await?;
        }
        Ok(())
    }

    /// Whether a member that answers soon holds no keys.
    pub(super) async fn finds_sealed_member(&self) -> bool {
        let asked = join_all(self.others().into_iter().map(|node| self.greet(node)));
        match tokio::time::timeout(HAND_ON, asked).await {
            Ok(hellos) => hellos.into_iter().flatten().any(|hello| hello.sealed),
            Err(_) => true,
        }
    }

    /// Tells all members that answer soon to forget the shares given so far.
    pub(super) async fn tell_reset(&self) {
        let Ok(replica) = self.seal.replica() else { return };
        let call = PeerCall {
            kind: RESET,
            payload: Bytes::new(),
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

    /// Offers the root key to every sealed member, for a while also to those that cannot be reached at once. Nobody who
    /// had the offer gets another: it may have been sealed again on purpose.
    pub(super) fn offer_root_key(self: &Arc<Self>) {
        let core = Arc::downgrade(self);
        let mut waiting = self.others();
        tokio::spawn(async move {
            for _ in 0..OFFER_TRIES {
                let Some(core) = core.upgrade() else { return };
                let Ok(session) = core.seal.session() else { return };
                let message = SecretBytes::copy_of(session.root().expose());
                drop(session);
                let offered = waiting
                    .iter()
                    .map(|node| core.send_sealed(*node, OFFER, &message));
                let offered = join_all(offered).await;
                let left = waiting.iter().zip(&offered).filter(|(_, sent)| sent.is_err());
                waiting = left.map(|(node, _)| *node).collect();
                if waiting.is_empty() {
                    return;
                }
                drop(core);
                tokio::time::sleep(OFFER_PAUSE).await;
            }
        });
    }

    /// Sends a secret to a member, unless it is unsealed already.
    async fn send_sealed(&self, node: u64, kind: u16, message: &SecretBytes) -> Result<(), Error> {
        let replica = self.seal.replica()?;
        let hello = self.greet(node).await?;
        if !hello.sealed {
            return Ok(());
        }
        let public =
            hex::decode(&hello.public).map_err(|_| Error::invalid("a member's key is no hexadecimal"))?;
        let public =
            <[u8; 32]>::try_from(public).map_err(|_| Error::invalid("a member's key has another length"))?;
        let sealed = seal_to(
            &public,
            &context(kind, replica.node_id(), node),
            message.expose(),
            &mut OsEntropy,
        )?;
        replica
            .call_peer(
                node,
                PeerCall {
                    kind,
                    payload: sealed.into(),
                },
            )
            .await?;
        Ok(())
    }

    /// Asks a member what it says of itself.
    async fn greet(&self, node: u64) -> Result<Hello, Error> {
        let call = PeerCall {
            kind: HELLO,
            payload: Bytes::new(),
        };
        decode(&self.seal.replica()?.call_peer(node, call).await?)
    }

    fn others(&self) -> Vec<u64> {
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

/// Binds a message to its kind, sender and receiver.
fn context(kind: u16, from: u64, to: u64) -> Vec<u8> {
    [
        b"conclave member message v1".as_slice(),
        &kind.to_be_bytes(),
        &from.to_be_bytes(),
        &to.to_be_bytes(),
    ]
    .concat()
}

fn encode<T: Serialize>(message: &T) -> Result<Bytes, Error> {
    serde_json::to_vec(message)
        .map(Bytes::from)
        .map_err(|_| Error::internal("a message does not encode"))
}

fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|_| Error::invalid("a member's message does not decode"))
}
