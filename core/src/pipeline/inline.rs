//! A request that brings its login along: the login goes down the line first, as any other, with its own records, quotas and
//! lockout. The token that comes of it is stored nowhere and shown to nobody; the request that follows is asked with it.

use std::sync::Arc;

use serde_json::Value;
use zeroize::Zeroizing;

use crate::canon::CanonPath;
use crate::core::Core;
use crate::error::Error;
use crate::request::{InlineLogin, Request};

impl Core {
    /// The token with which `request` is asked.
    ///
    /// # Errors
    /// Those of the login; [`Error::Invalid`] when the request has a token already: one of the two would count for nothing.
    pub(super) async fn log_in_inline(
        self: &Arc<Self>,
        request: &mut Request,
        login: InlineLogin,
    ) -> Result<Zeroizing<String>, Error> {
        if request.token.as_ref().is_some_and(|token| !token.is_empty()) {
            return Err(Error::invalid(
                "failed to perform inline authentication: cannot layer inline authentication with token authentication",
            ));
        }
        let asked = Request {
            namespace: login.namespace,
            data: login.data,
            mfa: std::mem::take(&mut request.mfa),
            remote: request.remote,
            idempotency_key: request.idempotency_key.clone(),
            ..Request::new(login.verb, login.path)
        };
        let path = Arc::new(CanonPath::parse(&asked.path)?);
        let _listed = self.in_flight.enter(&asked, &path, self.seal.now());
        let (_, (answer, _)) = self.run(&asked, path, true).await?;
        let mut auth = answer.auth.ok_or_else(Error::unauthenticated)?;
        match auth.remove("client_token") {
            // It waits for a second factor, which nobody can bring later.
            Some(Value::String(token)) if token.is_empty() => Err(Error::invalid(
                "unable to perform inline authentication with login MFA; use the X-Vault-MFA header to specify MFA \
                 information on the inline auth request",
            )),
            Some(Value::String(token)) => Ok(Zeroizing::new(token)),
            _ => Err(Error::internal("a login without a token")),
        }
    }
}
