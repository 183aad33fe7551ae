//! Keys that never leave the cluster: the transit engine. Bytes go in and come out; the base64 of the API stays in here.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Map;
use zeroize::Zeroizing;

use super::call::Repeat;
use super::logical::{Answer, Verb};
use super::secret::SecretBytes;
use super::{Conclave, Error};

/// The keys of one transit mount.
#[derive(Clone)]
pub struct Transit {
    cluster: Conclave,
    mount: String,
}

/// What is wanted of a new key. The default is an AES-256-GCM key that stays where it is.
#[derive(Debug, Clone, Default, Serialize)]
pub struct KeyWishes {
    /// For example `aes256-gcm96`, `ed25519`, `ecdsa-p256`, `rsa-2048` or `hmac`; empty: the engine's default.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Whether each context has a key of its own.
    pub derived: bool,
    /// Whether equal texts of one context become equal ciphertexts.
    pub convergent_encryption: bool,
    /// Whether it may be exported.
    pub exportable: bool,
    /// Whether it may be backed up, in the clear.
    pub allow_plaintext_backup: bool,
    /// After how long it is rotated by itself, in whole seconds; zero: never.
    #[serde(serialize_with = "seconds")]
    pub auto_rotate_period: Duration,
}

/// What is known of a key.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct TransitKey {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The version that encrypts and signs.
    pub latest_version: u64,
    /// The oldest that still decrypts and verifies.
    pub min_decryption_version: u64,
    /// The oldest that may be named to encrypt; 0: the latest alone.
    pub min_encryption_version: u64,
    /// Whether each context has a key of its own.
    pub derived: bool,
    /// Whether it may be exported.
    pub exportable: bool,
    /// Whether it may be deleted.
    pub deletion_allowed: bool,
    /// What it can do.
    pub supports_encryption: bool,
    /// What it can do.
    pub supports_signing: bool,
}

/// How a key is used. The default is its latest version and nothing else.
#[derive(Clone, Copy, Default)]
pub struct Use<'a> {
    /// Which key of a key that derives.
    pub context: Option<&'a [u8]>,
    /// What is bound to a ciphertext without being in it.
    pub associated_data: Option<&'a [u8]>,
    /// A version; 0: the latest.
    pub key_version: u64,
}

/// A key for the application's own encryption, and the same key encrypted, to be kept beside what it encrypts.
pub struct DataKey {
    /// The key; empty if it was not asked for.
    pub plaintext: SecretBytes,
    /// The key, encrypted.
    pub ciphertext: String,
}

#[derive(Serialize, Default)]
struct Asked<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hmac: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    associated_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bits: Option<u32>,
}

impl Transit {
    pub(super) fn new(cluster: Conclave, mount: String) -> Self {
        Self { cluster, mount }
    }

    /// Makes a key. One of this name stays as it is.
    ///
    /// # Errors
    /// [`Error::Invalid`] for wishes that do not go together.
    pub async fn create_key(&self, name: &str, wishes: &KeyWishes) -> Result<(), Error> {
        self.write(&format!("keys/{name}"), wishes).await.map(drop)
    }

    /// What is known of a key.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none of this name.
    pub async fn key(&self, name: &str) -> Result<TransitKey, Error> {
        let path = self.place(&format!("keys/{name}"));
        self.cluster.logical().read(&path).await?.data.decode()
    }

