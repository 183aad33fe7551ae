//! A root token for share holders who have none: it is made when a threshold of shares came in, and handed out masked by a
//! one-time password that only whoever began knows.

use base64::Engine as _;
use zeroize::Zeroizing;

use conclave_barrier::{SealConfig, ShareProgress};
use conclave_engine_api::Env;

use crate::ceremony::{check_nonce, fresh_nonce, give, nonce_text};
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::seal::{PgpKey, decode_share, rows, share_error};
use crate::store::{CommitError, commit};
use crate::tokens::{self, NewToken};
use crate::work::{Readers, Work};

/// Length of a root token, and so of its one-time password.
pub const TOKEN_BYTES: usize = tokens::RANDOM_TOKEN_BYTES;

/// Tries before a token that keeps losing to other changes, or whose outcome stays unknown, is given up for now.
const TRIES: u32 = 8;

/// A generation under way.
pub(super) struct Generation {
    /// The seal whose shares are gathered.
    seal: SealConfig,
    /// Revision of its row: a token is made only while these shares still open the seal.
    revision: u64,
    given: ShareProgress,
    hidden: Hidden,
    /// Chosen in advance, so that a second try makes no second token.
    token: Zeroizing<String>,
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
}

/// What came of giving a share.
pub struct Generated {
    /// How far it is.
    pub status: GenerationStatus,
    /// The token, masked with the one-time password, once all shares are there.
    pub encoded: Option<String>,
}

impl Core {
    /// How far the generation is.
    pub(crate) fn generation_status(&self) -> Result<GenerationStatus, Error> {
        let required = self.seal_config()?.threshold();
        let slot = self.ceremonies.generation.lock();
        Ok(status(required, slot.as_ref()))
    }

    /// Begins a generation. Without a one-time password one is made and returned, unless the token is encrypted to a key.
    pub(crate) async fn begin_generation(
        &self,
        otp: Option<Zeroizing<String>>,
        key: Option<PgpKey>,
    ) -> Result<(GenerationStatus, Option<Zeroizing<String>>), Error> {
        self.seal.session()?;
        if otp.as_ref().is_some_and(|otp| otp.len() != TOKEN_BYTES) {
            return Err(Error::invalid("OTP string has incorrect length"));
        }
        let view = self.seal.replica()?.read().await?;
        let seal = rows::seal_config(&view)?.ok_or(Error::NotInitialized)?;
        let revision = rows::seal_revision(&view)?;
        let mut slot = self.ceremonies.generation.lock();
        if slot.is_some() {
            return Err(Error::invalid("root generation already in progress"));
        }
        let mut entropy = OsEntropy;
        let mut env = Env::new(0, &mut entropy);
        let made = match (&otp, &key) {
            (None, None) => Some(Zeroizing::new(env.base62(TOKEN_BYTES))),
            _ => None,
        };
        let hidden = match key {
            Some(key) => Hidden::Encrypted(Box::new(key)),
            None => Hidden::Masked(otp.or_else(|| made.clone()).unwrap_or_default()),
        };
        let generation = Generation {
            given: ShareProgress::new(&seal, fresh_nonce()),
            seal,
            revision,
            hidden,
            token: tokens::random_token(&mut env),
        };
        let begun = status(generation.seal.threshold(), Some(&generation));
        *slot = Some(generation);
        Ok((begun, made))
    }

    /// Takes one share; with the last one makes the token. A try that fails after that is repeated by giving any of the
    /// shares again.
    pub(crate) async fn update_generation(&self, nonce: &str, share: &str) -> Result<Generated, Error> {
        self.seal.session()?;
        let share = decode_share(share)?;
        let (status, revision, token, encoded) = {
            let mut slot = self.ceremonies.generation.lock();
            let generation = slot.as_mut().ok_or_else(none)?;
            check_nonce(generation.given.nonce(), nonce)?;
            give(&mut generation.given, &generation.seal, share)?;
            let status = status(generation.seal.threshold(), Some(generation));
            if !generation.given.is_complete() {
                return Ok(Generated {
                    status,
                    encoded: None,
                });
            }
            generation
                .given
                .open_root(&generation.seal)
                .map_err(|error| share_error(&error))?;
            let encoded = generation.hidden.hide(&generation.token)?;
            (status, generation.revision, generation.token.clone(), encoded)
        };
        self.make_root_token(revision, &token).await?;
        let mut slot = self.ceremonies.generation.lock();
        if slot
            .as_ref()
            .is_some_and(|generation| nonce_text(generation.given.nonce()) == nonce)
        {
            *slot = None;
        }
        Ok(Generated {
            status,
            encoded: Some(encoded),
        })
    }

    /// Ends the generation on this node. A nonce, if one is shown, must be the attempt's.
    pub(crate) fn cancel_generation(&self, nonce: Option<&str>) -> Result<(), Error> {
        let mut slot = self.ceremonies.generation.lock();
        if let (Some(generation), Some(nonce)) = (slot.as_ref(), nonce) {
            check_nonce(generation.given.nonce(), nonce)?;
        }
        *slot = None;
        Ok(())
    }

    async fn make_root_token(&self, seal_revision: u64, token: &Zeroizing<String>) -> Result<(), Error> {
        let mut last = Error::Contention;
        for _ in 0..TRIES {
            match self.try_root_token(seal_revision, token).await {
                Ok(()) => {
                    tracing::info!("a root token was generated by share holders");
                    return Ok(());
                }
                Err(CommitError::Retry) => {}
                // The next try sees whether it is there.
                Err(CommitError::Failed(Error::OutcomeUnknown)) => last = Error::OutcomeUnknown,
                Err(CommitError::Failed(error)) => return Err(error),
                Err(CommitError::Refused) => return Err(Error::internal("a root token was refused")),
            }
        }
        Err(last)
    }

    async fn try_root_token(&self, seal_revision: u64, token: &Zeroizing<String>) -> Result<(), CommitError> {
        let (session, replica) = (self.seal.session()?, self.seal.replica()?);
        let view = replica.read().await.map_err(Error::from)?;
        if rows::seal_revision(&view)? != seal_revision {
            return Err(Error::invalid("the shares were changed during this operation; begin again").into());
        }
        let (opened, derived) = session.view(view)?;
        let now = replica.now();
        let mut proposal = {
            let readers = Readers::new(&opened);
            let mut work = Work::new(&readers, &derived.catalog);
            if tokens::by_id(&mut work, token, now)?.is_some() {
                return Ok(());
            }
            let mut entropy = OsEntropy;
            let new = NewToken::root(Some(token.to_string()));
            tokens::mint(&mut work, &mut Env::new(now, &mut entropy), new)?;
            work.finish()?
        };
        drop(opened);
        proposal.expect.push(rows::expect_seal(seal_revision));
        commit(replica.as_ref(), proposal).await?;
        Ok(())
    }
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

fn status(required: u8, generation: Option<&Generation>) -> GenerationStatus {
    GenerationStatus {
        nonce: generation.map(|generation| nonce_text(generation.given.nonce())),
        given: generation.map_or(0, |generation| generation.given.given()),
        required,
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
