//! Certificates in place of passwords: an authority of the role's signs one for each account, and it ends with the lease. Knows no
//! database.

use std::collections::BTreeMap;
use std::time::Duration;

use conclave_engine_api::{Env, Error, Heavy, Hidden, Millis};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SerialNumber,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::super::transit::ec::Curve;
use super::super::transit::{der, ed, rsa};
use super::template;

/// How long before it is made a certificate is valid from: clocks differ.
const BACKDATED: Millis = 30_000;
/// Bytes of a serial number.
const SERIAL: usize = 16;
/// Longest PEM text of an authority, and longest common name (X.520) in bytes.
const MAX_PEM: usize = 64 * 1024;
const MAX_NAME: usize = 64;

/// Who signs, and what is signed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Authority {
    common_name_template: String,
    ca_cert: String,
    #[serde(with = "crate::wiped")]
    ca_private_key: Hidden,
    key_type: String,
    key_bits: u64,
    signature_bits: u64,
}

/// What an account logs in with.
pub(super) struct Issued {
    pub certificate: String,
    /// PKCS#8, PEM.
    pub private_key: Hidden,
    /// `rsa`, `ec` or `ed25519`.
    pub kind: String,
}

impl Authority {
    /// Reads `credential_config`, and tries whether it can sign.
    pub fn read(mut config: BTreeMap<String, String>) -> Result<Self, Error> {
        let mut text = |name: &str| match config.remove(name).unwrap_or_default() {
            text if text.len() > MAX_PEM => {
                Err(Error::TooLarge(format!("{name} is longer than {MAX_PEM} bytes")))
            }
            text => Ok(text),
        };
        let number = |name: &str, text: String| match text.as_str() {
            "" => Ok(0),
            digits => digits
                .parse()
                .map_err(|_| Error::invalid(format!("credential_config: {name} is not a number of bits"))),
        };
        let authority = Self {
            common_name_template: text("common_name_template")?,
            ca_cert: text("ca_cert")?,
            ca_private_key: Hidden::new(text("ca_private_key")?),
            key_type: text("key_type")?,
            key_bits: number("key_bits", text("key_bits")?)?,
            signature_bits: number("signature_bits", text("signature_bits")?)?,
        };
        if let Some(other) = config.keys().next() {
            return Err(unknown(other));
        }
        authority.wish()?;
        authority.issuer()?;
        Ok(authority)
    }

    /// What is shown of it: all but the key.
    pub fn told(&self) -> Value {
        json!({
            "common_name_template": self.common_name_template,
            "ca_cert": self.ca_cert,
            "key_type": self.key_type,
            "key_bits": self.key_bits,
            "signature_bits": self.signature_bits,
        })
    }

    /// A certificate until a time, for an account; or what must be computed for it first.
    pub fn issue(
        &self,
        username: &str,
        names: &template::Names<'_>,
        until: Millis,
        env: &mut Env<'_>,
    ) -> Result<Result<Issued, Heavy>, Error> {
        let key = match self.key(env)? {
            Ok(key) => key,
            Err(heavy) => return Ok(Err(heavy)),
        };
        let pair = KeyPair::try_from(key.as_slice());
        let pair = pair.map_err(|_| Error::internal("a key that was made cannot be used"))?;
        let common_name = match self.common_name_template.as_str() {
            "" => username.to_owned(),
            template => {
                let names = template::Names {
                    more: &[("Username", username)],
                    ..*names
                };
                template::render(template, &names, env)?
            }
        };
        if common_name.len() > MAX_NAME {
            return Err(Error::invalid(format!(
                "the common name of the certificate is longer than {MAX_NAME} bytes"
            )));
        }
        let mut serial = [0; SERIAL];
        env.fill(&mut serial);
        // Positive, and never shorter.
        serial[0] = serial[0] & 0x7f | 0x40;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + Duration::from_secs(env.now().saturating_sub(BACKDATED) / 1000);
        params.not_after = epoch + Duration::from_secs(until.div_ceil(1000));
        let issuer = self.issuer()?;
        let signed = env.heavy(|| params.signed_by(&pair, &issuer))?;
        let signed = signed.map_err(|_| Error::internal("a certificate could not be signed"))?;
        Ok(Ok(Issued {
            certificate: signed.pem(),
            private_key: der::pem("PRIVATE KEY", &key),
            kind: self.key_type.clone(),
        }))
    }

