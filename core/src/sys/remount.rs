//! `sys/remount`: moving a mount. Only the path in its record changes, so a move is done when its request is answered.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::auth::owner_of;
use crate::catalog::{Category, decode_record, encode_record};
use crate::error::Error;
use crate::routes::{Answer, Call};
use crate::sys::mounts::{PROTECTED, in_the_way};
use crate::tokens;

/// Rows of finished moves.
const MOVES: &str = "move";

/// A finished move, kept so that its status can be asked for.
#[derive(Serialize, Deserialize)]
struct Move {
    from: String,
    to: String,
}

/// `secrets move`.
pub fn remount(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let fields = call.fields();
    let directory = |name: &str| -> Result<String, Error> {
        let text = fields.string(name)?.unwrap_or_default();
        match text.trim_matches('/') {
            "" => Err(Error::invalid(
                "both 'from' and 'to' path must be specified as a string",
            )),
            path => Ok(format!("{path}/")),
        }
    };
    let (from, to) = (directory("from")?, directory("to")?);
    crate::canon::CanonPath::parse(&to.replace('%', "%25"))?;
    let (category, source) = split(&from);
    let (category_to, target) = split(&to);
    let is_protected = |path: &str| PROTECTED.iter().any(|protected| path.starts_with(protected));
    if source == "token/" && category == Category::Auth || is_protected(&from) && category == Category::Secret
    {
        return Err(Error::invalid(format!("cannot remount {from:?}")));
    }
    if category == Category::Auth && category_to == Category::Secret {
        return Err(Error::invalid(format!(
            "cannot remount auth mount to non-auth mount {to:?}"
        )));
    }
    let known = call.work.catalog.mounts(category).get(source);
    let mut mount = known
        .ok_or_else(|| Error::invalid(format!("no matching mount at {from:?}")))?
        .as_ref()
        .clone();
    if category == Category::Secret && is_protected(&to) {
        return Err(Error::invalid(format!("cannot remount to destination {to}")));
    }
    if let Some(known) = in_the_way(call, category, target) {
        let prefix = if category == Category::Auth { "auth/" } else { "" };
        let known = format!("{prefix}{known}");
        return Err(Error::invalid(format!("path already in use at {known:?}")));
    }
    if category == Category::Auth {
        // As with the original, tokens of the logins before a move end with it.
        tokens::close(call.work, &owner_of(mount.namespace, mount.id, mount.logins.era))?;
        mount.logins.era = mount.logins.era.saturating_add(1);
    }
    mount.path = target.to_owned();
    call.work.config.get(&mount.row())?;
    call.work.config.put(&mount.row(), encode_record(&mount)?)?;
    let migration = call.env.uuid();
    let moved = Move { from, to };
    call.work
        .config
        .put(&format!("{MOVES}/{migration}"), encode_record(&moved)?)?;
    Ok(Answer::at_top_level(super::object(
        json!({"migration_id": migration}),
    )))
}

/// Whether a path is that of an auth method, and the path without `auth/`.
fn split(path: &str) -> (Category, &str) {
    match path.strip_prefix("auth/") {
        Some(path) if !path.is_empty() => (Category::Auth, path),
        _ => (Category::Secret, path),
    }
}

/// `GET sys/remount/status/:id`.
pub fn status(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let id = call.params.get("id").to_owned();
    let row = call.work.config.get(&format!("{MOVES}/{id}"))?;
    let row = row.ok_or(Error::NotFound { warnings: Vec::new() })?;
    let moved: Move = decode_record(&row.value)?;
    Ok(Answer::data(super::object(json!({
        "migration_id": id,
        "migration_info": {"source_mount": moved.from, "target_mount": moved.to, "status": "success"},
    }))))
}
