//! A root token for share holders who have none, of the namespace whose seal their shares open: it is made when a threshold of
//! shares came in, and handed out masked by a one-time password that only whoever began knows.

use std::sync::Arc;

use base64::Engine as _;
use zeroize::Zeroizing;

use conclave_barrier::ShareProgress;
use conclave_engine_api::Env;

use crate::ceremony::minting::Minting;
use crate::ceremony::{check_nonce, fresh_nonce, give, nonce_text};
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::namespaces::id;
use crate::seal::{PgpKey, StoredSeal, decode_share, share_error};
use crate::store::layout::owner_of;
use crate::tokens;

/// A generation under way.
pub(super) struct Generation {
    given: ShareProgress,
    hidden: Hidden,
    minting: Arc<Minting>,
}

/// How the token is handed out.
enum Hidden {
    /// Masked with a one-time password.
    Masked(Zeroizing<String>),
    /// Encrypted to somebody's key.
    Encrypted(Box<PgpKey>),
}

/// How far a generation is.
pub struct GenerationStatus {
    /// Names the attempt; `None` if there is none.
    pub nonce: Option<String>,
    /// Shares given so far.
    pub given: usize,
    /// Shares needed.
    pub required: u8,
    /// Fingerprint of the key that the token is encrypted to; empty if it is masked.
    pub fingerprint: String,
    /// Characters of the token, and so of its one-time password.
    pub otp_length: usize,
}

/// What came of giving a share.
pub struct Generated {
    /// How far it is.
    pub status: GenerationStatus,
    /// The token, masked with the one-time password, once all shares are there.
    pub encoded: Option<String>,
}

impl Core {
    /// How far the generation of a ring is.
    pub(crate) fn generation_status(&self, ring: u16) -> Result<GenerationStatus, Error> {
        let seal = StoredSeal::of(self.seal.replica()?.view()?.as_ref(), ring)?;
        let generations = self.ceremonies.generations.lock();
        Ok(status(&seal, generations.get(&ring)))
    }

    /// Begins a generation. Without a one-time password one is made and returned, unless the token is encrypted to a key.
    pub(crate) async fn begin_generation(
        &self,
        ring: u16,
        otp: Option<Zeroizing<String>>,
        key: Option<PgpKey>,
    ) -> Result<(GenerationStatus, Option<Zeroizing<String>>), Error> {
        self.seal.session()?;
        let length = token_length(ring);
        if otp.as_ref().is_some_and(|otp| otp.len() != length) {
            return Err(Error::invalid("OTP string has incorrect length"));
        }
        let seal = StoredSeal::of(self.seal.replica()?.read().await?.as_ref(), ring)?;
        let mut generations = self.ceremonies.generations.lock();
        if generations.contains_key(&ring) {
            return Err(Error::invalid(
                "root generation already in progress for this namespace",
            ));
        }
        let mut entropy = OsEntropy;
        let mut env = Env::new(0, &mut entropy);
        let made = match (&otp, &key) {
            (None, None) => Some(Zeroizing::new(env.base62(length))),
            _ => None,
        };
        let hidden = match key {
            Some(key) => Hidden::Encrypted(Box::new(key)),
            None => Hidden::Masked(otp.or_else(|| made.clone()).unwrap_or_default()),
        };
        let generation = Generation {
            given: ShareProgress::new(&seal.config, fresh_nonce()),
            minting: Arc::new(Minting::of(seal, &mut env)),
            hidden,
        };
        let begun = status(generation.minting.seal(), Some(&generation));
        generations.insert(ring, generation);
        Ok((begun, made))
    }

    /// Takes one share; with the last one makes the token. A try that fails after that is repeated by giving any of the
    /// shares again.
    pub(crate) async fn update_generation(
        &self,
        ring: u16,
        nonce: &str,
        share: &str,
    ) -> Result<Generated, Error> {
        self.seal.session()?;
        let share = decode_share(share)?;
        let (status, minting, encoded) = {
            let mut generations = self.ceremonies.generations.lock();
            let generation = generations.get_mut(&ring).ok_or_else(none)?;
            check_nonce(generation.given.nonce(), nonce)?;
            let minting = generation.minting.clone();
            let seal = minting.seal();
            give(&mut generation.given, (ring, &seal.config), share)?;
            let status = status(seal, Some(generation));
            if !generation.given.is_complete() {
                return Ok(Generated {
                    status,
                    encoded: None,
                });
            }
            generation
                .given
                .open_root(&seal.config)
                .map_err(|error| share_error(ring, &error))?;
            let encoded = generation.hidden.hide(minting.token())?;
            (status, minting, encoded)
        };
        minting.commit(self).await?;
        self.end_generation(ring, nonce);
        Ok(Generated {
            status,
            encoded: Some(encoded),
        })
    }

