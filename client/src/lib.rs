//! Clients of a Conclave cluster: the SDK over gRPC, and the Vault-compatible HTTP API. Knows no command line and no
//! server code.
//!
//! ```no_run
//! # async fn example() -> Result<(), conclave_client::Error> {
//! use conclave_client::Conclave;
//!
//! let conclave = Conclave::connect(["https://a:8200", "https://b:8200"]).token("s.xyz").build()?;
//! let secret = conclave.kv("secret").get("app/db").await?;
//! let password = secret.data.text("password");
//! # Ok(())
//! # }
//! ```

mod entropy;
mod grpc;
pub mod http;

pub use grpc::{
    Admission, Alias, AliasWishes, Answer, Builder, Conclave, DataKey, Entity, EntityWishes, Error, Event,
    EventKind, Founded, Group, GroupWishes, Heard, Identity, JoinToken, Keeper, KeyWishes, Kv, Lease, Leased,
    Leases, Logical, Login, Origin, Policies, Raw, SecondFactor, Secret, SecretBytes, SecretData, SecretText,
    Session, SignedIn, Standing, Sys, Token, Tokens, Transit, TransitKey, Use, Verb, Version, Watch, Wrapped,
    Wrapping, v1,
};
