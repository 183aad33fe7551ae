//! Copies ACL policies by their text.

use conclave_client::http::{Client, Fields};

use super::calls::{self, Trouble, text};
use super::job::{Fate, Job};

const KIND: &str = "policies";

/// Copies all policies.
///
/// # Errors
/// The reason to stop.
pub async fn copy(job: &mut Job<'_>) -> Result<(), String> {
    if job.state.is_done(KIND) {
        return Ok(());
    }
    let names = calls::list(job.source, "sys/policies/acl").await;
    let Some(names) = job.or_enter(KIND, "sys/policies/acl", names)? else {
        return Ok(());
    };
    for name in names.iter().filter(|name| *name != "root") {
        let path = format!("sys/policies/acl/{name}");
        if name == "default" {
            default(job, &path).await?;
            continue;
        }
        let outcome = one(job, &path).await;
        job.enter(KIND, &path, outcome)?;
    }
    job.state.finish(KIND)
}

async fn one(job: &Job<'_>, path: &str) -> Result<Fate, Trouble> {
    let Some(policy) = policy(job.source, path).await? else {
        return Ok(Fate::Gone);
    };
    match self::policy(job.target, path).await? {
        Some(here) if here == policy => return Ok(Fate::Kept),
        Some(_) if !job.overwrite => {
            return Err(Trouble::Item(
                "another text is on the target; -overwrite replaces it".into(),
            ));
        }
        _ => {}
    }
    if !job.dry {
        let body: Fields = [("policy", policy)].into_iter().collect();
        calls::write(job.target, path, body).await?;
    }
    Ok(Fate::Copied)
}

/// The products' own default policies differ in what they allow a token to do with itself: the target's stays.
async fn default(job: &mut Job<'_>, path: &str) -> Result<(), String> {
    let both = async { Ok((policy(job.source, path).await?, policy(job.target, path).await?)) };
    let both: Result<_, Trouble> = both.await;
    if let Some((source, target)) = job.or_enter(KIND, path, both)?
        && source != target
    {
        let why = "differs from the target's and was left as the target has it; carry your own changes over by hand";
        job.state.report.note(path, why);
    }
    Ok(())
}

async fn policy(client: &Client, path: &str) -> Result<Option<String>, Trouble> {
    let found = calls::read(client, path).await?;
    Ok(found.map(|fields| {
        let rules = text(&fields, "policy");
        if rules.is_empty() {
            text(&fields, "rules")
        } else {
            rules
        }
        .to_owned()
    }))
}
