//! The cluster itself: the calls of service `Sys`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::call::Repeat;
use super::secret::SecretText;
use super::{Conclave, Error, v1};

/// Health, seal, mounts, members.
#[derive(Clone)]
pub struct Sys {
    cluster: Conclave,
}

/// What founding a cluster hands out, once.
pub struct Founded {
    /// The shares in hexadecimal.
    pub shares: Vec<SecretText>,
    /// The root token.
    pub root_token: SecretText,
}

/// A token by which nodes join, and what it is bound to.
pub struct JoinToken {
    /// To be shown by the node that joins.
    pub token: SecretText,
    /// How long it lives.
    pub ttl: Duration,
    /// How many nodes may join by it.
    pub uses: u32,
    /// Networks a node must ask from; none: from anywhere.
    pub bound_cidrs: Vec<String>,
}

impl Sys {
    pub(super) fn new(cluster: Conclave) -> Self {
        Self { cluster }
    }

    /// The state of the node that answers.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if no node answers.
    pub async fn health(&self) -> Result<v1::HealthResponse, Error> {
        self.cluster
            .call(Repeat::Freely, v1::HealthRequest {}, |link, request| async move {
                link.sys().health(request).await
            })
            .await
    }

    /// Whether the node that answers is sealed, and how far unsealing got.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if no node answers.
    pub async fn seal_status(&self) -> Result<v1::SealStatusResponse, Error> {
        self.cluster
            .call(
                Repeat::Freely,
                v1::SealStatusRequest {},
                |link, request| async move { link.sys().seal_status(request).await },
            )
            .await
    }

    /// Founds a cluster on the node that answers. The shares are nowhere else.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] if the answer was lost: the cluster may exist, and nobody has its shares.
    pub async fn init(&self, shares: u32, threshold: u32) -> Result<Founded, Error> {
        let message = v1::InitRequest { shares, threshold };
        let founded = self
            .cluster
            .call(Repeat::Never, message, |link, request| async move {
                link.sys().init(request).await
            })
            .await?;
        Ok(Founded {
            shares: founded.keys.into_iter().map(SecretText::new).collect(),
            root_token: SecretText::new(founded.root_token),
        })
    }

    /// Gives one share, in hexadecimal or base64.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is no share of this cluster.
    pub async fn unseal(&self, share: &str) -> Result<v1::SealStatusResponse, Error> {
        let what = v1::unseal_request::What::Key(share.to_owned());
        self.share(what).await
    }

    /// Forgets the shares given so far.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if no node answers.
    pub async fn reset_unseal(&self) -> Result<v1::SealStatusResponse, Error> {
        self.share(v1::unseal_request::What::Reset(true)).await
    }

    async fn share(&self, what: v1::unseal_request::What) -> Result<v1::SealStatusResponse, Error> {
        // A share given twice counts once.
        let message = v1::UnsealRequest { what: Some(what) };
        self.cluster
            .call(Repeat::Freely, message, |link, request| async move {
                link.sys().unseal(request).await
            })
            .await
    }

    /// The node that answers drops its keys.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] if the answer was lost.
    pub async fn seal(&self) -> Result<(), Error> {
        self.seal_as(v1::SealRequest { cluster: false }).await
    }

    /// All nodes drop their keys, those that cannot be reached as soon as they can.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] if the answer was lost.
    pub async fn seal_cluster(&self) -> Result<(), Error> {
        self.seal_as(v1::SealRequest { cluster: true }).await
    }

    async fn seal_as(&self, message: v1::SealRequest) -> Result<(), Error> {
        self.cluster
            .call(Repeat::Never, message, |link, request| async move {
                link.sys().seal(request).await
            })
            .await
            .map(drop)
    }

