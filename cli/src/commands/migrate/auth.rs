//! Copies what logins are made of: roles of approle and of tokens, users without their passwords.

use conclave_client::http::Fields;

use super::calls::{self, Trouble, telling, text};
use super::job::{Fate, Job};
use crate::entropy;

/// Letters of the password that nobody knows.
const PASSWORD_LETTERS: usize = 43;

/// Copies token roles.
///
/// # Errors
/// The reason to stop.
pub async fn token_roles(job: &mut Job<'_>) -> Result<(), String> {
    let kind = "token roles";
    if job.state.is_done(kind) {
        return Ok(());
    }
    let names = calls::list(job.source, "auth/token/roles").await;
    for name in job.or_enter(kind, "auth/token/roles", names)?.unwrap_or_default() {
        let path = format!("auth/token/roles/{name}");
        // The first two are older names of fields that are there too.
        let outcome = copy(job, &path, &["period", "explicit_max_ttl", "name"], Fields::new()).await;
        job.enter(kind, &path, outcome)?;
    }
    job.state.finish(kind)
}

/// Copies an approle mount: roles with their ids. Secret ids are kept as hashes only.
///
/// # Errors
/// The reason to stop.
pub async fn approle(job: &mut Job<'_>, mount: &str) -> Result<(), String> {
    let kind = format!("{mount} roles");
    let names = calls::list(job.source, &format!("{mount}role")).await;
    for name in job.or_enter(&kind, mount, names)?.unwrap_or_default() {
        let path = format!("{mount}role/{name}");
        let outcome = role(job, &path).await;
        job.enter(&kind, &path, outcome)?;
        let secrets = calls::list(job.source, &format!("{path}/secret-id")).await;
        let count = secrets.map_or(0, |secrets| secrets.len());
        if count > 0 {
            let why = format!("{count} secret ids cannot be read out: issue new ones to its machines");
            job.state.report.note(path, why);
        }
    }
    Ok(())
}

async fn role(job: &Job<'_>, path: &str) -> Result<Fate, Trouble> {
    let id = format!("{path}/role-id");
    let Some(wanted) = calls::read(job.source, &id).await? else {
        return Ok(Fate::Gone);
    };
    let here = calls::read(job.target, &id).await?;
    if here.is_some_and(|here| text(&here, "role_id") != text(&wanted, "role_id")) && !job.overwrite {
        return Err(Trouble::Item(
            "another role of that name is on the target; -overwrite replaces it".into(),
        ));
    }
    // Older names of fields that are there too.
    let fate = copy(
        job,
        path,
        &["policies", "period", "bound_cidr_list"],
        Fields::new(),
    )
    .await?;
    if matches!(fate, Fate::Copied) && !job.dry {
        calls::write(job.target, &id, telling(&wanted, &["name"])).await?;
    }
    Ok(fate)
}

/// Copies the users of a userpass mount with everything but their passwords.
///
/// # Errors
/// The reason to stop.
pub async fn userpass(job: &mut Job<'_>, mount: &str) -> Result<(), String> {
    let kind = format!("{mount} users");
    let names = calls::list(job.source, &format!("{mount}users")).await;
    for name in job.or_enter(&kind, mount, names)?.unwrap_or_default() {
        let path = format!("{mount}users/{name}");
        let unknown = entropy::base62(PASSWORD_LETTERS)?;
        let password: Fields = [("password", unknown)].into_iter().collect();
        let outcome = copy(
            job,
            &path,
            &["policies", "ttl", "max_ttl", "bound_cidrs"],
            password,
        )
        .await;
        let copied = matches!(outcome, Ok(Fate::Copied));
        job.enter(&kind, &path, outcome)?;
        if copied {
            let why = "its password cannot be read out: nobody can log in until you set a new one";
            job.state.report.note(path, why);
        }
    }
    Ok(())
}

/// Copies the fields at a path that say something, and more that the target needs.
async fn copy(job: &Job<'_>, path: &str, except: &[&str], more: Fields) -> Result<Fate, Trouble> {
    let Some(found) = calls::read(job.source, path).await? else {
        return Ok(Fate::Gone);
    };
    if calls::read(job.target, path).await?.is_some() && !job.overwrite {
        return Ok(Fate::Kept);
    }
    if !job.dry {
        let mut body = telling(&found, except);
        // False is a setting here, and true what a role has if nothing is said.
        for name in ["bind_secret_id", "renewable"] {
            if let Some(value) = found.get(name) {
                body.insert(name, value.clone());
            }
        }
        for (name, value) in more.iter() {
            body.insert(name, value.clone());
        }
        calls::write(job.target, path, body).await?;
    }
    Ok(Fate::Copied)
}
