//! Leases of what engines hand out: `sys/leases/`. Keeping one alive is the keeper's business.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::call::Repeat;
use super::logical::Verb;
use super::{Conclave, Error};

/// Leases of what engines hand out. Tokens have leases too, and are renewed by [`super::Tokens`].
#[derive(Clone)]
pub struct Leases {
    cluster: Conclave,
}

/// What is known of a lease.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Lease {
    /// Names it.
    pub id: String,
    /// When it began, RFC 3339.
    pub issue_time: String,
    /// When it ends, RFC 3339.
    pub expire_time: Option<String>,
    /// When it was renewed last, RFC 3339.
    pub last_renewal: Option<String>,
    /// Whether it may be renewed.
    pub renewable: bool,
    /// Seconds it has left.
    pub ttl: u64,
}

#[derive(Serialize)]
struct Renew<'a> {
    lease_id: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    increment: u64,
}

#[derive(Serialize)]
struct Named<'a> {
    lease_id: &'a str,
    #[serde(skip_serializing_if = "is_false")]
    sync: bool,
}

impl Leases {
    pub(super) fn new(cluster: Conclave) -> Self {
        Self { cluster }
    }

    /// What is known of a lease.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is none of this name, or not any more.
    pub async fn lookup(&self, lease_id: &str) -> Result<Lease, Error> {
        let named = Named {
            lease_id,
            sync: false,
        };
        let path = "sys/leases/lookup";
        let logical = self.cluster.logical();
        logical
            .ask(Repeat::Freely, Verb::Write, path, &named)
            .await?
            .data
            .decode()
    }

    /// The names beneath a prefix of leases' names, whole ones and directories (with a slash at their end); the prefix may be
    /// empty. Wants `sudo`.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there are none.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let path = format!("sys/leases/lookup/{}", prefix.trim_matches('/'));
        self.cluster.logical().list(path.trim_end_matches('/')).await
    }

    /// Lets a lease live for `increment` from now, within its bounds; zero: as it was made. How long it lives from now.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not renewable, has ended or is ending.
    pub async fn renew(&self, lease_id: &str, increment: Duration) -> Result<Duration, Error> {
        let asked = Renew {
            lease_id,
            increment: increment.as_secs(),
        };
        // Renewed twice at once is renewed once.
        let path = "sys/leases/renew";
        let logical = self.cluster.logical();
        let renewed = logical.ask(Repeat::Freely, Verb::Write, path, &asked).await?;
        Ok(renewed.lease_duration)
    }

    /// Ends a lease and what it stands for. With `sync` the answer comes when that is gone, else when it is certain to go.
    ///
    /// # Errors
    /// See [`Error`]. One that has ended already is none.
    pub async fn revoke(&self, lease_id: &str, sync: bool) -> Result<(), Error> {
        let named = Named { lease_id, sync };
        let logical = self.cluster.logical();
        logical
            .ask(Repeat::Freely, Verb::Write, "sys/leases/revoke", &named)
            .await
            .map(drop)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}