    /// The names of all keys, sorted.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn keys(&self) -> Result<Vec<String>, Error> {
        match self.cluster.logical().list(&self.place("keys")).await {
            Err(Error::NotFound(_)) => Ok(Vec::new()),
            listed => listed,
        }
    }

    /// Adds a version, which encrypts and signs from now on.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no key of this name.
    pub async fn rotate_key(&self, name: &str) -> Result<(), Error> {
        let path = format!("keys/{name}/rotate");
        self.write(&path, &Map::new()).await.map(drop)
    }

    /// Changes what may be changed of a key: `settings` holds for example `min_decryption_version` or `deletion_allowed`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for settings that do not go together.
    pub async fn configure_key<T: Serialize + ?Sized>(&self, name: &str, settings: &T) -> Result<(), Error> {
        self.write(&format!("keys/{name}/config"), settings)
            .await
            .map(drop)
    }

    /// Removes a key with all its versions: what they encrypted is lost.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the key's settings do not allow it.
    pub async fn delete_key(&self, name: &str) -> Result<(), Error> {
        let path = self.place(&format!("keys/{name}"));
        self.cluster.logical().delete(&path).await.map(drop)
    }

    /// Encrypts; the ciphertext names the key's version.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the key does not encrypt.
    pub async fn encrypt(&self, name: &str, plaintext: &[u8], with: Use<'_>) -> Result<String, Error> {
        let plaintext = Zeroizing::new(BASE64.encode(plaintext));
        let asked = Asked {
            plaintext: Some(&plaintext),
            ..Asked::of(with)
        };
        self.told("encrypt", name, &asked, "ciphertext").await
    }

    /// Decrypts.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is no ciphertext of this key, or of a version that does not decrypt any more.
    pub async fn decrypt(&self, name: &str, ciphertext: &str, with: Use<'_>) -> Result<SecretBytes, Error> {
        let asked = Asked {
            ciphertext: Some(ciphertext),
            ..Asked::of(with)
        };
        let answer = self.write(&format!("decrypt/{name}"), &asked).await?;
        bytes(&answer, "plaintext")
    }

    /// Encrypts by the latest version what another encrypted, without showing it.
    ///
    /// # Errors
    /// As [`Transit::decrypt`].
    pub async fn rewrap(&self, name: &str, ciphertext: &str, with: Use<'_>) -> Result<String, Error> {
        let asked = Asked {
            ciphertext: Some(ciphertext),
            ..Asked::of(with)
        };
        self.told("rewrap", name, &asked, "ciphertext").await
    }

    /// Makes a key of `bits` (128, 256 or 512) for the application's own encryption, and encrypts it. `shown`: whether it is
    /// answered in the clear too.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another number of bits.
    pub async fn data_key(
        &self,
        name: &str,
        bits: u32,
        shown: bool,
        with: Use<'_>,
    ) -> Result<DataKey, Error> {
        let kind = if shown { "plaintext" } else { "wrapped" };
        let asked = Asked {
            bits: Some(bits),
            ..Asked::of(with)
        };
        let answer = self.write(&format!("datakey/{kind}/{name}"), &asked).await?;
        Ok(DataKey {
            plaintext: match shown {
                true => bytes(&answer, "plaintext")?,
                false => SecretBytes::new(Vec::new()),
            },
            ciphertext: text(&answer, "ciphertext")?,
        })
    }

    /// Signs; the signature names the key's version.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the key does not sign.
    pub async fn sign(&self, name: &str, input: &[u8], with: Use<'_>) -> Result<String, Error> {
        let input = BASE64.encode(input);
        let asked = Asked {
            input: Some(&input),
            ..Asked::of(with)
        };
        self.told("sign", name, &asked, "signature").await
    }

    /// Whether a signature is this key's over this input.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no signature at all.
    pub async fn verify(
        &self,
        name: &str,
        input: &[u8],
        signature: &str,
        with: Use<'_>,
    ) -> Result<bool, Error> {
        let input = BASE64.encode(input);
        let asked = Asked {
            input: Some(&input),
            signature: Some(signature),
            ..Asked::of(with)
        };
        self.is_valid(name, &asked).await
    }

    /// A keyed hash of this input; it names the key's version.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no key of this name.
    pub async fn hmac(&self, name: &str, input: &[u8], with: Use<'_>) -> Result<String, Error> {
        let input = BASE64.encode(input);
        let asked = Asked {
            input: Some(&input),
            ..Asked::of(with)
        };
        self.told("hmac", name, &asked, "hmac").await
    }

    /// Whether a keyed hash is this key's over this input.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no keyed hash at all.
    pub async fn verify_hmac(
        &self,
        name: &str,
        input: &[u8],
        hmac: &str,
        with: Use<'_>,
    ) -> Result<bool, Error> {
        let input = BASE64.encode(input);
        let asked = Asked {
            input: Some(&input),
            hmac: Some(hmac),
            ..Asked::of(with)
        };
        self.is_valid(name, &asked).await
    }

    async fn is_valid(&self, name: &str, asked: &Asked<'_>) -> Result<bool, Error> {
        let answer = self.write(&format!("verify/{name}"), asked).await?;
        let valid = answer.data.value("valid").and_then(serde_json::Value::as_bool);
        valid.ok_or_else(|| untold("valid"))
    }

    async fn told(
        &self,
        action: &str,
        name: &str,
        asked: &Asked<'_>,
        member: &'static str,
    ) -> Result<String, Error> {
        text(&self.write(&format!("{action}/{name}"), asked).await?, member)
    }

    async fn write<T: Serialize + ?Sized>(&self, path: &str, data: &T) -> Result<Answer, Error> {
        self.cluster
            .logical()
            .ask(Repeat::ByKey, Verb::Write, &self.place(path), data)
            .await
    }

    fn place(&self, path: &str) -> String {
        format!("{}/{path}", self.mount.trim_end_matches('/'))
    }
}

impl Asked<'_> {
    fn of(with: Use<'_>) -> Self {
        Self {
            context: with.context.map(|context| BASE64.encode(context)),
            associated_data: with.associated_data.map(|data| BASE64.encode(data)),
            key_version: Some(with.key_version).filter(|version| *version > 0),
            ..Self::default()
        }
    }
}

fn text(answer: &Answer, member: &'static str) -> Result<String, Error> {
    let text = answer.data.text(member).ok_or_else(|| untold(member))?;
    Ok(text.to_owned())
}

fn bytes(answer: &Answer, member: &'static str) -> Result<SecretBytes, Error> {
    let text = answer.data.text(member).ok_or_else(|| untold(member))?;
    let bytes = BASE64.decode(text).map_err(|_| untold(member))?;
    Ok(SecretBytes::new(bytes))
}

fn untold(member: &'static str) -> Error {
    Error::Internal(format!("the node answered without {member}"))
}

fn seconds<S: serde::Serializer>(period: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(period.as_secs())
}
