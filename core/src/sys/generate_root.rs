//! `sys/generate-root-token/*`, `sys/generate-root/*` and `sys/decode-token`: a root token by share holders, in Vault's and
//! OpenBao's shapes.

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;
use zeroize::Zeroizing;

use crate::ceremony::{GenerationStatus, unmask};
use crate::error::Error;
use crate::routes::{Act, Answer, Call};
use crate::seal::PgpKey;
use crate::store::layout::ring_of;
use crate::sys::object;
use crate::sys::rotate_root::{nonce_and_key, required};

/// `operator generate-root -status`.
pub fn status(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        Ok(describe(
            &act.core.generation_status(ring_of(act.namespace))?,
            "",
            "",
        ))
    }
    .boxed()
}

/// `operator generate-root -init`.
pub fn begin(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let fields = act.fields();
        let otp = fields.string("otp")?.filter(|otp| !otp.is_empty());
        let key = fields.string("pgp_key")?.filter(|key| !key.is_empty());
        if otp.is_some() && key.is_some() {
            return Err(Error::invalid("otp and pgp_key exclude each other"));
        }
        let key = key.map(|key| PgpKey::read(&key, act.core.seal.now())).transpose();
        let key = key.map_err(|error| match error {
            Error::Invalid(why) => Error::invalid(format!("error parsing PGP key: {why}")),
            other => other,
        })?;
        let (status, made) = act
            .core
            .begin_generation(ring_of(act.namespace), otp.map(Zeroizing::new), key)
            .await?;
        Ok(describe(&status, made.as_deref().map_or("", String::as_str), ""))
    }
    .boxed()
}

/// `operator generate-root -cancel`. Whoever may do this needs no nonce; one that is shown must be right.
pub fn cancel(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let nonce = act.fields().string("nonce")?.filter(|nonce| !nonce.is_empty());
        act.core
            .cancel_generation(ring_of(act.namespace), nonce.as_deref())
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
            .cancel_generation(ring_of(act.namespace), Some(&nonce))
            .await?;
        Ok(Answer::empty())
    }
    .boxed()
}

/// `operator generate-root`: one share.
pub fn update(act: Act) -> BoxFuture<'static, Result<Answer, Error>> {
    async move {
        let (nonce, key) = nonce_and_key(&act)?;
        let generated = act
            .core
            .update_generation(ring_of(act.namespace), &nonce, &key)
            .await?;
        Ok(describe(
            &generated.status,
            "",
            generated.encoded.as_deref().unwrap_or_default(),
        ))
    }
    .boxed()
}

/// `operator generate-root -decode`, for clients that leave it to the server.
pub fn decode(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let fields = call.fields();
    let encoded = required(&fields, "encoded_token")?;
    let otp = Zeroizing::new(required(&fields, "otp")?);
    let token = unmask(&encoded, &otp)?;
    Ok(Answer::data(object(json!({"token": *token}))))
}

fn describe(status: &GenerationStatus, otp: &str, encoded: &str) -> Answer {
    Answer::at_top_level(object(json!({
        "nonce": status.nonce.as_deref().unwrap_or_default(),
        "started": status.nonce.is_some(),
        "progress": status.given,
        "required": status.required,
        "complete": !encoded.is_empty(),
        "encoded_token": encoded,
        "encoded_root_token": encoded,
        "pgp_fingerprint": status.fingerprint,
        "otp": otp,
        "otp_length": status.otp_length,
    })))
}
