//! `sys/policy` and `sys/policies/acl`: writing, reading and removing ACL policies.

use serde_json::{Map, Value, json};

use conclave_engine_api::{Millis, Operation};

use crate::catalog::{PolicyRecord, decode_record, encode_record};
use crate::clocktext::rfc3339;
use crate::error::Error;
use crate::policy::{Policy, WRAPPING_POLICY, parse_expiration};
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
    let names = page(call)?;
    Ok(Answer::data(object(json!({"keys": names}))))
}

/// `LIST sys/policies/detailed/acl`: the names, and what `read` tells of each.
pub fn list_detailed(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let names = page(call)?;
    let mut info = Map::new();
    for name in &names {
        let described = match named(call, name)? {
            Some(record) => describe(name, &record),
            None => continue,
        };
        info.insert(name.clone(), Value::Object(described));
    }
    Ok(Answer::data(object(json!({"keys": names, "key_info": info}))))
}

/// The part of the names that is asked for.
fn page(call: &Call<'_, '_>) -> Result<Vec<String>, Error> {
    let page = call.fields().page()?;
    let names = names(call).into_iter().filter(|name| *name > page.after);
    let names: Vec<_> = names.take(page.limit.unwrap_or(usize::MAX)).collect();
    match names.is_empty() {
        true => Err(Error::NotFound { warnings: Vec::new() }),
        false => Ok(names),
    }
}

fn names(call: &Call<'_, '_>) -> Vec<String> {
    let (catalog, now) = (call.work.catalog, call.env.now());
    let over = |name: &String| catalog.policy(name).is_some_and(|policy| policy.is_over(now));
    let mut names = catalog.policy_names();
    names.retain(|name| !over(name));
    if catalog.namespace().is_root() {
        names.push("root".to_owned());
    }
    names
}

/// `policy read` of the first API.
pub fn read_legacy(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let (name, record) = stored(call)?;
    let mut data = describe(&name, &record);
    let text = data.remove("policy").unwrap_or_default();
    data.insert("rules".to_owned(), text);
    Ok(Answer::at_top_level(data))
}

/// `GET sys/policies/acl/:name`.
pub fn read(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let (name, record) = stored(call)?;
    Ok(Answer::data(describe(&name, &record)))
}

fn describe(name: &str, record: &PolicyRecord) -> Map<String, Value> {
    let mut described = object(json!({
        "allow_slashes_in_identity_templates": false,
        "allow_wildcards_in_identity_templates": false,
        "cas_required": record.cas_required,
        "modified": rfc3339(record.modified),
        "name": name,
        "policy": record.text,
        "version": record.version,
    }));
    if record.version == 0 {
        // Built in: never written.
        described.remove("modified");
    }
    if let Some(expires) = record.expires {
        described.insert("expiration".to_owned(), json!(rfc3339(expires)));
    }
    described
}

fn stored(call: &mut Call<'_, '_>) -> Result<(String, PolicyRecord), Error> {
    let name = name_of(call)?;
    let record = named(call, &name)?.ok_or(Error::NotFound { warnings: Vec::new() })?;
    Ok((name, record))
}

/// The policy of this name, unless it has expired.
fn named(call: &mut Call<'_, '_>, name: &str) -> Result<Option<PolicyRecord>, Error> {
    if name == "root" {
        return Ok(Some(PolicyRecord::default()));
    }
    let now = call.env.now();
    let Some(row) = call.work.config.get(&format!("policy/{name}"))? else {
        return Ok(None);
    };
    let record: PolicyRecord = decode_record(&row.value)?;
    Ok(Some(record).filter(|record| record.expires.is_none_or(|expires| expires > now)))
}

