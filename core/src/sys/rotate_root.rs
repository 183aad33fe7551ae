//! `sys/rotate/root/*` and `sys/rekey/*`: new shares and a new root key, in Vault's and OpenBao's shapes.

use base64::Engine as _;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use conclave_engine_api::{Fields, Operation};

use crate::ceremony::{RotationStatus, Updated, VerificationStatus, Verified};
use crate::error::Error;
use crate::routes::{Act, Answer, Call};
use crate::seal::Threshold;
use crate::sys::object;

/// `sys/rotate/root`: a new root key without shares. A seal of shares keeps no key with which to seal it.
pub fn without_shares(_: &mut Call<'_, '_>) -> Result<Answer, Error> {
    Err(Error::Unsupported(
        "a root key sealed by shares is rotated by their holders: use sys/rotate/root/init and update"
            .to_owned(),
    ))
}

/// Recovery keys belong to seals that open without shares.
pub fn recovery(_: &mut Call<'_, '_>) -> Result<Answer, Error> {
    Err(Error::invalid("recovery not supported"))
}

/// Shares are kept only where PGP keys seal them, which is not built: there is never a copy.
pub fn backup(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    match call.operation {
        Operation::Delete => Ok(Answer::empty()),
        _ => Err(Error::invalid("no backed-up keys found")),
    }
}

/// `operator rotate-keys -status`.
pub fn status(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move { Ok(describe(&act.core.rotation_status()?)) }.boxed()
}

/// `operator rotate-keys -init`.
pub fn begin(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let fields = act.fields();
        if fields.strings("pgp_keys")?.is_some_and(|keys| !keys.is_empty()) {
            return Err(Error::Unsupported("pgp_keys".to_owned()));
        }
        if fields.bool("backup")?.unwrap_or(false) {
            return Err(Error::invalid(
                "cannot request a backup of the new keys without providing PGP keys for encryption",
            ));
        }
        let split = Threshold::check(
            fields.int("secret_shares")?.unwrap_or(0),
            fields.int("secret_threshold")?.unwrap_or(0),
        )?;
        let verify = fields.bool("require_verification")?.unwrap_or(false);
        Ok(describe(&act.core.begin_rotation(split, verify).await?))
    }
    .boxed()
}

/// `operator rotate-keys -cancel`. Whoever may do this needs no nonce; one that is shown must be right.
pub fn cancel(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let nonce = act.fields().string("nonce")?.filter(|nonce| !nonce.is_empty());
        act.core.cancel_rotation(nonce.as_deref())?;
        Ok(Answer::empty())
    }
    .boxed()
}

/// The same for callers without a token: the nonce is all they can show.
pub fn cancel_by_nonce(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let nonce = required(&act.fields(), "nonce")?;
        act.core.cancel_rotation(Some(&nonce))?;
        Ok(Answer::empty())
    }
    .boxed()
}

/// `operator rotate-keys`: one of the present shares.
pub fn update(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let (nonce, key) = nonce_and_key(&act)?;
        match act.core.update_rotation(&nonce, &key).await? {
            Updated::More(status) => Ok(describe(&status)),
            Updated::Made {
                nonce,
                shares,
                verification_nonce,
            } => {
                let base64 = &base64::engine::general_purpose::STANDARD;
                Ok(Answer::at_top_level(object(json!({
                    "nonce": nonce,
                    "complete": true,
                    "keys": shares.iter().map(|share| hex::encode(share.expose())).collect::<Vec<_>>(),
                    "keys_base64": shares.iter().map(|share| base64.encode(share.expose())).collect::<Vec<_>>(),
                    "pgp_fingerprints": null,
                    "backup": false,
                    "verification_required": verification_nonce.is_some(),
                    "verification_nonce": verification_nonce.unwrap_or_default(),
                }))))
            }
        }
    }
    .boxed()
}

/// How far the verification is.
pub fn verification(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move { Ok(describe_verification(&act.core.verification_status()?)) }.boxed()
}

/// `operator rotate-keys -verify`: one of the new shares.
pub fn verify(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let (nonce, key) = nonce_and_key(&act)?;
        match act.core.verify_rotation(&nonce, &key).await? {
            Verified::More(status) => Ok(describe_verification(&status)),
            Verified::Done { nonce } => Ok(Answer::at_top_level(object(
                json!({"nonce": nonce, "complete": true}),
            ))),
        }
    }
    .boxed()
}

/// `operator rotate-keys -verify -cancel`.
pub fn restart_verification(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move { Ok(describe_verification(&act.core.restart_verification()?)) }.boxed()
}

/// The two fields of every step of a ceremony.
pub(super) fn nonce_and_key(act: &Act) -> Result<(String, Zeroizing<String>), Error> {
    let fields = act.fields();
    let key = Zeroizing::new(required(&fields, "key")?);
    Ok((required(&fields, "nonce")?, key))
}

pub(super) fn required(fields: &Fields<'_>, name: &str) -> Result<String, Error> {
    fields
        .string(name)?
        .filter(|text| !text.is_empty())
        .ok_or_else(|| Error::invalid(format!("missing required field '{name}'")))
}

fn describe(status: &RotationStatus) -> Answer {
    let current = status.current.as_ref();
    let nonce = current.map(|current| current.nonce.as_str()).unwrap_or_default();
    let verification = current.and_then(|current| current.verification_nonce.as_deref());
    Answer::at_top_level(object(json!({
        "nonce": nonce,
        "started": current.is_some(),
        "t": current.map_or(0, |current| current.split.threshold),
        "n": current.map_or(0, |current| current.split.shares),
        "progress": current.map_or(0, |current| current.given),
        "required": status.required,
        "pgp_fingerprints": null,
        "backup": false,
        "verification_required": current.is_some_and(|current| current.verify),
        "verification_nonce": verification.unwrap_or_default(),
    })))
}

fn describe_verification(status: &VerificationStatus) -> Answer {
    Answer::at_top_level(object(json!({
        "nonce": status.nonce.as_deref().map_or(Value::from(""), Value::from),
        "started": status.nonce.is_some(),
        "t": status.split.threshold,
        "n": status.split.shares,
        "progress": status.given,
    })))
}
