//! Clients of a Conclave cluster: the Vault-compatible HTTP API. Knows no command line and no server code.

pub mod http;
