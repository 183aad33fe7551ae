//! Unsealing and sealing. Shares given to any node count for the cluster: a node hands each on to the members it reaches,
//! and the one that completes them offers the root key to the others.

use std::sync::Arc;

use base64::Engine as _;

use conclave_barrier::{
    Entropy as _, Error as BarrierError, Given, RootKey, SealConfig, SecretBytes, ShareProgress,
};
use conclave_raft::Change;

use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::seal::rows;
use crate::session::Session;

/// The shares given in one ceremony.
pub(super) struct Held {
    /// Names the ceremony.
    pub nonce: [u8; ShareProgress::NONCE_LEN],
    /// The shares.
    pub shares: Vec<SecretBytes>,
}

impl Core {
    /// Takes one share as an operator gives it, in hexadecimal or base64, and hands all that were given on to the members:
    /// one that was not reached before, or joined since, catches up.
    pub async fn give_share(self: &Arc<Self>, text: &str) -> Result<(), Error> {
        let share = decode_share(text)?;
        let mut nonce = [0u8; ShareProgress::NONCE_LEN];
        OsEntropy.fill(&mut nonce);
        let held = self.take_share(share, nonce)?;
        self.hand_shares_on(&held).await;
        if !self.seal.is_sealed() && !self.finds_sealed_member().await {
            // It was given to open others, and they are open: nothing may be left over for another time.
            self.forget_shares();
        }
        Ok(())
    }

    /// Counts one share. `nonce` names the ceremony if this share begins one. Returns all that were given in it.
    pub(super) fn take_share(
        self: &Arc<Self>,
        share: SecretBytes,
        nonce: [u8; ShareProgress::NONCE_LEN],
    ) -> Result<Held, Error> {
        let config = self.seal_config()?;
        let (held, root) = {
            let mut slot = self.seal.progress.lock();
            let progress = slot.get_or_insert_with(|| ShareProgress::new(&config, nonce));
            match progress.add(&config, share) {
                Ok(Given::New | Given::Again) => {}
                Err(BarrierError::StaleProgress) => {
                    // The seal was rekeyed meanwhile: begin anew, with the new shares only.
                    *slot = None;
                    return Err(Error::invalid(
                        "the shares were changed during this unseal; begin again",
                    ));
                }
                Err(error) => return Err(share_error(&error)),
            }
            let held = Held {
                nonce: *progress.nonce(),
                shares: progress.shares().cloned().collect(),
            };
            if !progress.is_complete() {
                return Ok(held);
            }
            let root = progress.open_root(&config);
            *slot = None;
            (held, root.map_err(|error| share_error(&error))?)
        };
        self.open_with(root)?;
        self.offer_root_key();
        Ok(held)
    }

    /// Forgets the shares given so far, here and on all members that are reached.
    pub async fn reset_shares(&self) {
        self.forget_shares();
        self.tell_reset().await;
    }

    pub(super) fn forget_shares(&self) {
        *self.seal.progress.lock() = None;
    }

    /// Opens the barrier with its root key.
    pub(super) fn open_with(&self, root: RootKey) -> Result<(), Error> {
        let replica = self.seal.replica()?;
        if !self.seal.is_sealed() {
            return Ok(());
        }
        let session = Session::open(replica.view()?, root)?;
        self.seal.session.store(Some(Arc::new(session)));
        self.forget_shares();
        replica.set_eligible(true);
        tracing::info!(node = replica.node_id(), "unsealed");
        Ok(())
    }

    /// Drops the keys, then hands leadership over.
    pub async fn seal_node(&self) -> Result<(), Error> {
        let replica = self.seal.replica()?;
        self.seal.session.store(None);
        self.forget_shares();
        *self.seal.recipient.lock() = None;
        self.ceremonies.forget();
        replica.set_eligible(false);
        tracing::info!(node = replica.node_id(), "sealed");
        if replica.status().borrow().is_leader {
            // Without another unsealed member there is nobody to take it: this node stays as caretaker.
            if let Err(error) = replica.change(Change::Transfer { to: None }).await {
                tracing::info!(%error, "leadership stays here");
            }
        }
        Ok(())
    }

    /// Seals this node if the state became one that its keys do not open: by a restore of another cluster's snapshot, or
    /// of one from before the shares were changed.
    pub(crate) async fn follow_keys(&self) {
        let (Some(session), Ok(replica)) = (self.seal.session.load_full(), self.seal.replica()) else {
            return;
        };
        if let Ok(view) = replica.view()
            && matches!(session.view(view), Err(Error::Sealed))
            && let Err(error) = self.seal_node().await
        {
            tracing::error!(%error, "this node holds keys of another state and cannot be sealed");
        }
    }

    pub(crate) fn seal_config(&self) -> Result<SealConfig, Error> {
        let replica = self.seal.replica()?;
        rows::seal_config(replica.view()?.as_ref())?.ok_or(Error::NotInitialized)
    }

    /// Shares given and the ceremony's nonce.
    pub(crate) fn share_progress(&self) -> (usize, Option<[u8; ShareProgress::NONCE_LEN]>) {
        match self.seal.progress.lock().as_ref() {
            None => (0, None),
            Some(progress) => (progress.given(), Some(*progress.nonce())),
        }
    }
}

pub(crate) fn share_error(error: &BarrierError) -> Error {
    match error {
        BarrierError::NotAShare { generation } => {
            Error::invalid(format!("not a share of this cluster (generation {generation})"))
        }
        other => Error::invalid(other.to_string()),
    }
}

/// Hexadecimal if it is that, otherwise base64, as Vault reads shares.
pub(crate) fn decode_share(text: &str) -> Result<SecretBytes, Error> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Error::invalid(
            "'key' must be specified in request body as JSON, or 'reset' set to true",
        ));
    }
    let bytes = hex::decode(text)
        .ok()
        .or_else(|| base64::engine::general_purpose::STANDARD.decode(text).ok());
    bytes
        .map(SecretBytes::new)
        .ok_or_else(|| Error::invalid("'key' must be a valid hex or base64 string"))
}
