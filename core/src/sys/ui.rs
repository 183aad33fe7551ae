//! `sys/internal/ui/mounts`: what command lines ask before a kv command. Answers only for mounts the caller can reach.

use serde_json::{Map, Value, json};

use crate::canon::CanonPath;
use crate::catalog::{Category, MountRecord};
use crate::core::Core;
use crate::error::Error;
use crate::response::Envelope;
use crate::routes::{Answer, Call};
use crate::sys::mounts;

/// All mounts the caller can reach.
pub fn mounts(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let visible = |category: Category, prefix: &str| -> Map<String, Value> {
        let mounts = call.work.catalog.mounts(category).iter();
        mounts
            .filter(|(path, _)| reaches(call, &format!("{prefix}{path}")))
            .map(|(path, mount)| (path.clone(), Value::Object(mounts::describe(call, mount))))
            .collect()
    };
    let (secret, auth) = (visible(Category::Secret, ""), visible(Category::Auth, "auth/"));
    Ok(Answer::data(super::open::object(
        json!({"secret": secret, "auth": auth}),
    )))
}

/// What is told to callers without a token: the mounts that whoever enabled them wanted to be seen by everybody.
pub async fn mounts_for_anybody(core: &Core) -> Result<Box<Envelope>, Error> {
    let (session, replica) = (core.seal.session()?, core.seal.replica()?);
    let (_, derived) = session.view(replica.read().await?)?;
    let seen = |category: Category| -> Map<String, Value> {
        let mounts = derived.catalog.mounts(category).iter();
        let seen = mounts.filter(|(_, mount)| mount.listing_visibility == "unauth");
        let shown = seen.map(|(path, mount)| {
            let options = mounts::options(mount);
            let mount = json!({"type": mount.kind, "description": mount.description, "options": options});
            (path.clone(), mount)
        });
        shown.collect()
    };
    let data = json!({"secret": seen(Category::Secret), "auth": seen(Category::Auth)});
    Ok(Box::new(Envelope {
        data: Some(super::object(data)),
        ..Envelope::default()
    }))
}

/// The mount a path lies beneath.
pub fn mount(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let path = call.params.get("path");
    let refused = || preflight_refusal(path);
    let canon = CanonPath::parse(&format!("{}/", path.trim_end_matches('/').replace('%', "%25")))?;
    let routed = call.work.catalog.route(&canon).ok_or_else(refused)?;
    let mount: &MountRecord = routed.mount;
    let full = if mount.category == Category::Auth {
        format!("auth/{}", mount.path)
    } else {
        mount.path.clone()
    };
    if !reaches(call, &full) && !reaches(call, canon.as_str()) {
        return Err(refused());
    }
    let mut described = mounts::describe(call, mount);
    described.insert("path".to_owned(), json!(mount.path));
    Ok(Answer::data(described))
}

/// Existence is told only to those who could use it.
fn preflight_refusal(path: &str) -> Error {
    Error::Preflight(format!("{}/", path.trim_end_matches('/')))
}

/// Whether any rule of the caller lies at, above or beneath this mount.
fn reaches(call: &Call<'_, '_>, mount: &str) -> bool {
    call.caller.acl.is_root() || call.caller.acl.reaches_beneath(mount)
}
