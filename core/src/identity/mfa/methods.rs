//! `identity/mfa/method`: making, reading, changing, listing and deleting methods. Those of one kind are built: codes from a
//! device. It must not know who is enrolled.

use serde_json::{Map, Value, json};

use crate::catalog::encode_record;
use crate::error::Error;
use crate::identity::entities::{MAX_CHANGES, cut, given};
use crate::identity::mfa::record::{METHODS, Method, Placed, method, methods};
use crate::identity::mfa::totp::Algorithm;
use crate::identity::rows::in_rows_of;
use crate::routes::{Answer, Call};
use crate::sys::object;

/// Most methods of a namespace.
const MAX_METHODS: usize = 256;
/// Longest name and issuer in bytes.
const MAX_TEXT: usize = 256;
/// Longest period in seconds.
const MAX_PERIOD: u64 = 3600;
/// Bytes of a secret: at least what RFC 4226 asks for, at most a block of the widest hash.
const KEY_SIZES: std::ops::RangeInclusive<i64> = 16..=64;
/// Most wrong codes in a period.
const MAX_ATTEMPTS: i64 = 100;
/// Widest barcode in pixels.
const MAX_QR: i64 = 1000;

fn not_found() -> Error {
    Error::NotFound { warnings: Vec::new() }
}

/// What stands where an id may, and is written to alone.
const ACTS: [&str; 3] = ["generate", "admin-generate", "admin-destroy"];

/// The id in the path: what is no id is no path.
fn in_path<'c>(call: &'c Call<'_, '_>) -> Result<&'c str, Error> {
    let id = call.params.get("method_id");
    let is_uuid = id.len() == 36
        && id.char_indices().all(|(at, c)| match at {
            8 | 13 | 18 | 23 => c == '-',
            _ => matches!(c, '0'..='9' | 'a'..='f'),
        });
    let act = call.path.strip_prefix("mfa/method/totp/");
    match is_uuid || id.is_empty() {
        true => Ok(id),
        false if act.is_some_and(|act| ACTS.contains(&act)) => Err(Error::UnsupportedOperation),
        false => Err(Error::UnsupportedPath),
    }
}

/// A method must be named here.
pub fn missing(_: &mut Call<'_, '_>) -> Result<Answer, Error> {
    Err(Error::invalid("missing method ID"))
}

/// Second factors that other services check.
pub fn unbuilt(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let kind = call.path.split('/').nth(2).unwrap_or_default();
    Err(Error::Unsupported(format!("second factors of type {kind}")))
}

/// Makes a method, or changes the one that is named by its id or its name.
pub fn write(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    in_path(call)?;
    let id = given(call, "method_id")?.unwrap_or_default();
    let name = call.fields().string("method_name")?.unwrap_or_default();
    let own = call.work.catalog.mfa();
    let mut known = None;
    if !id.is_empty() {
        known = own.methods.get(&id).cloned();
        if known.is_none() {
            return Err(match method(call.work.catalog, &id) {
                Some(_) => Error::invalid("request namespace does not match method namespace"),
                None => not_found(),
            });
        }
    }
    if let Some(named) = own
        .methods
        .values()
        .find(|method| !name.is_empty() && method.name == name)
    {
        match &known {
            None => known = Some(named.clone()),
            Some(known) if known.id == named.id => {}
            Some(_) => {
                return Err(Error::invalid(format!(
                    "a login MFA method configuration with the method name {name} already exists"
                )));
            }
        }
    }
    if known.is_none() && own.methods.len() >= MAX_METHODS {
        return Err(Error::invalid(format!(
            "a namespace has at most {MAX_METHODS} methods"
        )));
    }
    let kept = known.as_ref().map(|known| (known.id.clone(), known.name.clone()));
    let (new_id, old_name) = kept.unwrap_or_else(|| (call.env.uuid(), String::new()));
    let name = if name.is_empty() { old_name } else { name };
    if name.len() > MAX_TEXT {
        return Err(Error::invalid("method_name is too long"));
    }
    let method = settings(call, new_id, name)?;
    let row = format!("{METHODS}{}", method.id);
    call.work.config.get(&row)?;
    call.work.config.put(&row, encode_record(&method)?)?;
    Ok(match id.is_empty() {
        true => Answer::data(object(json!({"method_id": method.id}))),
        false => Answer::empty(),
    })
}

