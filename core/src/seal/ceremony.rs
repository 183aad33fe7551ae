//! Unsealing by shares. Shares given to any node count for the cluster: a node hands each on to the members it reaches, and
//! one that completes them opens itself and offers the root key to the others.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Map, Value};

use conclave_barrier::{Entropy as _, Error as BarrierError, SealConfig, SecretBytes};
use conclave_raft::View;

use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::seal::gather::{Counted, Nonce, Origin};
use crate::seal::keys::By;
use crate::seal::peers::Needed;
use crate::seal::{StoredSeal, ring_rows, rows};
use crate::session::Session;
use crate::store::layout::RING;

/// How long a node catches up with its leader before it judges a share or opens its keyring.
pub(super) const CATCH_UP: Duration = Duration::from_secs(2);

impl Core {
    /// Takes one share as an operator gives it, in hexadecimal or base64, and hands all that were given on to the members:
    /// one that was not reached before, or joined since, catches up.
    pub async fn give_share(self: &Arc<Self>, text: &str) -> Result<(), Error> {
        let share = decode_share(text)?;
        let seal = self.newest_seal().await?;
        if !self.seal.is_sealed() && self.shares_needed().await == Needed::No {
            // Nobody needs it: it is judged, and nothing is left over for another time.
            seal.config
                .check_share(share.expose())
                .map_err(|error| share_error(RING, &error))?;
            self.forget_shares();
            return Ok(());
        }
        let mut name = Nonce::default();
        OsEntropy.fill(&mut name);
        if let Some(held) = self.count_share(&seal, share, Origin::Operator(name)).await? {
            self.hand_shares_on(&held).await;
        }
        Ok(())
    }

    /// Counts a share; when it completes them, opens this node and offers the root key to members. Returns all shares of
    /// the ceremony, unless it is over already.
    pub(super) async fn count_share(
        self: &Arc<Self>,
        seal: &StoredSeal,
        share: SecretBytes,
        from: Origin,
    ) -> Result<Option<super::gather::Held>, Error> {
        let counted = {
            let mut gathering = self.seal.gathering.lock();
            gathering.count((&seal.config, seal.epoch), share, from)?
        };
        match counted {
            Counted::Late => Ok(None),
            Counted::Going(held) => Ok(Some(held)),
            Counted::Complete(held, root) => {
                let view = self.newest_view().await?;
                let eligible = self.registered_starts(&view)?;
                if self.seal.is_sealed() {
                    self.open(Session::open(view, root)?, By::Shares)?;
                }
                self.offer_root_key(eligible);
                Ok(Some(held))
            }
        }
    }

    /// Forgets the shares given so far, here and on all members that are reached.
    pub async fn reset_shares(&self) {
        let names = self.forget_shares();
        self.tell_reset(&names).await;
    }

    pub(super) fn forget_shares(&self) -> Vec<Nonce> {
        self.seal.gathering.lock().end()
    }

    /// Forgets shares that were given before their seal was closed last, and those for namespaces that are open here, or gone.
    pub(super) fn forget_old_shares(&self) {
        let view = self.seal.replica().and_then(|replica| Ok(replica.view()?));
        let Ok(view) = view else { return };
        if let Ok(epoch) = rows::seal_epoch(&view) {
            self.seal.gathering.lock().follow(epoch);
        }
        self.seal.rings.follow(|ring| match self.ring_is_open(ring) {
            true => None,
            false => ring_rows::ring(&view, ring).ok()?.map(|(row, _)| row.epoch),
        });
    }

    /// A view as new as everything acknowledged, if a leader says so soon; otherwise what this node has.
    pub(super) async fn newest_view(&self) -> Result<Arc<View>, Error> {
        let replica = self.seal.replica()?;
        let led = replica.status().borrow().leader.is_some();
        if led && let Ok(Ok(view)) = tokio::time::timeout(CATCH_UP, replica.read()).await {
            return Ok(view);
        }
        Ok(replica.view()?)
    }

    pub(super) async fn newest_seal(&self) -> Result<StoredSeal, Error> {
        StoredSeal::of(self.newest_view().await?.as_ref(), RING)
    }

    /// How the cluster is sealed, as far as this node knows.
    pub(crate) fn seal_config(&self) -> Result<SealConfig, Error> {
        let replica = self.seal.replica()?;
        rows::seal_config(replica.view()?.as_ref())?.ok_or(Error::NotInitialized)
    }

    /// How far things are, as audit records of steps tell it in the clear.
    pub(crate) fn unseal_told(&self) -> Map<String, Value> {
        let (given, _) = self.share_progress();
        let told = [
            ("sealed", self.seal.is_sealed().into()),
            ("progress", given.into()),
        ];
        told.into_iter()
            .map(|(name, value): (_, Value)| (name.to_owned(), value))
            .collect()
    }

    /// Shares given and the ceremony's name.
    pub(crate) fn share_progress(&self) -> (usize, Option<Nonce>) {
        self.seal.gathering.lock().progress()
    }
}

/// What is wrong with a share that was given for the seal of a ring.
pub(crate) fn share_error(ring: u16, error: &BarrierError) -> Error {
    let whose = match ring {
        RING => "cluster",
        _ => "namespace",
    };
    match error {
        BarrierError::NotAShare { generation } => {
            Error::invalid(format!("not a share of this {whose} (generation {generation})"))
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
