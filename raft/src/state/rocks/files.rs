//! The list of files in a checkpoint, so that one that lost a file is refused before it replaces anything: a database
//! opens without its blob files and only fails when they are read. This file must not know what is in them.
//!
//! `FILES` holds `conclave-files 1`, then `<size in bytes> <name>` for each file, by name; lines end with a line feed.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::place::failed;
use crate::error::Error;

const LIST: &str = "FILES";
const MAGIC: &str = "conclave-files 1";

/// Writes the list of what `dir` holds now.
pub(super) fn write_list(dir: &Path) -> Result<(), Error> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| failed(dir, &error))? {
        let entry = entry.map_err(|error| failed(dir, &error))?;
        let size = entry
            .metadata()
            .map_err(|error| failed(&entry.path(), &error))?
            .len();
        lines.push((entry.file_name().to_string_lossy().into_owned(), size));
    }
    lines.sort();
    let mut text = format!("{MAGIC}\n");
    for (name, size) in lines {
        text.push_str(&format!("{size} {name}\n"));
    }
    let path = dir.join(LIST);
    let mut file = File::create_new(&path).map_err(|error| failed(&path, &error))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|error| failed(&path, &error))
}

/// The listed files of `dir`, if all are there in their sizes. Others beside them do not matter.
pub(super) fn check_list(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let text = fs::read_to_string(dir.join(LIST)).map_err(|error| failed(&dir.join(LIST), &error))?;
    let Some(lines) = text.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix('\n')) else {
        return Err(corrupt(dir, "the list of files does not begin as one"));
    };
    let mut files = Vec::new();
    for line in lines.split_terminator('\n') {
        let parsed = line
            .split_once(' ')
            .and_then(|(size, name)| Some((size.parse::<u64>().ok()?, name)));
        // A plain name: a list from elsewhere must not lead out of the directory.
        let Some((size, name)) =
            parsed.filter(|(_, name)| Path::new(name).file_name() == Some(name.as_ref()))
        else {
            return Err(corrupt(dir, "the list of files does not parse"));
        };
        let path = dir.join(name);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() && found.len() == size => files.push(path),
            _ => return Err(corrupt(dir, &format!("{name} is missing or not of its size"))),
        }
    }
    Ok(files)
}

fn corrupt(dir: &Path, detail: &str) -> Error {
    Error::Corrupt {
        what: "checkpoint",
        detail: format!("{}: {detail}", dir.display()),
    }
}