/// What a request says of a method; what it does not say is as from the start.
fn settings(call: &Call<'_, '_>, id: String, name: String) -> Result<Method, Error> {
    let fields = call.fields();
    let algorithm = fields.string("algorithm")?;
    let algorithm = Algorithm::parse(algorithm.as_deref().unwrap_or("SHA1"))
        .ok_or_else(|| Error::invalid("unrecognized algorithm"))?;
    let digits = match fields.int("digits")?.unwrap_or(6) {
        6 => 6,
        8 => 8,
        _ => return Err(Error::invalid("digits can only be 6 or 8")),
    };
    let period = fields.signed_duration("period")?.unwrap_or(30_000);
    let period = u64::try_from(period / 1000).ok().filter(|period| *period > 0);
    let period = period.ok_or_else(|| Error::invalid("period must be greater than zero"))?;
    if period > MAX_PERIOD {
        return Err(Error::invalid(format!(
            "period must be at most {MAX_PERIOD} seconds"
        )));
    }
    let skew = match fields.int("skew")?.unwrap_or(1) {
        0 => 0,
        1 => 1,
        _ => return Err(Error::invalid("skew must be 0 or 1")),
    };
    let key_size = fields.int("key_size")?.unwrap_or(20);
    if key_size <= 0 {
        return Err(Error::invalid("key_size must be greater than zero"));
    }
    if !KEY_SIZES.contains(&key_size) {
        return Err(Error::invalid("key_size must be between 16 and 64 bytes"));
    }
    let issuer = fields.string("issuer")?.unwrap_or_default();
    if issuer.is_empty() {
        return Err(Error::invalid("issuer must be set"));
    }
    if issuer.len() > MAX_TEXT {
        return Err(Error::invalid("issuer is too long"));
    }
    let attempts = match fields.int("max_validation_attempts")?.unwrap_or(0) {
        0 => 5,
        attempts => attempts,
    };
    if attempts < 0 {
        return Err(Error::invalid(
            "max_validation_attempts must be greater than zero",
        ));
    }
    if attempts > MAX_ATTEMPTS {
        return Err(Error::invalid(format!(
            "max_validation_attempts must be at most {MAX_ATTEMPTS}"
        )));
    }
    let qr_size = fields.int("qr_size")?.unwrap_or(200);
    if !(0..=MAX_QR).contains(&qr_size) {
        return Err(Error::invalid("qr_size must be between 0 and 1000 pixels"));
    }
    let too_large = |_| Error::internal("a bounded number does not fit");
    Ok(Method {
        id,
        name,
        issuer,
        period,
        algorithm,
        digits,
        skew,
        key_size: usize::try_from(key_size).map_err(too_large)?,
        qr_size: u32::try_from(qr_size).map_err(too_large)?,
        max_validation_attempts: u32::try_from(attempts).map_err(too_large)?,
    })
}

fn describe(placed: &Placed<'_>) -> Map<String, Value> {
    let method = placed.method;
    object(json!({
        "algorithm": method.algorithm.name(),
        "digits": method.digits,
        "id": method.id,
        "issuer": method.issuer,
        "key_size": method.key_size,
        "max_validation_attempts": method.max_validation_attempts,
        "name": method.name,
        "namespace_id": placed.namespace.id(),
        "namespace_path": placed.namespace.path,
        "period": method.period,
        "qr_size": method.qr_size,
        "skew": method.skew,
        "type": "totp",
    }))
}

/// Reads one method, of this namespace or of one above.
pub fn read(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let placed = method(call.work.catalog, in_path(call)?);
    Ok(Answer::data(describe(&placed.ok_or_else(not_found)?)))
}

/// Lists the methods that hold here.
pub fn list(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let mut infos = Map::new();
    for placed in methods(call.work.catalog) {
        infos.insert(placed.method.id.clone(), Value::Object(describe(&placed)));
    }
    let mut ids: Vec<String> = infos.keys().cloned().collect();
    ids.sort_unstable();
    let ids = cut(ids, &call.fields().page()?);
    if ids.is_empty() {
        return Err(not_found());
    }
    infos.retain(|id, _| ids.contains(id));
    Ok(Answer::data(object(json!({"key_info": infos, "keys": ids}))))
}

/// Deletes a method that no enforcement names, and what was enrolled with it.
pub fn delete(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let id = in_path(call)?.to_owned();
    let catalog = call.work.catalog;
    if !catalog.mfa().methods.contains_key(&id) {
        return match method(catalog, &id) {
            Some(_) => Err(Error::invalid(
                "request namespace does not match method namespace",
            )),
            // What is not there is as deleted as was asked for.
            None => Ok(Answer::empty()),
        };
    }
    let beneath = catalog.tree().open_beneath(call.work.namespace());
    let mut enforcements = beneath.iter().flat_map(|node| node.mfa().enforcements.values());
    if let Some(user) = enforcements.find(|enforcement| enforcement.mfa_method_ids.contains(&id)) {
        return Err(Error::invalid(format!(
            "methodID is still used by an enforcement configuration with ID: {}",
            user.id
        )));
    }
    let row = format!("{METHODS}{id}");
    call.work.config.get(&row)?;
    call.work.config.delete(&row)?;
    let mut room = MAX_CHANGES;
    for node in &beneath {
        if node.record.closing {
            continue;
        }
        let of_node = catalog.of(node.record.number)?;
        room -= in_rows_of(call.work, &of_node, |rows| rows.forget_secrets(&id, room))?;
    }
    let mut answer = Answer::empty();
    if room == 0 {
        let text = "secrets of more entities than one command holds stay, sealed and of no use to anybody";
        answer.reply.warnings.push(text.to_owned());
    }
    Ok(answer)
}