    /// Which engines are mounted where, by path.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn mounts(&self) -> Result<BTreeMap<String, v1::Mount>, Error> {
        let listed = self
            .cluster
            .call(Repeat::Freely, v1::MountsRequest {}, |link, request| async move {
                link.sys().mounts(request).await
            })
            .await?;
        Ok(listed.mounts)
    }

    /// Mounts an engine.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the path is taken or there is no such engine.
    pub async fn enable_mount(&self, mount: v1::EnableMountRequest) -> Result<(), Error> {
        self.cluster
            .call(Repeat::ByKey, mount, |link, request| async move {
                link.sys().enable_mount(request).await
            })
            .await
            .map(drop)
    }

    /// Removes a mount with all it holds, if there is one.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn disable_mount(&self, path: &str) -> Result<(), Error> {
        let message = v1::DisableMountRequest {
            path: path.to_owned(),
        };
        self.cluster
            .call(Repeat::ByKey, message, |link, request| async move {
                link.sys().disable_mount(request).await
            })
            .await
            .map(drop)
    }

    /// Who leads.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn leader(&self) -> Result<v1::LeaderResponse, Error> {
        self.cluster
            .call(Repeat::Freely, v1::LeaderRequest {}, |link, request| async move {
                link.sys().leader(request).await
            })
            .await
    }

    /// The members of the cluster.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn members(&self) -> Result<Vec<v1::Member>, Error> {
        let listed = self
            .cluster
            .call(
                Repeat::Freely,
                v1::MembersRequest {},
                |link, request| async move { link.sys().members(request).await },
            )
            .await?;
        Ok(listed.members)
    }

    /// Makes a token by which nodes join the cluster. Fields that are zero or empty take the cluster's defaults.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a life, a number of uses or a network that the cluster does not take.
    pub async fn make_join_token(&self, wishes: v1::MakeJoinTokenRequest) -> Result<JoinToken, Error> {
        let made = self
            .cluster
            .call(Repeat::ByKey, wishes, |link, request| async move {
                link.sys().make_join_token(request).await
            })
            .await?;
        Ok(JoinToken {
            token: SecretText::new(made.join_token),
            ttl: Duration::from_secs(made.ttl_seconds),
            uses: made.uses,
            bound_cidrs: made.bound_cidrs,
        })
    }

    /// Lets the node with this key fingerprint join. Approving twice is as good as once.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is no fingerprint, or one of a node that was removed.
    pub async fn approve_node(&self, fingerprint: &str) -> Result<v1::ApproveNodeResponse, Error> {
        let message = v1::ApproveNodeRequest {
            fingerprint: fingerprint.to_owned(),
        };
        self.cluster
            .call(Repeat::Freely, message, |link, request| async move {
                link.sys().approve_node(request).await
            })
            .await
    }

    /// The nodes that wait until they are approved.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn pending_nodes(&self) -> Result<Vec<v1::PendingNode>, Error> {
        let listed = self
            .cluster
            .call(
                Repeat::Freely,
                v1::PendingNodesRequest {},
                |link, request| async move { link.sys().pending_nodes(request).await },
            )
            .await?;
        Ok(listed.nodes)
    }

    /// Has all members hash their state at one position of the log and compares. Give the client a deadline and attempts
    /// that are long enough to read the whole state.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] if the answer was lost.
    pub async fn compare_state(&self) -> Result<v1::CompareStateResponse, Error> {
        self.cluster
            .call(
                Repeat::Never,
                v1::CompareStateRequest {},
                |link, request| async move { link.sys().compare_state(request).await },
            )
            .await
    }

    /// Compares the accounts in the targets of a mount with its leases, and has those dropped that nobody has a lease of.
    ///
    /// # Errors
    /// [`Error::Invalid`] if nothing is mounted there.
    pub async fn reconcile_leases(
        &self,
        asked: v1::ReconcileLeasesRequest,
    ) -> Result<Vec<v1::ReconciledTarget>, Error> {
        // Whoever looks twice finds the same accounts, and one lease each.
        let told = self
            .cluster
            .call(Repeat::Freely, asked, |link, request| async move {
                link.sys().reconcile_leases(request).await
            })
            .await?;
        Ok(told.targets)
    }
}
