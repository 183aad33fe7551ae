//! Copies transit keys that allow it, by backup and restore.

use conclave_client::http::{Fields, Json};

use super::calls::{self, Trouble};
use super::job::{Fate, Job};

/// Copies the keys of a mount.
///
/// # Errors
/// The reason to stop.
pub async fn copy(job: &mut Job<'_>, mount: &str) -> Result<(), String> {
    let kind = format!("{mount} keys");
    let names = calls::list(job.source, &format!("{mount}keys")).await;
    for name in job.or_enter(&kind, mount, names)?.unwrap_or_default() {
        let outcome = one(job, mount, &name).await;
        job.enter(&kind, &format!("{mount}keys/{name}"), outcome)?;
    }
    Ok(())
}

async fn one(job: &Job<'_>, mount: &str, name: &str) -> Result<Fate, Trouble> {
    let path = format!("{mount}keys/{name}");
    if calls::read(job.target, &path).await?.is_some() {
        return Ok(Fate::Kept);
    }
    let Some(key) = calls::read(job.source, &path).await? else {
        return Ok(Fate::Gone);
    };
    let is = |name: &str| key.get(name).and_then(Json::as_bool) == Some(true);
    if !is("exportable") || !is("allow_plaintext_backup") {
        let why = "it leaves the source only with exportable and allow_plaintext_backup set";
        return Err(Trouble::Item(why.to_owned()));
    }
    let Some(backup) = calls::read(job.source, &format!("{mount}backup/{name}")).await? else {
        return Ok(Fate::Gone);
    };
    if !job.dry {
        let body: Fields = backup.iter().map(|(name, value)| (name, value.clone())).collect();
        calls::write(job.target, &format!("{mount}restore/{name}"), body).await?;
    }
    Ok(Fate::Copied)
}
