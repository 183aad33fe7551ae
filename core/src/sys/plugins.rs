//! `sys/plugins/catalog`: what is built in, as clients of plugins look it up. Nothing can be added to it while the server runs.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::core::Core;
use crate::error::Error;
use crate::routes::{Answer, Call};
use crate::sys::object;

/// What every namespace has one of, and the engine whose plugins are listed themselves.
const NO_PLUGINS: [&str; 2] = ["cubbyhole", "database"];

/// Names by type, each sorted.
fn catalog(core: &Core) -> BTreeMap<&'static str, Vec<&'static str>> {
    let sorted = |mut names: Vec<&'static str>| {
        names.sort_unstable();
        names
    };
    let engines = core
        .engines
        .keys()
        .copied()
        .filter(|kind| !NO_PLUGINS.contains(kind));
    let drivers = core.engines.values().flat_map(|engine| engine.plugins());
    BTreeMap::from([
        ("auth", sorted(core.methods.keys().copied().collect())),
        ("database", sorted(drivers.collect())),
        ("secret", sorted(engines.collect())),
    ])
}

/// `GET sys/plugins/catalog`.
pub fn all(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let catalog = catalog(call.core);
    let version = version(call);
    let mut told: Map<String, Value> = Map::new();
    let mut detailed = Vec::new();
    for (kind, names) in catalog {
        told.insert(kind.to_owned(), json!(names));
        detailed.extend(names.into_iter().map(|name| {
            json!({
                "builtin": true,
                "deprecation_status": "supported",
                "name": name,
                "type": kind,
                "version": version,
            })
        }));
    }
    told.insert("detailed".to_owned(), Value::Array(detailed));
    Ok(Answer::data(told))
}

/// `LIST sys/plugins/catalog/:type`.
pub fn of_type(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let names = catalog(call.core).remove(call.params.get("type"));
    let names = names.ok_or(Error::UnsupportedOperation)?;
    Ok(Answer::data(object(json!({"keys": names}))))
}

/// `GET sys/plugins/catalog/:type/:name`.
pub fn read(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let missing = || Error::NotFound { warnings: Vec::new() };
    let wanted = call
        .fields()
        .string("version")?
        .filter(|version| !version.is_empty());
    let version = version(call);
    let names = catalog(call.core).remove(call.params.get("type"));
    let names = names.ok_or_else(missing)?;
    let name = call.params.get("name");
    if !names.contains(&name) || wanted.is_some_and(|wanted| wanted != version) {
        return Err(missing());
    }
    Ok(Answer::data(object(json!({
        "args": null,
        "builtin": true,
        "command": "",
        "declarative": false,
        "deprecation_status": "supported",
        "name": name,
        "oci": false,
        "sha256": "",
        "version": version,
    }))))
}

/// Adding and removing plugins.
pub fn unbuilt(_: &mut Call<'_, '_>) -> Result<Answer, Error> {
    Err(Error::Unsupported(
        "plugins: engines and auth methods are built in".to_owned(),
    ))
}

/// Whether the one version of an engine or auth method that there is may be called `asked`: by its number and as built in.
///
/// # Errors
/// [`Error::Invalid`] in the original's words.
pub(super) fn check_version(core: &Core, kind: &str, asked: &str, enabling: bool) -> Result<(), Error> {
    let (number, build) = asked.split_once('+').unwrap_or((asked, ""));
    let number = number.strip_prefix('v').unwrap_or(number);
    let mut parts: Vec<&str> = number.split('.').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if parts.len() > 3 || !parts.iter().all(is_number) {
        return Err(Error::invalid(format!(
            "version {asked:?} is not a valid semantic version: malformed version: {asked}"
        )));
    }
    parts.resize(3, "0");
    let number = parts.join(".");
    if build.starts_with("builtin") && number == core.settings.vault_version {
        return Ok(());
    }
    Err(Error::invalid(match (kind, enabling) {
        ("kv", true) => "cannot select non-builtin version of secrets plugin kv".to_owned(),
        _ => format!("plugin not found in the catalog: {kind}, version=v{number}"),
    }))
}

fn version(call: &Call<'_, '_>) -> String {
    format!("v{}+builtin.conclave", call.core.settings.vault_version)
}
