//! `sys/remount`: moving a mount. Only the path in its record changes, so a move is done when its request is answered.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::catalog::{Category, decode_record, encode_record};
use crate::error::Error;
use crate::routes::{Answer, Call};
use crate::sys::mounts::{PROTECTED, in_the_way};

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
    let is_protected = |path: &str| PROTECTED.iter().any(|protected| path.starts_with(protected));
    if is_protected(&from) && !from.starts_with("auth/") {
        return Err(Error::invalid(format!("cannot remount {from:?}")));
    }
    crate::canon::CanonPath::parse(&to.replace('%', "%25"))?;
    let known = call.work.catalog.mounts(Category::Secret).get(&from);
    let mut mount = known
        .ok_or_else(|| Error::invalid(format!("no matching mount at {from:?}")))?
        .as_ref()
        .clone();
    if is_protected(&to) {
        return Err(Error::invalid(format!("cannot remount to destination {to}")));
    }
    if let Some(known) = in_the_way(call, &to) {
        return Err(Error::invalid(format!("path already in use at {known:?}")));
    }
    mount.path = to;
    call.work.config.get(&mount.row())?;
    call.work.config.put(&mount.row(), encode_record(&mount)?)?;
    let migration = call.env.uuid();
    let moved = Move {
        from,
        to: mount.path.clone(),
    };
    call.work
        .config
        .put(&format!("{MOVES}/{migration}"), encode_record(&moved)?)?;
    Ok(Answer::at_top_level(super::object(
        json!({"migration_id": migration}),
    )))
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