/// When the policy that is written shall expire.
fn expiration(call: &Call<'_, '_>) -> Result<Option<Millis>, Error> {
    let (fields, now) = (call.fields(), call.env.now());
    let ttl = fields.duration("ttl")?;
    let at = fields.string("expiration")?.filter(|text| !text.is_empty());
    let at = match at {
        Some(text) => Some(parse_expiration(&text).ok_or_else(|| {
            let why = "could not parse string as date and time";
            Error::from(fields.wrong("expiration", why))
        })?),
        None => None,
    };
    let expires = match (ttl, at) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid(
                "cannot supply both 'expiration' and 'ttl' for policies",
            ));
        }
        (Some(ttl), None) => Some(now.saturating_add(ttl)),
        (None, at) => at,
    };
    if expires.is_some_and(|expires| expires <= now) {
        return Err(Error::invalid(
            "refusing to update policy as expiration time has already elapsed",
        ));
    }
    Ok(expires)
}

/// Writes a policy, or changes parts of one; its text must parse.
pub fn write(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let name = name_of(call)?;
    if name == "root" || name == WRAPPING_POLICY {
        return Err(Error::invalid(format!("cannot update {name:?} policy")));
    }
    let fields = call.fields();
    for unsupported in [
        "allow_slashes_in_identity_templates",
        "allow_wildcards_in_identity_templates",
    ] {
        let asked = fields.value(unsupported);
        if asked.is_some_and(|value| !matches!(value, Value::Bool(false))) {
            return Err(Error::Unsupported(format!("{unsupported} of a policy")));
        }
    }
    let (text, is_legacy) = match fields.string("policy")? {
        Some(text) => (text, false),
        None => {
            let rules = fields.string("rules")?.unwrap_or_default();
            let is_legacy = !rules.is_empty();
            (rules, is_legacy)
        }
    };
    let path = format!("policy/{name}");
    let known = named(call, &name)?;
    let patches = call.operation == Operation::Patch;
    let text = match (&known, patches) {
        (None, true) => return Err(Error::invalid("policy not found")),
        (Some(known), true) if text.is_empty() => known.text.clone(),
        _ => text,
    };
    if text.is_empty() {
        return Err(Error::invalid("'policy' parameter not supplied or empty"));
    }
    if text.len() > MAX_POLICY_BYTES {
        return Err(Error::TooLarge(format!(
            "policy is longer than {MAX_POLICY_BYTES} bytes"
        )));
    }
    Policy::parse(&name, &text)?;
    let expires = match expiration(call)? {
        None if patches => known.as_ref().and_then(|known| known.expires),
        expires => expires,
    };
    let cas_required = fields.bool("cas_required")?;
    check_cas(fields.int("cas")?, cas_required, known.as_ref())?;
    let record = PolicyRecord {
        text,
        version: known.as_ref().map_or(0, |known| known.version).saturating_add(1),
        modified: call.env.now(),
        cas_required: cas_required.unwrap_or_else(|| known.is_some_and(|known| known.cas_required)),
        expires,
    };
    call.work.config.put(&path, encode_record(&record)?)?;
    let mut answer = Answer::empty();
    if is_legacy {
        let warning = "'rules' is deprecated, please use 'policy' instead";
        answer.reply.warnings.push(warning.to_owned());
    }
    Ok(answer)
}

/// Whether the write may replace what is known: -1 asks for nothing to be there, another number for that version.
fn check_cas(cas: Option<i64>, required: Option<bool>, known: Option<&PolicyRecord>) -> Result<(), Error> {
    let version = known.map_or(0, |known| known.version);
    let wrong = match (cas, known) {
        (None, known) => {
            let required = required.unwrap_or_else(|| known.is_some_and(|known| known.cas_required));
            if !required {
                return Ok(());
            }
            "check-and-set parameter required for this call".to_owned()
        }
        (Some(-1), None) => return Ok(()),
        (Some(-1), Some(_)) => "check-and-set parameter set to -1 on existing entry".to_owned(),
        (Some(cas), _) if u64::try_from(cas) == Ok(version) => return Ok(()),
        (Some(cas), _) => {
            format!("check-and-set parameter {cas} did not match the current version {version}")
        }
    };
    Err(Error::invalid(wrong))
}

/// Removes a policy; tokens that name it lose what it granted.
pub fn delete(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let name = name_of(call)?;
    if matches!(name.as_str(), "root" | "default") {
        return Err(Error::invalid(if name == "root" {
            "cannot delete \"root\" policy"
        } else {
            "cannot delete default policy"
        }));
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
