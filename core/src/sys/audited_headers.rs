//! `sys/config/auditing/request-headers`: which headers of requests audit devices record, and whether hashed.

use serde_json::{Map, Value, json};

use crate::catalog::{AUDITED_HEADERS, AuditedHeaders, decode_record, encode_record};
use crate::error::Error;
use crate::routes::{Answer, Call};

/// Most headers: each is looked for in each request.
const MAX_HEADERS: usize = 128;
/// Longest name in bytes.
const MAX_NAME: usize = 256;
/// Headers that carry secrets: never recorded in the clear, whatever is asked for.
const SECRET: [&str; 8] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-conclave-token",
    "x-vault-mfa",
    "x-vault-token",
    "x-vault-unlock-key",
    "x-bao-token",
];

/// All of them.
pub fn list(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let headers = load(call)?;
    let all: Map<String, Value> = headers.iter().map(shown).collect();
    Ok(Answer::at_top_level(Map::from_iter([(
        "headers".to_owned(),
        Value::Object(all),
    )])))
}

/// One.
pub fn read(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let asked = call.params.get("header").to_owned();
    let headers = load(call)?;
    let hashed = headers
        .get(&asked.to_lowercase())
        .ok_or_else(|| Error::invalid("Could not find header in config"))?;
    // As it was asked for, as the original says it.
    Ok(Answer::at_top_level(Map::from_iter([shown((&asked, hashed))])))
}

fn shown((name, hashed): (&String, &bool)) -> (String, Value) {
    (name.clone(), json!({"hmac": hashed}))
}

/// Adds one, or changes it.
pub fn write(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let name = call.params.get("header").to_lowercase();
    let hashed = call.fields().bool("hmac")?.unwrap_or(false);
    if name.len() > MAX_NAME || name.chars().any(|letter| letter.is_control()) {
        return Err(Error::invalid(format!(
            "a header's name has at most {MAX_NAME} bytes, none of which is a control character"
        )));
    }
    if SECRET.contains(&name.as_str()) && !hashed {
        return Err(Error::invalid(format!(
            "the header {name} carries secrets: it is recorded with hmac=true only"
        )));
    }
    let mut headers = load(call)?;
    headers.insert(name, hashed);
    if headers.len() > MAX_HEADERS {
        return Err(Error::invalid(format!("more than {MAX_HEADERS} headers")));
    }
    store(call, &headers)
}

/// Records one no longer. What is not there is as gone as was asked for.
pub fn delete(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let mut headers = load(call)?;
    match headers.remove(&call.params.get("header").to_lowercase()) {
        Some(_) => store(call, &headers),
        None => Ok(Answer::empty()),
    }
}

fn load(call: &mut Call<'_, '_>) -> Result<AuditedHeaders, Error> {
    match call.work.config.get(AUDITED_HEADERS)? {
        Some(row) => decode_record(&row.value),
        None => Ok(AuditedHeaders::new()),
    }
}

fn store(call: &mut Call<'_, '_>, headers: &AuditedHeaders) -> Result<Answer, Error> {
    call.work.config.put(AUDITED_HEADERS, encode_record(headers)?)?;
    Ok(Answer::empty())
}
