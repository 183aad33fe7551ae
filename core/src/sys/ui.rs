//! `sys/internal/ui/mounts`: what command lines ask before a kv command. Answers only for mounts the caller can reach.

use serde_json::{Map, Value, json};

use crate::canon::CanonPath;
use crate::catalog::{Category, MountRecord};
use crate::core::Core;
use crate::error::Error;
use crate::namespaces::Place;
use crate::request::Request;
use crate::response::Envelope;
use crate::routes::{Answer, Call};
use crate::store::layout::ROOT_NAMESPACE;
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
pub async fn mounts_for_anybody(
    core: &Core,
    request: &Request,
    path: &CanonPath,
) -> Result<Box<Envelope>, Error> {
    let session = core.seal.session()?;
    core.divergence.check()?;
    let (opened, derived) = session.view(core.seal.replica()?.read().await?)?;
    let place = Place::find(&derived.catalog, request.namespace.as_deref(), path)?;
    core.admit(&opened, &place, request).await?;
    let seen = |category: Category| -> Map<String, Value> {
        let mounts = place.catalog.mounts(category).iter();
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
    let here = call.work.catalog.namespace().clone();
    let root = call.work.catalog.of(ROOT_NAMESPACE)?;
    let place = Place::find(&root, Some(&here.path), &canon).map_err(|_| refused())?;
    let way = here.way_to(place.catalog.namespace()).unwrap_or_default();
    let routed = place.catalog.route(&place.path).ok_or_else(refused)?;
    let mount: &MountRecord = routed.mount;
    if !reaches(call, &format!("{way}{}", mount.full_path())) && !reaches(call, canon.as_str()) {
        return Err(refused());
    }
    let mut described = mounts::describe(call, mount);
    described.insert("path".to_owned(), json!(format!("{way}{}", mount.path)));
    Ok(Answer::data(described))
}

/// What the caller's own policies come to, as web interfaces ask to know what to show.
pub fn resultant_acl(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let acl = &call.caller.acl;
    if acl.is_root() {
        return Ok(Answer::data(super::object(json!({"root": true}))));
    }
    let (mut exact, mut glob) = (Map::new(), Map::new());
    for (path, capabilities) in acl.rules() {
        let told = json!({"capabilities": capabilities});
        match path.strip_suffix('*') {
            // Wildcards of segments have no place in this answer, as upstream.
            _ if path.split('/').any(|segment| matches!(segment, "+" | "+*")) => {}
            Some(head) => drop(glob.insert(head.to_owned(), told)),
            None => drop(exact.insert(path.to_owned(), told)),
        }
    }
    Ok(Answer::data(super::object(
        json!({"exact_paths": exact, "glob_paths": glob, "root": false}),
    )))
}

/// `sys/internal/ui/namespaces`: those right beneath this one that the caller can reach.
pub fn namespaces(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let node = call.work.catalog.node()?;
    let tree = call.work.catalog.tree();
    let names = node.children.iter().filter(|(name, number)| {
        let open = tree.node(**number).is_some_and(|child| !child.record.closing);
        open && reaches(call, &format!("{name}/"))
    });
    let keys: Vec<String> = names.map(|(name, _)| format!("{name}/")).collect();
    // Where there is none, not even the member is there, as upstream.
    Ok(Answer::data(match keys.is_empty() {
        true => Map::new(),
        false => super::object(json!({"keys": keys})),
    }))
}

/// Existence is told only to those who could use it.
fn preflight_refusal(path: &str) -> Error {
    Error::Preflight(format!("{}/", path.trim_end_matches('/')))
}

/// Whether any rule of the caller lies at, above or beneath this mount.
fn reaches(call: &Call<'_, '_>, mount: &str) -> bool {
    let seen = call.seen(mount);
    seen.is_ok_and(|seen| call.caller.acl.reaches_beneath(&seen))
}
