//! Tokens: the calls of service `Token`.

use std::collections::BTreeMap;
use std::time::Duration;

use zeroize::Zeroize;

use super::call::Repeat;
use super::secret::SecretText;
use super::{Conclave, Error, v1};

/// A token as it was handed out.
#[derive(Clone)]
pub struct Token {
    /// The token; empty if it was renewed by accessor.
    pub token: SecretText,
    /// Names the token without giving its power.
    pub accessor: String,
    /// Its policies.
    pub policies: Vec<String>,
    /// What was noted about it.
    pub metadata: BTreeMap<String, String>,
    /// How long it lives; zero for ever.
    pub ttl: Duration,
    /// Whether it may be renewed.
    pub renewable: bool,
    /// What the cluster has to say about it.
    pub warnings: Vec<String>,
    /// What is to be shown before there is a token.
    pub second_factor: Option<SecondFactor>,
}

/// A login that waits: [`Conclave::validate`] ends it and hands the token out.
#[derive(Clone)]
pub struct SecondFactor {
    /// Names the login. Whoever knows it has shown the first factor.
    pub request: SecretText,
    /// Something of each is to be shown.
    pub demands: Vec<v1::MfaDemand>,
}

impl Token {
    pub(super) fn new(auth: v1::Auth, warnings: Vec<String>) -> Self {
        let second_factor = (!auth.mfa_request_id.is_empty()).then(|| SecondFactor {
            request: SecretText::new(auth.mfa_request_id),
            demands: auth.mfa_demands,
        });
        Self {
            second_factor,
            token: SecretText::new(auth.client_token),
            accessor: auth.accessor,
            policies: auth.policies,
            metadata: auth.metadata,
            ttl: Duration::from_secs(auth.lease_duration_seconds),
            renewable: auth.renewable,
            warnings,
        }
    }

    fn handed_out(auth: Option<v1::Auth>, warnings: Vec<String>) -> Result<Self, Error> {
        let auth = auth.ok_or_else(|| Error::Internal("the node answered without a token".to_owned()))?;
        Ok(Self::new(auth, warnings))
    }
}

/// Making, looking up, renewing and revoking tokens. Where a call takes a [`v1::token_ref::By`], `None` means the
/// client's own token.
#[derive(Clone)]
pub struct Tokens {
    cluster: Conclave,
}

impl Tokens {
    pub(super) fn new(cluster: Conclave) -> Self {
        Self { cluster }
    }

    /// Makes a token beneath the client's.
    ///
    /// # Errors
    /// [`Error::Invalid`] for wishes the client's token may not have.
    pub async fn create(&self, wishes: v1::TokenCreateRequest) -> Result<Token, Error> {
        let made = self
            .cluster
            .call(Repeat::ByKey, wishes, |link, request| async move {
                link.token().create(request).await
            })
            .await?;
        Token::handed_out(made.auth, made.warnings)
    }

    /// What is known of a token. The token itself is not repeated: `id` is empty.
    ///
    /// # Errors
    /// [`Error::Denied`] if it is not known, or not any more.
    pub async fn lookup(&self, by: Option<v1::token_ref::By>) -> Result<v1::TokenLookupResponse, Error> {
        let message = v1::TokenLookupRequest { token: which(by) };
        let mut found = self
            .cluster
            .call(Repeat::Freely, message, |link, request| async move {
                link.token().lookup(request).await
            })
            .await?;
        found.id.zeroize();
        Ok(found)
    }

    /// Lets a token live for `increment` from now, within its bounds; zero: as it was made.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not renewable.
    pub async fn renew(&self, by: Option<v1::token_ref::By>, increment: Duration) -> Result<Token, Error> {
        let message = v1::TokenRenewRequest {
            token: which(by),
            increment_seconds: increment.as_secs(),
        };
        let renewed = self
            .cluster
            .call(Repeat::ByKey, message, |link, request| async move {
                link.token().renew(request).await
            })
            .await?;
        Token::handed_out(renewed.auth, renewed.warnings)
    }

    /// Ends a token and all made beneath it.
    ///
    /// # Errors
    /// [`Error::Denied`] if it is not known, or not any more.
    pub async fn revoke(&self, by: Option<v1::token_ref::By>) -> Result<(), Error> {
        // A token that ended cannot ask again how its end went.
        let repeat = if by.is_none() {
            Repeat::Never
        } else {
            Repeat::ByKey
        };
        let message = v1::TokenRevokeRequest { token: which(by) };
        self.cluster
            .call(repeat, message, |link, request| async move {
                link.token().revoke(request).await
            })
            .await
            .map(drop)
    }
}

fn which(by: Option<v1::token_ref::By>) -> Option<v1::TokenRef> {
    by.map(|by| v1::TokenRef { by: Some(by) })
}
