//! Clusters of real processes under faults: what was acknowledged stays, what is sealed stays sealed, who is killed comes
//! back. Knows the binary, its files and its API only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    missing_docs
)]

mod anomaly;
mod approval;
mod audit;
mod aws;
mod belongings;
mod canary;
mod cas;
mod chaos;
mod clients;
mod dark;
mod expiry;
mod forms;
mod growth;
mod grpcio;
mod harness;
mod keeper;
mod kill;
mod leases;
#[cfg(feature = "limits")]
mod limits;
mod members;
mod minority;
mod namespace_seal;
mod one_key;
mod pause;
mod restarts;
mod roles;
mod rot;
mod rotation;
mod sdk;
mod seal;
mod snapshot;
mod together;
mod unmodified;
mod unseal;
#[cfg(feature = "upgrade")]
mod upgrade;
mod uses;
mod watch;
