//! `sys/capabilities*`: what a token may do on paths.

use serde_json::{Map, json};

use crate::error::Error;
use crate::policy::Acl;
use crate::routes::{Answer, Call};
use crate::tokens::{self, Found};

/// Most paths asked at once.
const MAX_PATHS: usize = 1000;

/// Of the token in the body.
pub fn of_token(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let token = call.fields().required("token");
    let token = token.map_err(|_| Error::listed("no token found"))?;
    let found = tokens::by_id(call.work, &token, call.env.now())?;
    let found = found.ok_or_else(|| Error::listed("invalid token"))?;
    of_found(call, &found)
}

/// Of the token with the accessor in the body.
pub fn of_accessor(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let accessor = call.fields().required("accessor")?;
    let found = tokens::by_accessor(call.work, &accessor, call.env.now())?;
    let found = found.ok_or_else(|| Error::listed("invalid accessor"))?;
    of_found(call, &found)
}

/// Of the caller.
pub fn of_self(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let way = call.seen("")?;
    answer(call, &call.caller.acl, &way)
}

fn of_found(call: &Call<'_, '_>, found: &Found) -> Result<Answer, Error> {
    let work = &*call.work;
    let (acl, _) = tokens::compile(work.opened(), &found.record, work.catalog, call.env.now())?;
    answer(call, &acl, "")
}

/// `way` leads from the namespace of the token to this one, in which the paths are.
fn answer(call: &Call<'_, '_>, acl: &Acl, way: &str) -> Result<Answer, Error> {
    let fields = call.fields();
    let paths = fields
        .strings("paths")?
        .or(fields.strings("path")?)
        .unwrap_or_default();
    if paths.is_empty() {
        return Err(Error::invalid("paths must be supplied"));
    }
    if paths.len() > MAX_PATHS {
        return Err(Error::TooLarge(format!("more than {MAX_PATHS} paths")));
    }
    let capabilities =
        |path: &str| json!(acl.capabilities(&format!("{way}{}", path.trim_start_matches('/'))));
    let mut data = Map::new();
    for path in &paths {
        data.insert(path.clone(), capabilities(path));
    }
    if let [path] = paths.as_slice() {
        data.insert("capabilities".to_owned(), capabilities(path));
    }
    Ok(Answer::at_top_level(data))
}
