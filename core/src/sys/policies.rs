//! `sys/policy` and `sys/policies/acl`: writing, reading and removing ACL policies.

use serde_json::json;

use crate::catalog::{PolicyRecord, encode_record};
use crate::error::Error;
use crate::policy::Policy;
use crate::routes::{Answer, Call};
use crate::sys::open::object;

/// Longest policy in bytes.
const MAX_POLICY_BYTES: usize = 256 * 1024;
/// Longest name in bytes.
const MAX_NAME_BYTES: usize = 256;

/// `policy list`, in the shape of Vault's first API.
pub fn list(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let names = names(call);
    Ok(Answer::at_top_level(object(
        json!({"keys": names, "policies": names}),
    )))
}

/// `LIST sys/policies/acl`.
pub fn list_keys(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    Ok(Answer::data(object(json!({"keys": names(call)}))))
}

fn names(call: &Call<'_, '_>) -> Vec<String> {
    let mut names = call.work.catalog.policy_names();
    names.push("root".to_owned());
    names
}

/// `policy read` of the first API.
pub fn read_legacy(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let (name, text) = read_text(call)?;
    Ok(Answer::at_top_level(object(json!({"name": name, "rules": text}))))
}

/// `GET sys/policies/acl/:name`.
pub fn read(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let (name, text) = read_text(call)?;
    Ok(Answer::data(object(json!({"name": name, "policy": text}))))
}

fn read_text(call: &mut Call<'_, '_>) -> Result<(String, String), Error> {
    let name = name_of(call)?;
    if name == "root" {
        return Ok((name, String::new()));
    }
    let row = call.work.config.get(&format!("policy/{name}"))?;
    let row = row.ok_or(Error::NotFound { warnings: Vec::new() })?;
    let record: PolicyRecord = crate::catalog::decode_record(&row.value)?;
    Ok((name, record.text))
}

/// Writes a policy; its text must parse.
pub fn write(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let name = name_of(call)?;
    if name == "root" {
        return Err(Error::invalid("cannot update \"root\" policy"));
    }
    let fields = call.fields();
    for unsupported in ["ttl", "expiration", "cas", "cas_required"] {
        if fields.value(unsupported).is_some() {
            return Err(Error::Unsupported(format!("{unsupported} of a policy")));
        }
    }
    let text = match fields.string("policy")? {
        Some(text) => text,
        None => fields.string("rules")?.unwrap_or_default(),
    };
    if text.is_empty() {
        return Err(Error::invalid("'policy' parameter not supplied or empty"));
    }
    if text.len() > MAX_POLICY_BYTES {
        return Err(Error::TooLarge(format!(
            "policy is longer than {MAX_POLICY_BYTES} bytes"
        )));
    }
    let policy = Policy::parse(&name, &text)?;
    policy.check_supported()?;
    let path = format!("policy/{name}");
    call.work.config.get(&path)?;
    call.work
        .config
        .put(&path, encode_record(&PolicyRecord { text })?)?;
    Ok(Answer::empty())
}

/// Removes a policy; tokens that name it lose what it granted.
pub fn delete(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let name = name_of(call)?;
    if matches!(name.as_str(), "root" | "default") {
        return Err(Error::invalid(format!("cannot delete {name:?} policy")));
    }
    call.work.config.delete(&format!("policy/{name}"))?;
    Ok(Answer::empty())
}

/// One spelling for each policy: lower case, without surrounding spaces, so that no variant of `root` is another name.
fn name_of(call: &Call<'_, '_>) -> Result<String, Error> {
    normal_name(call.params.get("name"))
}

/// The one spelling of a policy's name.
pub fn normal_name(name: &str) -> Result<String, Error> {
    let name = name.trim().to_lowercase();
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains('/') {
        return Err(Error::invalid(
            "policy name is empty, too long or contains a slash",
        ));
    }
    // Beyond ASCII, two names can look alike and be different: a policy's name must be what it looks like.
    if !name.chars().all(|c| c.is_ascii_graphic()) {
        return Err(Error::invalid(
            "policy names consist of printable ASCII characters without spaces",
        ));
    }
    Ok(name)
}

/// For lists in bodies.
pub fn normal_names(names: &[String]) -> Result<Vec<String>, Error> {
    let mut names = names
        .iter()
        .map(|name| normal_name(name))
        .collect::<Result<Vec<_>, _>>()?;
    names.sort_unstable();
    names.dedup();
    Ok(names)
}