    /// Ends the generation on this node. A nonce, if one is shown, must be the attempt's. If its last step was tried and failed, it
    /// is made sure first that the token is never made: nobody would know it.
    pub(crate) async fn cancel_generation(&self, ring: u16, nonce: Option<&str>) -> Result<(), Error> {
        let (attempt, tried) = {
            let generations = self.ceremonies.generations.lock();
            let Some(generation) = generations.get(&ring) else {
                return Ok(());
            };
            if let Some(nonce) = nonce {
                check_nonce(generation.given.nonce(), nonce)?;
            }
            let tried = generation.given.is_complete();
            let tried = tried.then(|| generation.minting.clone());
            (nonce_text(generation.given.nonce()), tried)
        };
        if let Some(minting) = tried
            && !minting.abandon(self).await?
        {
            return Err(Error::invalid(
                "the root token is made already; give one of the shares again to be told of it",
            ));
        }
        self.end_generation(ring, &attempt);
        Ok(())
    }

    fn end_generation(&self, ring: u16, nonce: &str) {
        let mut generations = self.ceremonies.generations.lock();
        generations.retain(|of, generation| *of != ring || nonce_text(generation.given.nonce()) != nonce);
    }
}

/// Characters of a root token of the namespace whose seal a ring's shares open.
fn token_length(ring: u16) -> usize {
    id::marked_length(tokens::RANDOM_TOKEN_BYTES, owner_of(ring))
}

impl Hidden {
    /// The token as it is handed out.
    fn hide(&self, token: &str) -> Result<String, Error> {
        match self {
            Self::Masked(otp) => mask(token, otp),
            Self::Encrypted(key) => {
                let message = key.encrypt(token.as_bytes())?;
                Ok(base64::engine::general_purpose::STANDARD.encode(message))
            }
        }
    }

    fn fingerprint(&self) -> String {
        match self {
            Self::Masked(_) => String::new(),
            Self::Encrypted(key) => key.fingerprint(),
        }
    }
}

/// The masked token that `decode-token` and command lines take: base64 without padding of both texts' exclusive or.
fn mask(token: &str, otp: &str) -> Result<String, Error> {
    let masked = exclusive_or(token.as_bytes(), otp.as_bytes())
        .ok_or_else(|| Error::internal("a token and its one-time password differ in length"))?;
    Ok(base64::engine::general_purpose::STANDARD_NO_PAD.encode(&*masked))
}

/// The token behind a masked one.
///
/// # Errors
/// [`Error::Invalid`] unless it is base64 and as long as the one-time password.
pub fn unmask(encoded: &str, otp: &str) -> Result<Zeroizing<String>, Error> {
    let masked = base64::engine::general_purpose::STANDARD_NO_PAD
        .decode(encoded.trim_end_matches('='))
        .map(Zeroizing::new)
        .map_err(|_| Error::invalid("encoded_token must be base64"))?;
    let token = exclusive_or(&masked, otp.as_bytes())
        .ok_or_else(|| Error::invalid("error xoring token: length of byte slices is not equivalent"))?;
    let token = std::str::from_utf8(&token)
        .map_err(|_| Error::invalid("the one-time password does not belong to this token"))?;
    Ok(Zeroizing::new(token.to_owned()))
}

fn exclusive_or(left: &[u8], right: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    (left.len() == right.len())
        .then(|| Zeroizing::new(left.iter().zip(right).map(|(left, right)| left ^ right).collect()))
}

fn status(seal: &StoredSeal, generation: Option<&Generation>) -> GenerationStatus {
    GenerationStatus {
        nonce: generation.map(|generation| nonce_text(generation.given.nonce())),
        given: generation.map_or(0, |generation| generation.given.given()),
        required: seal.config.threshold(),
        otp_length: token_length(seal.ring),
        fingerprint: generation.map_or_else(String::new, |generation| generation.hidden.fingerprint()),
    }
}

fn none() -> Error {
    Error::invalid(
        "no root generation is in progress on this node; it is carried on by the node on which it began",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_comes_off_with_its_password_only() {
        // Made by `bao` 2.7.2.
        let (encoded, otp) = (
            "ImcdMCcTPRsSBX1fcDdZPQFPDlMcQRwOei4",
            "QIZCdatud5MgIa8OV9mbM2RYNI",
        );
        let token = "s.GsCrInv0089VarWvc1QsNW4g";
        assert_eq!(unmask(encoded, otp).unwrap().as_str(), token);
        assert_eq!(mask(token, otp).unwrap(), encoded);
        for (encoded, otp) in [(encoded, "x"), ("%%", otp), ("", "x"), ("gICA", "abc")] {
            assert!(
                matches!(unmask(encoded, otp), Err(Error::Invalid(_))),
                "{encoded}"
            );
        }
    }
}
