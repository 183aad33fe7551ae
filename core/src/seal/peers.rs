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

const HELLO: u16 = 1;
const SHARE: u16 = 2;
const OFFER: u16 = 3;

/// How long handing a share on may hold up the operator who gave it.
const HAND_ON: Duration = Duration::from_secs(2);
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
                SHARE => core.receive_share(from, &call.payload).await,
                OFFER => core.receive_offer(from, &call.payload),
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

    async fn receive_share(self: &Arc<Self>, from: u64, payload: &[u8]) -> Result<Bytes, Error> {
        let opened = self.open_message(SHARE, from, payload)?;
        let (nonce, share) = opened
            .expose()
            .split_first_chunk::<{ ShareProgress::NONCE_LEN }>()
            .ok_or_else(|| Error::invalid("a share from a member is too short"))?;
        self.take_share(SecretBytes::copy_of(share), *nonce).await?;
        Ok(Bytes::new())
    }

    fn receive_offer(&self, from: u64, payload: &[u8]) -> Result<Bytes, Error> {
        let opened = self.open_message(OFFER, from, payload)?;
        self.open_with(RootKey::from_slice(opened.expose())?)?;
        *self.seal.progress.lock() = None;
        Ok(Bytes::new())
    }

    fn open_message(&self, kind: u16, from: u64, payload: &[u8]) -> Result<SecretBytes, Error> {
        let to = self.seal.replica()?.node_id();
        let recipient = self.seal.recipient.lock().clone();
        let recipient = recipient.ok_or_else(|| Error::invalid("this start of the node gave out no key"))?;
        Ok(recipient.open(&context(kind, from, to), payload)?)
    }

    /// Hands a share on to every sealed member that answers soon.
    pub(super) async fn hand_share_on(&self, share: &SecretBytes, nonce: [u8; ShareProgress::NONCE_LEN]) {
        let message = SecretBytes::new([&nonce, share.expose()].concat());
        let sent = join_all(
            self.others()
                .into_iter()
                .map(|node| self.send_sealed(node, SHARE, &message)),
        );
        if tokio::time::timeout(HAND_ON, sent).await.is_err() {
            tracing::info!("a member did not take the share in time");
        }
    }

    /// Offers the root key to every sealed member, for a while also to those that cannot be reached at once.
    pub(super) fn offer_root_key(self: &Arc<Self>) {
        let core = Arc::downgrade(self);
        tokio::spawn(async move {
            for _ in 0..OFFER_TRIES {
                let Some(core) = core.upgrade() else { return };
                let Ok(session) = core.seal.session() else { return };
                let message = SecretBytes::copy_of(session.root().expose());
                drop(session);
                let sent = join_all(
                    core.others()
                        .into_iter()
                        .map(|node| core.send_sealed(node, OFFER, &message)),
                );
                if sent.await.iter().all(Result::is_ok) {
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
        let hello = replica
            .call_peer(
                node,
                PeerCall {
                    kind: HELLO,
                    payload: Bytes::new(),
                },
            )
            .await?;
        let hello: Hello = decode(&hello)?;
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