    fn wish(&self) -> Result<Wish, Error> {
        match (self.key_type.as_str(), self.key_bits) {
            ("rsa", 0) => Ok(Wish::Rsa(2048)),
            ("rsa", 2048) => Ok(Wish::Rsa(2048)),
            ("rsa", 3072) => Ok(Wish::Rsa(3072)),
            ("rsa", 4096) => Ok(Wish::Rsa(4096)),
            ("ec", 0 | 256) => Ok(Wish::Ec(Curve::P256)),
            ("ec", 384) => Ok(Wish::Ec(Curve::P384)),
            ("ed25519", _) => Ok(Wish::Ed25519),
            _ => Err(Error::invalid(
                "key_type must be rsa (key_bits 2048, 3072 or 4096), ec (256 or 384) or ed25519",
            )),
        }
    }

    /// The key of an account, PKCS#8.
    fn key(&self, env: &mut Env<'_>) -> Result<Result<Zeroizing<Vec<u8>>, Heavy>, Error> {
        Ok(Ok(match self.wish()? {
            Wish::Rsa(bits) => {
                let slow = Heavy::new(format!("database rsa {bits}"), move || {
                    rsa::generate(bits).unwrap_or_default()
                });
                match env.compute(slow) {
                    Ok(key) => Zeroizing::new(key.to_vec()),
                    Err(slow) => return Ok(Err(slow)),
                }
            }
            Wish::Ec(curve) => {
                let fresh = curve.generate(env)?;
                curve.pkcs8_der(&fresh.scalar, &fresh.point)
            }
            Wish::Ed25519 => {
                let mut seed = Zeroizing::new([0; ed::SEED_LEN]);
                env.fill(&mut *seed);
                ed::pkcs8_der(&ed::key_of(&*seed)?)
            }
        }))
    }

    /// Who signs.
    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, Error> {
        let wrong = |what: &str| Error::invalid(format!("credential_config: {what}"));
        if self.ca_cert.is_empty() || self.ca_private_key.is_empty() {
            return Err(wrong("ca_cert and ca_private_key are required"));
        }
        let key = match self.signature_bits {
            0 | 256 => KeyPair::from_pem(&self.ca_private_key),
            384 => KeyPair::from_pem_and_sign_algo(&self.ca_private_key, &rcgen::PKCS_RSA_SHA384),
            512 => KeyPair::from_pem_and_sign_algo(&self.ca_private_key, &rcgen::PKCS_RSA_SHA512),
            _ => return Err(wrong("signature_bits must be 0, 256, 384 or 512")),
        };
        let key = key.map_err(|_| {
            wrong("ca_private_key cannot be used; signature_bits other than 0 and 256 are for keys of RSA")
        })?;
        let (_, certificate) =
            der::of_pem(&self.ca_cert).ok_or_else(|| wrong("ca_cert is no PEM certificate"))?;
        let public = key.der_bytes();
        if !certificate.windows(public.len()).any(|part| part == public) {
            return Err(wrong("ca_private_key is not the key of ca_cert"));
        }
        Issuer::from_ca_cert_pem(&self.ca_cert, key).map_err(|_| wrong("ca_cert is no certificate"))
    }
}

/// A field of `credential_config` that there is not. A key that was given for the whole of it would be named as one: only what looks
/// like a name is told.
pub(super) fn unknown(field: &str) -> Error {
    let is_name = field.len() <= 32
        && field
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter == '_');
    Error::invalid(match is_name {
        true => format!("credential_config has no field {field:?}"),
        false => "credential_config must have its fields as pairs: key_type=ec, say".to_owned(),
    })
}

/// What key is to be made.
enum Wish {
    Rsa(usize),
    Ec(Curve),
    Ed25519,
}
