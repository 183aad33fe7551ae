//! Rows of a table that every namespace has, addressed from anywhere: a path that begins with `~<number>~` is of that
//! namespace, any other of the root. So a token of one namespace may hang on one of another, and all of a namespace's rows
//! still lie beneath its number.

use conclave_engine_api::{self as api, Changes, Page, Reader, Stored};

use crate::error::Error;
use crate::store::layout::ROOT_NAMESPACE;
use crate::store::{Draft, Opened, Space, Table};

/// What a located path begins with; no path of the root does.
const MARK: char = '~';

/// The path of a row of a namespace.
pub fn locate(namespace: u32, path: &str) -> String {
    match namespace {
        ROOT_NAMESPACE => path.to_owned(),
        number => format!("{MARK}{number}{MARK}{path}"),
    }
}

/// The namespace of a located path, and the path within it.
pub fn split(path: &str) -> (u32, &str) {
    let located = path.strip_prefix(MARK).and_then(|rest| {
        let (number, rest) = rest.split_once(MARK)?;
        Some((number.parse().ok()?, rest))
    });
    located.unwrap_or((ROOT_NAMESPACE, path))
}

/// Where a located path of a table lies.
pub fn place(table: Table, path: &str) -> (Space, &str) {
    let (namespace, rest) = split(path);
    (Space::within(table, namespace), rest)
}

/// Names beneath a located directory.
pub fn names(opened: &Opened, table: Table, dir: &str, page: &Page) -> Result<Vec<String>, Error> {
    let (space, dir) = place(table, dir);
    opened.space(space).names(dir, page)
}

/// Reads the rows of one table in all namespaces.
pub struct Located<'v> {
    opened: &'v Opened,
    table: Table,
}

impl<'v> Located<'v> {
    /// The rows of `table`.
    pub fn new(opened: &'v Opened, table: Table) -> Self {
        Self { opened, table }
    }
}

impl Reader for Located<'_> {
    fn get(&self, path: &str) -> Result<Option<Stored>, api::Error> {
        let (space, path) = place(self.table, path);
        self.opened.space(space).get(path)
    }

    fn list(&self, dir: &str, page: &Page) -> Result<Vec<String>, api::Error> {
        let (space, dir) = place(self.table, dir);
        self.opened.space(space).list(dir, page)
    }
}

/// Takes a transaction over [`Located`] rows into a draft.
pub fn include(draft: &mut Draft<'_>, table: Table, changes: Changes) -> Result<(), Error> {
    let is_of_root = |path: &String| !path.starts_with(MARK);
    if changes.reads.keys().all(is_of_root) && changes.writes.keys().all(is_of_root) {
        return draft.include(Space::root(table), changes);
    }
    let mut by_space: std::collections::BTreeMap<Space, Changes> = std::collections::BTreeMap::new();
    for (path, seen) in changes.reads {
        let (space, path) = place(table, &path);
        let part = by_space.entry(space).or_default();
        part.reads.insert(path.to_owned(), seen);
    }
    for (path, write) in changes.writes {
        let (space, path) = place(table, &path);
        let part = by_space.entry(space).or_default();
        part.writes.insert(path.to_owned(), write);
    }
    for (space, mut part) in by_space {
        part.guards.clone_from(&changes.guards);
        draft.include(space, part)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_know_their_namespace() {
        assert_eq!(split("abc/def"), (0, "abc/def"));
        assert_eq!(locate(0, "abc"), "abc");
        let child = format!("{}/{}", locate(7, "parent"), locate(9, "child"));
        assert_eq!(split(&child), (7, "parent/~9~child"));
        assert_eq!(split("~x~y"), (0, "~x~y"));
    }
}
