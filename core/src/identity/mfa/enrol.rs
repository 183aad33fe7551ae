//! `identity/mfa/method/totp/generate` and its like: giving an entity a secret, which is told this once, and taking it away.

use base64::Engine as _;
use serde_json::json;

use crate::error::Error;
use crate::identity::mfa::barcode;
use crate::identity::mfa::record::{Placed, method};
use crate::identity::mfa::totp::Secret;
use crate::identity::rows::in_rows;
use crate::routes::{Answer, Call};
use crate::sys::object;

/// A secret for whoever asks.
pub fn generate(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let entity = call.caller.entity().to_owned();
    enrol(call, &entity)
}

/// A secret for somebody.
pub fn admin_generate(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let entity = call.fields().string("entity_id")?.unwrap_or_default();
    enrol(call, &entity)
}

fn method_id(call: &Call<'_, '_>) -> Result<String, Error> {
    let id = call.fields().string("method_id")?.filter(|id| !id.is_empty());
    id.ok_or_else(|| Error::invalid("missing method ID"))
}

fn named<'c>(call: &'c Call<'_, '_>, id: &str) -> Result<Placed<'c>, Error> {
    method(call.work.catalog, id)
        .ok_or_else(|| Error::invalid(format!("configuration for method ID {id:?} does not exist")))
}

fn enrol(call: &mut Call<'_, '_>, entity: &str) -> Result<Answer, Error> {
    let id = method_id(call)?;
    if entity.is_empty() {
        return Err(Error::invalid("missing entityID"));
    }
    let method = named(call, &id)?.method.clone();
    let env = &mut call.env;
    let secret = in_rows(call.work, |rows| {
        let known = rows
            .entity(entity)?
            .ok_or_else(|| Error::invalid("invalid entity ID"))?;
        if known.factors.contains(&id) {
            return Ok(None);
        }
        let secret = Secret::draw(&method, env);
        let mut entity = known.clone();
        entity.factors.push(id.clone());
        entity.updated = env.now();
        rows.replace_entity(Some(&known), Some(&entity))?;
        rows.put_secret(&id, &entity.id, &secret)?;
        Ok(Some(secret))
    })?;
    let Some(secret) = secret else {
        let mut answer = Answer::empty();
        let text = format!("Entity already has a secret for MFA method {:?}", method.name);
        answer.reply.warnings.push(text);
        return Ok(answer);
    };
    let url = secret.url(&method.issuer, entity)?;
    let barcode = match method.qr_size {
        0 => String::new(),
        size => base64::engine::general_purpose::STANDARD.encode(barcode::png(&url, size)?),
    };
    Ok(Answer {
        told_once: true,
        ..Answer::data(object(json!({"barcode": barcode, "url": *url})))
    })
}

/// Takes an entity's secret away. One that has none has as little as was asked for.
pub fn admin_destroy(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let id = method_id(call)?;
    let entity = call.fields().string("entity_id")?.unwrap_or_default();
    if entity.is_empty() {
        return Err(Error::invalid("missing entity ID"));
    }
    let now = call.env.now();
    let is_known = method(call.work.catalog, &id).is_some();
    in_rows(call.work, |rows| {
        let known = rows
            .entity(&entity)?
            .ok_or_else(|| Error::invalid("invalid entity ID"))?;
        if !is_known {
            return Err(Error::invalid(format!(
                "configuration for method ID {id:?} does not exist"
            )));
        }
        let mut entity = known.clone();
        entity.factors.retain(|factor| *factor != id);
        if entity.factors.len() == known.factors.len() {
            return Ok(());
        }
        entity.updated = now;
        rows.remove_secret(&id, &entity.id)?;
        rows.replace_entity(Some(&known), Some(&entity))
    })?;
    Ok(Answer::empty())
}
