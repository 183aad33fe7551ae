//! `unsafe` lives in crates that exist for it and nothing else. The lint forbids it per crate; this also covers
//! build scripts and files that no crate compiles yet.

use super::tree::Tree;
use super::{Finding, source};

/// Folders of the crates that may hold `unsafe`: locked memory, and the shim that fakes power loss.
const ALLOWED: &[&str] = &["mem", "chaos-tests/shim"];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let bound = tree
        .files
        .iter()
        .filter(|file| file.is_rust() && !may_hold_unsafe(&file.path));
    bound
        .flat_map(|file| {
            let lines = source::lines_with_word(&source::code(&file.text), "unsafe");
            lines
                .into_iter()
                .map(|line| Finding::new(&file.path, line, "`unsafe` outside the crates made for it"))
        })
        .collect()
}

/// Whether a path lies in a crate that may hold `unsafe`.
pub fn may_hold_unsafe(path: &str) -> bool {
    ALLOWED.iter().any(|dir| {
        path.strip_prefix(dir)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_is_found_in_code_only() {
        let text = "//! No unsafe here.\nfn a() { unsafe { b() } }\nconst C: &str = \"unsafe\";\n";
        let tree = Tree::of(&[
            ("core/src/a.rs", text),
            ("memory/src/a.rs", text),
            ("mem/src/lib.rs", text),
        ]);
        let found: Vec<_> = check(&tree)
            .into_iter()
            .map(|finding| (finding.path, finding.line))
            .collect();
        assert_eq!(
            found,
            [("core/src/a.rs".to_owned(), 2), ("memory/src/a.rs".to_owned(), 2)]
        );
    }

    #[test]
    fn the_lint_attribute_is_not_the_keyword() {
        assert!(check(&Tree::of(&[("a.rs", "#![forbid(unsafe_code)]\n")])).is_empty());
    }
}
