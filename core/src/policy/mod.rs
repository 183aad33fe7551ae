//! Vault's ACL policies: text to [`Policy`], policies to [`Acl`], and the one question "may this be done?". Pure: it
//! must not know storage, tokens, transports or clocks.
//!
//! The rules are those of OpenBao 2.7's policies page and `internal/vault/policy/acl.go`, read strictly: a deny wins
//! over every rule that is not more specific, for LIST and SCAN by either spelling of the directory (CVE-2026-63131)
//! and for every spelling of upper and lower case (Vault 2.2.2).
//!
//! Not built: `control_group` and `mfa_methods`. Policies that use them answer [`crate::Error::Unsupported`].

mod acl;
mod builtin;
mod capability;
mod index;
mod keys_filter;
mod limit;
mod parameters;
mod parse;
mod pattern;
mod segments;
mod template;
#[cfg(test)]
mod tests;

pub use acl::{Acl, CheckRequest, Decision, Missing, Ruling};
pub use builtin::{DEFAULT, RESPONSE_WRAPPING, WRAPPING_POLICY};
pub use capability::Capabilities;
pub use conclave_engine_api::Operation;
pub use keys_filter::KeysFilter;
pub use parse::{MAX_PATH_BYTES, MAX_RULES, Policy, parse_expiration};
pub use template::Values;
