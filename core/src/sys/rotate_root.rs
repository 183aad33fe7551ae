//! `sys/rotate/root/*` and `sys/rekey/*`: new shares and a new root key, in Vault's and OpenBao's shapes.

use std::collections::BTreeMap;

use base64::Engine as _;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use conclave_engine_api::{Fields, Operation};

use crate::catalog::decode_record;
use crate::ceremony::{BACKUP, Backup, RotationStatus, Updated, VerificationStatus, Verified, Wanted};
use crate::error::Error;
use crate::routes::{Act, Answer, Call};
use crate::seal::{Threshold, read_all};
use crate::store::layout::ring_of;
use crate::sys::object;

/// `sys/rotate/root`: a new root key without its holders. Shares are of the root key itself, with no key between: another root key
/// has other shares, and whoever asks for it alone would lock its holders out.
pub fn without_shares(_: &mut Call<'_, '_>) -> Result<Answer, Error> {
    Err(Error::invalid(
        "the shares are of the root key itself, so a new one comes with new shares: use sys/rotate/root/init and update",
    ))
}

/// Recovery keys belong to seals that open without shares.
pub fn recovery(_: &mut Call<'_, '_>) -> Result<Answer, Error> {
    Err(Error::invalid("recovery not supported"))
}

/// The copy of recovery keys, of which there never is one.
pub fn recovery_backup(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    match call.operation {
        Operation::Delete => Ok(Answer::empty()),
        _ => Err(Error::invalid("no backed-up keys found")),
    }
}

/// The copy of the shares that the last rotation kept, encrypted to the keys of those who hold them.
pub fn backup(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let row = call.work.config.get(BACKUP)?;
    if call.operation == Operation::Delete {
        if row.is_some() {
            call.work.config.delete(BACKUP)?;
        }
        return Ok(Answer::empty());
    }
    let row = row.ok_or_else(|| Error::invalid("no backed-up keys found"))?;
    let kept: Backup = decode_record(&row.value)?;
    let base64 = &base64::engine::general_purpose::STANDARD;
    let in_base64 = |share: &String| hex::decode(share).map(|share| base64.encode(share));
    let mut keys_base64 = BTreeMap::new();
    for (fingerprint, shares) in &kept.keys {
        let shares: Result<Vec<String>, _> = shares.iter().map(in_base64).collect();
        let shares = shares.map_err(|_| Error::internal("the copy of the shares is damaged"))?;
        keys_base64.insert(fingerprint.clone(), shares);
    }
    Ok(Answer::at_top_level(object(json!({
        "nonce": kept.nonce,
        "keys": kept.keys,
        "keys_base64": keys_base64,
    }))))
}

/// `operator rotate-keys -status`.
pub fn status(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move { Ok(describe(&act.core.rotation_status(ring_of(act.namespace))?)) }.boxed()
}

/// `operator rotate-keys -init`.
pub fn begin(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let fields = act.fields();
        let split = Threshold::check(
            fields.int("secret_shares")?.unwrap_or(0),
            fields.int("secret_threshold")?.unwrap_or(0),
        )?;
        let keys = read_all(fields.strings("pgp_keys")?, split.shares, act.core.seal.now());
        let keys = keys.map_err(|error| match error {
            Error::Invalid(why) => Error::invalid(format!("invalid rotate seal configuration: {why}")),
            other => other,
        })?;
        let backup = fields.bool("backup")?.unwrap_or(false);
        if backup && keys.is_empty() {
            return Err(Error::invalid(
                "cannot request a backup of the new keys without providing PGP keys for encryption",
            ));
        }
        let wanted = Wanted {
            split,
            verify: fields.bool("require_verification")?.unwrap_or(false),
            keys,
            backup,
        };
        Ok(describe(
            &act.core.begin_rotation(ring_of(act.namespace), wanted).await?,
        ))
    }
    .boxed()
}

/// `operator rotate-keys -cancel`. Whoever may do this needs no nonce; one that is shown must be right.
pub fn cancel(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let nonce = act.fields().string("nonce")?.filter(|nonce| !nonce.is_empty());
        act.core
            .cancel_rotation(ring_of(act.namespace), nonce.as_deref())
            .await?;
        Ok(Answer::empty())
    }
    .boxed()
}

/// The same for callers without a token: the nonce is all they can show.
pub fn cancel_by_nonce(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let nonce = required(&act.fields(), "nonce")?;
        act.core
            .cancel_rotation(ring_of(act.namespace), Some(&nonce))
            .await?;
        Ok(Answer::empty())
    }
    .boxed()
}

/// `operator rotate-keys`: one of the present shares.
pub fn update(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let (nonce, key) = nonce_and_key(&act)?;
        let ring = ring_of(act.namespace);
        match act.core.update_rotation(ring, &nonce, &key).await? {
            Updated::More(status) => Ok(describe(&status)),
            Updated::Made {
                nonce,
                shares,
                fingerprints,
                backup,
                verification_nonce,
            } => {
                let base64 = &base64::engine::general_purpose::STANDARD;
                Ok(Answer::at_top_level(object(json!({
                    "nonce": nonce,
                    "complete": true,
                    "keys": shares.iter().map(hex::encode).collect::<Vec<_>>(),
                    "keys_base64": shares.iter().map(|share| base64.encode(share)).collect::<Vec<_>>(),
                    "pgp_fingerprints": named(&fingerprints),
                    "backup": backup,
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
    async move {
        Ok(describe_verification(
            &act.core.verification_status(ring_of(act.namespace))?,
        ))
    }
    .boxed()
}

/// `operator rotate-keys -verify`: one of the new shares.
pub fn verify(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let (nonce, key) = nonce_and_key(&act)?;
        let ring = ring_of(act.namespace);
        match act.core.verify_rotation(ring, &nonce, &key).await? {
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
    async move {
        Ok(describe_verification(
            &act.core.restart_verification(ring_of(act.namespace))?,
        ))
    }
    .boxed()
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
        "pgp_fingerprints": current.map_or(Value::Null, |current| named(&current.fingerprints)),
        "backup": current.is_some_and(|current| current.backup),
        "verification_required": current.is_some_and(|current| current.verify),
        "verification_nonce": verification.unwrap_or_default(),
    })))
}

/// Fingerprints, or that there are none.
fn named(fingerprints: &[String]) -> Value {
    match fingerprints {
        [] => Value::Null,
        some => json!(some),
    }
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
