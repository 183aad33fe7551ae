//! Every source file opens with `//!`: its role and what it must not know.

use super::Finding;
use super::tree::{File, Tree};

pub fn check(tree: &Tree) -> Vec<Finding> {
    let bare = tree
        .files
        .iter()
        .filter(|file| file.is_rust() && !opens_with_docs(file));
    bare.map(|file| {
        Finding::new(
            &file.path,
            1,
            "open the file with `//!`: its role, what it must not know",
        )
    })
    .collect()
}

/// Whether a `//!` line with words stands before everything but inner attributes and blank lines.
fn opens_with_docs(file: &File) -> bool {
    let mut in_attribute = false;
    for line in file.text.lines().map(str::trim) {
        in_attribute |= line.starts_with("#![");
        if in_attribute {
            in_attribute = !line.ends_with(']');
        } else if !line.is_empty() {
            return line
                .strip_prefix("//!")
                .is_some_and(|words| !words.trim().is_empty());
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_needs_docs_before_its_code() {
        let count = |text: &str| check(&Tree::of(&[("core/src/a.rs", text)])).len();
        assert_eq!(count("//! Role.\nuse std::io;\n"), 0);
        assert_eq!(count("#![allow(\n    missing_docs,\n)]\n\n//! Role.\n"), 0);
        assert_eq!(count("use std::io;\n//! Late.\n"), 1);
        assert_eq!(count("/// Not of the module.\nfn a() {}\n"), 1);
        assert_eq!(count("//!\n"), 1);
        assert_eq!(count(""), 1);
        assert!(check(&Tree::of(&[("notes.txt", "words")])).is_empty());
    }
}
