//! `keys/<name>/set-certificate`: certificates are kept with the version of a key whose public half they certify. Whether anybody
//! should trust them is for those to judge who get them: only what they are is looked at here.

use conclave_engine_api::{Error, Outcome, Reply, Request, Txn};
use serde_json::json;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use zeroize::Zeroizing;

use super::der;
use super::kind::Kind;
use super::policy::Policy;
use super::public::Shown;

/// Longest chain as text in bytes, and most certificates in it.
const MAX_CHAIN: usize = 128 * 1024;
const MAX_CERTIFICATES: usize = 20;

/// `POST keys/<name>/set-certificate`.
pub(super) fn set(txn: &mut Txn<'_>, name: &str, request: &Request<'_>) -> Result<Outcome, Error> {
    let policy = signing_key(txn, name)?;
    let fields = request.fields();
    let asked = fields.int("version")?;
    let given = fields.string("certificate_chain")?.unwrap_or_default();
    let chain = Chain::of_pem(&given)?;
    let refused = |error| match error {
        Error::Invalid(why) => Error::invalid(format!("failed to persist certificate chain: {why}")),
        other => other,
    };
    chain.check_order().map_err(refused)?;
    let number = version_of(&policy, asked);
    let mut version = policy.version(txn, number).map_err(refused)?;
    chain.check_key(policy.kind, &version.public).map_err(refused)?;
    version.certificates = chain.pem();
    policy.store_version(txn, number, &version)?;
    Ok(
        Reply::json(json!({"name": policy.name, "type": policy.kind.name(), "certificate_chain": given}))
            .into(),
    )
}

/// A key that certificates can be of.
pub(super) fn signing_key(txn: &mut Txn<'_>, name: &str) -> Result<Policy, Error> {
    let policy = Policy::load(txn, name)?;
    let policy =
        policy.ok_or_else(|| Error::invalid(format!("key with provided name '{name}' not found")))?;
    policy.check_usable()?;
    if !policy.kind.signs() {
        return Err(Error::invalid(format!(
            "key type '{}' does not support signing",
            policy.kind.name()
        )));
    }
    if policy.derived {
        return Err(Error::invalid(
            "operation not supported for keys with derivation enabled",
        ));
    }
    Ok(policy)
}

/// The version that is asked for, the latest if none is; a number that no version has if it cannot be.
pub(super) fn version_of(policy: &Policy, asked: Option<i64>) -> u64 {
    asked.map_or(policy.latest, |asked| u64::try_from(asked).unwrap_or(0))
}

/// Certificates in DER, the one of a key first. Each is known to be one.
pub(super) struct Chain(Vec<Zeroizing<Vec<u8>>>);

impl Chain {
    /// Reads PEM texts one after the other; those of other things than certificates are left out.
    fn of_pem(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_CHAIN {
            return Err(Error::TooLarge(format!(
                "certificate_chain is longer than {MAX_CHAIN} bytes"
            )));
        }
        let mut certificates = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (label, bytes, after) = der::next_pem(rest)
                .ok_or_else(|| Error::invalid("could not decode a PEM block in the certificate chain"))?;
            if matches!(label, "CERTIFICATE" | "X509 CERTIFICATE") {
                certificates.push(bytes);
            }
            rest = after.trim();
        }
        Self::new(certificates)
    }

    /// Certificates in DER, from wherever they come.
    pub(super) fn new(certificates: Vec<Zeroizing<Vec<u8>>>) -> Result<Self, Error> {
        if certificates.is_empty() {
            return Err(Error::invalid(
                "provided certificate chain did not contain any valid PEM encoded certificate",
            ));
        }
        if certificates.len() > MAX_CERTIFICATES {
            return Err(Error::invalid(format!(
                "a certificate chain has more than {MAX_CERTIFICATES} certificates"
            )));
        }
        for certificate in &certificates {
            parsed(certificate)?;
        }
        Ok(Self(certificates))
    }

    /// Checks that it begins with no authority's certificate and goes on with none but authorities'.
    fn check_order(&self) -> Result<(), Error> {
        let mut authorities = Vec::with_capacity(self.0.len());
        for certificate in &self.0 {
            let parsed = parsed(certificate)?;
            let constraints = parsed.basic_constraints().map_err(|_| unreadable())?;
            authorities.push(constraints.is_some_and(|constraints| constraints.value.ca));
        }
        let refused = match authorities.as_slice() {
            [true, ..] => "certificate in the first element is not a valid leaf certificate",
            [_, .., false] => "certificate in the last element is not a valid CA certificate",
            [_, others @ ..] if others.contains(&false) => {
                "could not validate if there is only one leaf certificate in the provided chain"
            }
            _ => return Ok(()),
        };
        Err(Error::invalid(refused))
    }

    /// Checks that the first certificate is of this public key.
    pub(super) fn check_key(&self, kind: Kind, public: &[u8]) -> Result<(), Error> {
        let leaf = parsed(self.0.first().ok_or_else(unreadable)?)?;
        let shown = Shown::read(leaf.tbs_certificate.subject_pki.raw).ok_or_else(unreadable)?;
        if !shown.is_like(kind) {
            return Err(Error::invalid(format!(
                "could not validate key match between leaf certificate key and key entry in transit: provided leaf \
                 certificate public key algorithm '{}' does not match the transit key type '{}'",
                shown.algorithm(),
                kind.name()
            )));
        }
        let same = shown.of_kind(kind).is_some_and(|key| key == public);
        same.then_some(()).ok_or_else(|| {
            Error::invalid("leaf certificate public key does not match the selected key version")
        })
    }

    /// As it is kept and shown: PEM, without a line break at its end.
    pub(super) fn pem(&self) -> String {
        let texts = self.0.iter().map(|bytes| der::pem("CERTIFICATE", bytes));
        texts
            .map(|text| text.trim_end().to_owned())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// What is kept, one by one in DER.
pub(super) fn kept(chain: &str) -> Vec<Zeroizing<Vec<u8>>> {
    let mut certificates = Vec::new();
    let mut rest = chain;
    while let Some((_, bytes, after)) = der::next_pem(rest) {
        certificates.push(bytes);
        rest = after;
    }
    certificates
}

fn parsed(certificate: &[u8]) -> Result<X509Certificate<'_>, Error> {
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        _ => Err(unreadable()),
    }
}

fn unreadable() -> Error {
    Error::invalid("could not parse a certificate in the certificate chain")
}
