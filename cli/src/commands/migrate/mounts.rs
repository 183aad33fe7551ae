//! Makes the source's mounts on the target and has each engine and auth method copied by those that know it.

use conclave_client::http::{Fields, Json};

use super::calls::{self, Trouble, telling, text};
use super::job::{Fate, Job};
use super::{auth, kv, transit};

const KIND: &str = "mounts";

/// Mounts that every server has.
const BUILT_IN: [&str; 5] = ["system", "identity", "cubbyhole", "token", "ns_token"];
/// Secrets engines whose content is copied.
const ENGINES: [&str; 3] = ["kv", "generic", "transit"];
/// Auth methods whose roles are copied.
const METHODS: [&str; 2] = ["approle", "userpass"];

/// Copies all secrets engines that can be copied.
///
/// # Errors
/// The reason to stop.
pub async fn engines(job: &mut Job<'_>) -> Result<(), String> {
    let mounts = calls::read(job.source, "sys/mounts").await;
    let mounts = job
        .or_enter(KIND, "sys/mounts", mounts)?
        .flatten()
        .unwrap_or_default();
    for (path, mount) in mounts.sorted() {
        let Some(mount) = mount.as_object() else { continue };
        let kind = text(mount, "type");
        if BUILT_IN.contains(&kind) || kind.starts_with("ns_") || job.state.is_done(path) {
            continue;
        }
        if !ENGINES.contains(&kind) {
            let why = format!("secrets engine of type {kind}: its keys cannot be read out; set it up anew");
            job.state.report.note(path, why);
            continue;
        }
        let made = make(job, "sys/mounts", path, mount).await;
        let failed = made.is_err();
        job.enter(KIND, path, made)?;
        if failed {
            continue;
        }
        match kind {
            "transit" => transit::copy(job, path).await?,
            _ if is_versioned(mount) => kv::copy_versioned(job, path).await?,
            _ => kv::copy_plain(job, path).await?,
        }
        job.state.finish(path)?;
    }
    Ok(())
}

/// Copies all auth methods that can be copied, and token roles.
///
/// # Errors
/// The reason to stop.
pub async fn methods(job: &mut Job<'_>) -> Result<(), String> {
    auth::token_roles(job).await?;
    let mounts = calls::read(job.source, "sys/auth").await;
    let mounts = job
        .or_enter(KIND, "sys/auth", mounts)?
        .flatten()
        .unwrap_or_default();
    for (path, mount) in mounts.sorted() {
        let Some(mount) = mount.as_object() else { continue };
        let (kind, step) = (text(mount, "type"), format!("auth/{path}"));
        if BUILT_IN.contains(&kind) || kind.starts_with("ns_") || job.state.is_done(&step) {
            continue;
        }
        if !METHODS.contains(&kind) {
            let why = format!("auth method of type {kind} is not copied: set it up anew");
            job.state.report.note(&step, why);
            continue;
        }
        let made = make(job, "sys/auth", path, mount).await;
        let failed = made.is_err();
        job.enter(KIND, &step, made)?;
        if failed {
            continue;
        }
        match kind {
            "approle" => auth::approle(job, &step).await?,
            _ => auth::userpass(job, &step).await?,
        }
        job.state.finish(&step)?;
    }
    Ok(())
}

/// Makes a mount with the source's settings, unless the same is there.
async fn make(job: &Job<'_>, table: &str, path: &str, mount: &Fields) -> Result<Fate, Trouble> {
    let here = calls::read(job.target, table).await?.unwrap_or_default();
    if let Some(here) = here.get(path).and_then(Json::as_object) {
        let plain = |kind: &str| if kind == "generic" { "kv" } else { kind }.to_owned();
        let same = plain(text(here, "type")) == plain(text(mount, "type"));
        if same && is_versioned(here) == is_versioned(mount) {
            return Ok(Fate::Kept);
        }
        return Err(Trouble::Item(
            "a mount of another type or version is on the target".into(),
        ));
    }
    if job.dry {
        return Ok(Fate::Copied);
    }
    let mut body = telling(mount, &UNSET);
    if text(mount, "type") == "generic" {
        body.insert("type", "kv");
    }
    if let Some(config) = mount.get("config").and_then(Json::as_object) {
        body.insert("config", telling(config, &[]));
    }
    calls::write(
        job.target,
        &format!("{table}/{}", path.trim_end_matches('/')),
        body,
    )
    .await?;
    Ok(Fate::Copied)
}

/// What a server says of a mount beyond what was asked for.
const UNSET: [&str; 6] = [
    "accessor",
    "uuid",
    "running_plugin_version",
    "running_sha256",
    "deprecation_status",
    "plugin_version",
];

fn is_versioned(mount: &Fields) -> bool {
    let options = mount.get("options").and_then(Json::as_object);
    options.is_some_and(|options| text(options, "version") == "2")
}
