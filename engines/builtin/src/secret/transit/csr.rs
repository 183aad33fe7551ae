//! `keys/<name>/csr`: a request for a certificate (PKCS#10, RFC 2986) that a key signs for itself. Whom it is for, and what is asked
//! for, comes from a request of another key that serves as a template.

use conclave_engine_api::{Env, Error, Outcome, Reply, Request, Txn};
use serde_json::json;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;
use zeroize::Zeroizing;

use super::certificates::{signing_key, version_of};
use super::der::{self, BIT_STRING, CONTEXT_0, INTEGER, NULL, OID, SEQUENCE};
use super::hash::Hash;
use super::kind::Kind;
use super::policy::Version;
use super::rsa::{self, Scheme};
use super::{ed, public};

/// Longest template in bytes.
const MAX_TEMPLATE: usize = 32 * 1024;
/// `sha256WithRSAEncryption` (RFC 8017, appendix A.2.4).
const RSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];

/// What a request asks for beside its key, as DER elements.
struct Wish {
    subject: Vec<u8>,
    attributes: Vec<u8>,
}

/// `POST keys/<name>/csr`.
pub(super) fn create(
    txn: &mut Txn<'_>,
    name: &str,
    request: &Request<'_>,
    env: &Env<'_>,
) -> Result<Outcome, Error> {
    let policy = signing_key(txn, name)?;
    let fields = request.fields();
    let asked = fields.int("version")?;
    let wish = Wish::read(&fields.string("csr")?.unwrap_or_default())?;
    let refused = |error| match error {
        Error::Invalid(why) => Error::invalid(format!("could not create the csr: {why}")),
        other => other,
    };
    let version = policy.version(txn, version_of(&policy, asked)).map_err(refused)?;
    version
        .check_private("private key not imported for key version selected")
        .map_err(refused)?;
    let csr = signed(policy.kind, &version, &wish, env)?;
    let csr = der::pem("CERTIFICATE REQUEST", &csr);
    Ok(Reply::json(json!({"name": policy.name, "type": policy.kind.name(), "csr": csr.as_str()})).into())
}

impl Wish {
    /// What the template asks for. Its key, and whether it signed, matter to nobody: both are replaced.
    fn read(template: &str) -> Result<Self, Error> {
        if template.is_empty() {
            return Ok(Self {
                subject: der::element(SEQUENCE, &[]).to_vec(),
                attributes: der::element(CONTEXT_0, &[]).to_vec(),
            });
        }
        if template.len() > MAX_TEMPLATE {
            return Err(Error::TooLarge(format!(
                "csr is longer than {MAX_TEMPLATE} bytes"
            )));
        }
        let (_, bytes) = der::of_pem(template).ok_or_else(|| Error::invalid("could not decode PEM CSR"))?;
        // Every name and attribute must make sense: nothing is signed unread.
        let sound = X509CertificationRequest::from_der(&bytes).is_ok_and(|(rest, _)| rest.is_empty());
        let wish = sound.then(|| Self::taken_from(&bytes)).flatten();
        wish.ok_or_else(|| Error::invalid("csr is no certificate request (PKCS#10) in DER"))
    }

    fn taken_from(request: &[u8]) -> Option<Self> {
        let mut outer = der::Reader::new(der::Reader::new(request).next(SEQUENCE)?);
        let mut info = der::Reader::new(outer.next(SEQUENCE)?);
        info.next(INTEGER)?;
        let subject = info.whole(SEQUENCE)?;
        info.next(SEQUENCE)?;
        let attributes = info.whole(CONTEXT_0)?;
        info.is_empty().then(|| Self {
            subject: subject.to_vec(),
            attributes: attributes.to_vec(),
        })
    }
}

/// The request in DER.
fn signed(kind: Kind, version: &Version, wish: &Wish, env: &Env<'_>) -> Result<Zeroizing<Vec<u8>>, Error> {
    let public = public::info(kind, &version.public)
        .ok_or_else(|| Error::internal("a key that signs has no public half"))?;
    let info = der::element(
        SEQUENCE,
        &[
            &der::element(INTEGER, &[&[0]]),
            &wish.subject,
            &public,
            &wish.attributes,
        ],
    );
    let key = version.key.expose();
    let (algorithm, signature) = match kind.curve() {
        Some(curve) => {
            let (hash, oid) = curve.certificate_hash();
            let hashed = hash.digest(&[&info]);
            let fixed = env.heavy(|| curve.sign(key, &version.public, &hashed))??;
            (der::element(OID, &[oid]), curve.to_asn1(&fixed))
        }
        None if kind.is_rsa() => {
            let hashed = Hash::Sha256.digest(&[&info]);
            let signature = env.heavy(|| rsa::sign(key, Scheme::Pkcs1, Hash::Sha256, &hashed))??;
            let oid = der::element(OID, &[RSA_WITH_SHA256]);
            let algorithm = [oid.as_slice(), &der::element(NULL, &[])].concat();
            (Zeroizing::new(algorithm), signature)
        }
        None => (der::element(OID, &[ed::ED25519_OID]), ed::sign(key, &info)?),
    };
    Ok(der::element(
        SEQUENCE,
        &[
            &info,
            &der::element(SEQUENCE, &[&algorithm]),
            &der::element(BIT_STRING, &[&[0], &signature]),
        ],
    ))
}
