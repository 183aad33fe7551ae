//! The SDK: a cluster as an application sees it. Calls go to any node that answers, and go out again until one did or the
//! time is over; a write carries a key, by which the cluster does it once however often it arrives. Knows no HTTP API.

mod builder;
mod call;
mod endpoints;
mod error;
mod identity;
mod keeper;
mod kv;
mod lease;
mod link;
mod logical;
mod login;
mod pace;
mod policy;
mod secret;
mod session;
mod shown;
mod sys;
mod tls;
mod token;
mod transit;
mod watch;
mod wrapping;

use std::sync::Arc;

use tonic::metadata::{Ascii, MetadataValue};

pub use builder::Builder;
/// The messages of the public protocol: what rarer calls take and answer.
pub use conclave_proto::v1;
pub use error::Error;
pub use identity::{Alias, AliasWishes, Entity, EntityWishes, Group, GroupWishes, Identity};
pub use keeper::{Keeper, Leased, Standing};
pub use kv::{Kv, Secret, Version};
pub use lease::{Lease, Leases};
pub use logical::{Answer, Logical, Raw, Verb};
pub use login::{Admission, Login};
pub use policy::Policies;
pub use secret::{SecretBytes, SecretData, SecretText};
pub use session::{Session, SignedIn};
pub use sys::{Founded, JoinToken, Sys};
pub use token::{SecondFactor, Token, Tokens};
pub use transit::{DataKey, KeyWishes, Transit, TransitKey, Use};
pub use watch::{Event, EventKind, Heard, Watch};
pub use wrapping::{Origin, Wrapped, Wrapping};

use call::Calls;
use shown::Door;

/// A cluster. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Conclave {
    calls: Arc<Calls>,
    token: Door,
    namespace: Option<MetadataValue<Ascii>>,
    /// How long answers are to be wrapped, where they are.
    wrap_ttl: Option<MetadataValue<Ascii>>,
}

impl Conclave {
    /// Begins a client of the nodes at these URLs (`https://host:port`; `http://` without TLS), the preferred first.
    /// Nothing is connected before the first call.
    pub fn connect<I>(endpoints: I) -> Builder
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        Builder::new(endpoints.into_iter().map(Into::into).collect())
    }

    /// The same cluster seen with another token.
    ///
    /// # Errors
    /// [`Error::Config`] if the token holds other than visible ASCII.
    pub fn with_token(&self, token: &str) -> Result<Self, Error> {
        Ok(Self {
            token: Door::Fixed(Some(builder::token_value(token)?)),
            ..self.clone()
        })
    }

    /// The same cluster seen within a namespace.
    ///
    /// # Errors
    /// [`Error::Config`] if the name holds other than visible ASCII.
    pub fn with_namespace(&self, namespace: &str) -> Result<Self, Error> {
        Ok(Self {
            namespace: Some(builder::value("namespace", namespace)?),
            ..self.clone()
        })
    }

    /// Versioned secrets of the key-value mount at `mount`, for example `secret`.
    pub fn kv(&self, mount: impl Into<String>) -> Kv {
        Kv::new(self.clone(), mount.into())
    }

    /// Health, seal, mounts, members.
    pub fn sys(&self) -> Sys {
        Sys::new(self.clone())
    }

    /// Tokens.
    pub fn tokens(&self) -> Tokens {
        Tokens::new(self.clone())
    }

    /// ACL policies.
    pub fn policies(&self) -> Policies {
        Policies::new(self.clone())
    }

    /// Keys that never leave the cluster, of the transit mount at `mount`.
    pub fn transit(&self, mount: impl Into<String>) -> Transit {
        Transit::new(self.clone(), mount.into())
    }

    /// Who stands behind tokens: entities, aliases and groups.
    pub fn identity(&self) -> Identity {
        Identity::new(self.clone())
    }

    /// Leases of what engines hand out.
    pub fn leases(&self) -> Leases {
        Leases::new(self.clone())
    }

    /// Answers that travel as a token which can be used once.
    pub fn wrapping(&self) -> Wrapping {
        Wrapping::new(self.clone())
    }

    /// Any path of the API.
    pub fn logical(&self) -> Logical {
        Logical::new(self.clone())
    }
}
