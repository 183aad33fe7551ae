//! `sys/policies/password`: policies by which passwords are generated.

use base64::Engine as _;
use serde::{Deserialize, Serialize};
use serde_json::json;

use conclave_engine_api::{Entropy, Env, Error as EngineError, Hidden, Passwords};

use crate::catalog::{decode_record, encode_record};
use crate::error::Error;
use crate::password::PasswordPolicy;
use crate::routes::{Answer, Call};
use crate::store::{Opened, Space, Table};
use crate::sys::object;

/// Longest policy in bytes.
const MAX_BYTES: usize = 64 * 1024;
/// Longest name in bytes.
const MAX_NAME_BYTES: usize = 256;

/// A password policy as stored.
#[derive(Serialize, Deserialize)]
struct Record {
    text: String,
}

/// `LIST sys/policies/password`.
pub fn list(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let page = call.fields().page()?;
    let names = call.work.config.list("password-policy/", &page)?;
    if names.is_empty() {
        return Err(Error::NotFound { warnings: Vec::new() });
    }
    Ok(Answer::data(object(json!({"keys": names}))))
}

/// `GET sys/policies/password/:name`.
pub fn read(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let record = stored(call)?;
    Ok(Answer::data(object(json!({"policy": record.text}))))
}

/// `GET sys/policies/password/:name/generate`.
pub fn generate(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let policy = PasswordPolicy::parse(&stored(call)?.text)?;
    let password = policy.generate(&mut call.env)?;
    Ok(Answer::data(object(json!({"password": *password}))))
}

/// Writes a policy, plain or in base64; a password must come out of it.
pub fn write(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let row = row_of(call)?;
    let given = call.fields().string("policy")?.unwrap_or_default();
    if given.is_empty() {
        return Err(Error::listed("missing policy"));
    }
    if given.len() > MAX_BYTES {
        return Err(Error::TooLarge(format!(
            "policy is longer than {MAX_BYTES} bytes"
        )));
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(&given).ok();
    let text = decoded
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or(given);
    PasswordPolicy::parse(&text)?.generate(&mut call.env)?;
    call.work.config.get(&row)?;
    call.work.config.put(&row, encode_record(&Record { text })?)?;
    Ok(Answer::empty())
}

/// Removes a policy.
pub fn delete(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let row = row_of(call)?;
    if call.work.config.get(&row)?.is_some() {
        call.work.config.delete(&row)?;
    }
    Ok(Answer::empty())
}

/// The policies of one namespace, for engines.
pub struct Policies<'v> {
    opened: &'v Opened,
    namespace: u32,
}

impl<'v> Policies<'v> {
    /// Those of a namespace, as a view has them.
    pub fn of(opened: &'v Opened, namespace: u32) -> Self {
        Self { opened, namespace }
    }
}

impl Passwords for Policies<'_> {
    fn generate(&self, policy: &str, entropy: &mut dyn Entropy) -> Result<Hidden, EngineError> {
        let unusable = |error: Error| EngineError::invalid(format!("password policy {policy:?}: {error}"));
        let space = self.opened.space(Space::within(Table::Config, self.namespace));
        let row = space
            .row(&row_named(policy).map_err(unusable)?)
            .map_err(unusable)?;
        let row =
            row.ok_or_else(|| EngineError::invalid(format!("no password policy is named {policy:?}")))?;
        let record: Record = decode_record(&row.value).map_err(unusable)?;
        let policy = PasswordPolicy::parse(&record.text).map_err(unusable)?;
        policy.generate(&mut Env::new(0, entropy)).map_err(unusable)
    }
}

fn stored(call: &mut Call<'_, '_>) -> Result<Record, Error> {
    let row = row_of(call)?;
    match call.work.config.get(&row)? {
        Some(row) => decode_record(&row.value),
        None => Err(Error::Missing("policy does not exist".to_owned())),
    }
}

fn row_of(call: &Call<'_, '_>) -> Result<String, Error> {
    row_named(call.params.get("name"))
}

fn row_named(name: &str) -> Result<String, Error> {
    if name.len() > MAX_NAME_BYTES {
        return Err(Error::invalid("name of a password policy is too long"));
    }
    Ok(format!("password-policy/{name}"))
}
