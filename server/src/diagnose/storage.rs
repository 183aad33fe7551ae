//! The data directory: whether it can be used, by this user alone, and what node it holds. Nothing is made in it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Access, access};

use super::{Finding, Status};
use crate::config::Config;
use crate::node::DataDir;

/// Checks it.
pub fn check(config: &Config, data: Option<&Path>) -> Finding {
    let Some(path) = data else {
        let told = "everything is kept in memory: nothing survives a restart";
        return Finding::new("Check Storage", Status::Warning, told);
    };
    let directory = Finding::of("Check Data Directory", directory(path));
    let mut parts = vec![directory, Finding::of("Check Node", node(path))];
    parts.push(audit(config));
    Finding::all("Check Storage", parts)
}

fn directory(path: &Path) -> Result<String, String> {
    let shown = path.display();
    if !path.exists() {
        let above = path.ancestors().skip(1).find(|place| place.exists());
        let above = above.ok_or_else(|| format!("{shown}: no directory above it exists"))?;
        may_write(above)?;
        return Ok(format!("{shown} will be made at the first start"));
    }
    let found = fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?;
    if !found.is_dir() {
        return Err(format!("{shown} is no directory"));
    }
    may_write(path)?;
    if found.mode() & 0o077 != 0 {
        let mode = found.mode() & 0o777;
        return Err(format!(
            "{shown} may be used by others (mode {mode:o}); run: chmod 0700 {shown}"
        ));
    }
    Ok(String::new())
}

fn may_write(path: &Path) -> Result<(), String> {
    let allowed = access(path, Access::WRITE_OK | Access::EXEC_OK);
    allowed.map_err(|error| format!("{}: this user may not write there: {error}", path.display()))
}

/// What the directory says of the node in it.
fn node(path: &Path) -> Result<String, String> {
    if !path.exists() {
        return Ok("none yet".to_owned());
    }
    match DataDir::peek(path).map_err(|error| error.to_string())? {
        Some(membership) => Ok(format!(
            "node {} of a cluster of which {} members are known",
            membership.node_id,
            membership.members.len()
        )),
        None => Ok("it belongs to no cluster yet: init or join".to_owned()),
    }
}

/// Directories in which audit files may lie.
fn audit(config: &Config) -> Finding {
    const NAME: &str = "Check Audit Directories";
    let directories = config.audit_directories();
    if directories.is_empty() {
        let told = "no audit_directories: requests cannot be recorded in files";
        return Finding::new(NAME, Status::Warning, told);
    }
    let tried = directories.iter().try_for_each(|directory| may_write(directory));
    Finding::of(NAME, tried.map(|()| String::new()))
}
