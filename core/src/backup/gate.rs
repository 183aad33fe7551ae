//! Whether a request that carries a file may be listened to: asked before its body is taken in, so that nobody fills the
//! disk who may not restore. Decides nothing else: the request itself is authorised and audited like any other.

use conclave_engine_api::Operation;

use crate::canon::CanonPath;
use crate::core::Core;
use crate::error::Error;
use crate::policy::CheckRequest;
use crate::request::Request;
use crate::tokens::Shown;

impl Core {
    /// Whether `request`, whose path needs `sudo`, would get past its token and policies.
    ///
    /// # Errors
    /// Why not.
    pub async fn admits(&self, request: &Request) -> Result<(), Error> {
        let path = CanonPath::parse(&request.path)?;
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        let (opened, derived) = session.view(replica.read().await?)?;
        let shown = Shown {
            token: request.token.as_deref().map_or("", String::as_str),
            remote: request.remote,
        };
        let caller =
            session
                .callers
                .authenticate(&opened, &derived.catalog, derived.epoch, shown, replica.now())?;
        // What carries a file is the cluster's, which the root namespace alone has a say in.
        let root = derived.catalog.namespace();
        let seen = caller.sees(root, path.as_str()).ok_or_else(Error::denied)?;
        let decision = caller.acl.check(&CheckRequest {
            operation: Operation::Update,
            path: &seen,
            data: Some(&request.data),
            wrap_ttl: None,
            is_sudo_path: true,
        });
        if decision.allowed {
            Ok(())
        } else {
            Err(Error::denied())
        }
    }
}
