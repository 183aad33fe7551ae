//! Certificates of OpenSSH (its PROTOCOL.certkeys): who is let in where, until when and how, signed by a key that servers or
//! clients trust. Knows no roles and no paths.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conclave_engine_api::{Env, Error, Millis};

use super::key::{Algorithm, Key};
use super::public::PublicKey;
use super::wire::Writer;

/// Bytes of the nonce that OpenSSH itself takes.
const NONCE: usize = 32;

/// Whom a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    User,
    Host,
}

/// What is certified.
pub(super) struct Certificate<'a> {
    pub(super) key: &'a PublicKey,
    pub(super) kind: Kind,
    pub(super) serial: u64,
    pub(super) id: &'a str,
    pub(super) principals: &'a [String],
    /// From and until when, in seconds since 1970.
    pub(super) valid: (u64, u64),
    pub(super) critical: &'a BTreeMap<String, String>,
    pub(super) extensions: &'a BTreeMap<String, String>,
}

impl Certificate<'_> {
    /// The line of the certificate's file.
    pub(super) fn signed(&self, by: &Key, algorithm: Algorithm, env: &mut Env<'_>) -> Result<String, Error> {
        let name = self.key.certificate_name();
        let mut nonce = [0; NONCE];
        env.fill(&mut nonce);
        let mut principals = Writer::default();
        for principal in self.principals {
            principals.string(principal.as_bytes());
        }
        let mut out = Writer::default();
        out.string(name.as_bytes()).string(&nonce).raw(&self.key.body);
        out.u64(self.serial).u32(match self.kind {
            Kind::User => 1,
            Kind::Host => 2,
        });
        out.string(self.id.as_bytes()).string(&principals.done());
        out.u64(self.valid.0).u64(self.valid.1);
        out.string(&options(self.critical))
            .string(&options(self.extensions));
        out.string(b"").string(&by.public()?.blob());
        let mut bytes = out.done();
        let signature = by.sign(algorithm, &bytes, env)?;
        bytes.extend_from_slice(&Writer::default().string(&signature).done());
        Ok(format!("{name} {}\n", STANDARD.encode(&*bytes)))
    }
}

/// Names and their values, in the order of the names; a name without a value has an empty one.
fn options(given: &BTreeMap<String, String>) -> Vec<u8> {
    let mut out = Writer::default();
    for (name, value) in given {
        let data = match value.as_str() {
            "" => Writer::default().done(),
            value => Writer::default().string(value.as_bytes()).done(),
        };
        out.string(name.as_bytes()).string(&data);
    }
    out.done().to_vec()
}

/// Whole seconds of a time, down.
pub(super) fn seconds(at: Millis) -> u64 {
    at / 1000
}
