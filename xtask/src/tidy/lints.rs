//! Every member inherits the workspace's lints; the few crates that may hold `unsafe` state their own.

use super::tree::{File, Tree};
use super::{Finding, unsafe_code};

pub fn check(tree: &Tree) -> Vec<Finding> {
    let bound = tree
        .members
        .iter()
        .filter(|member| !unsafe_code::may_hold_unsafe(&member.dir));
    let manifests = bound.filter_map(|member| tree.manifest(member));
    let failing = manifests.filter(|manifest| !inherits(manifest));
    failing
        .map(|manifest| Finding::new(&manifest.path, 0, "add `[lints]` with `workspace = true`"))
        .collect()
}

fn inherits(manifest: &File) -> bool {
    let mut lines = manifest
        .text
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "[lints]")
        .skip(1);
    lines.find(|line| !line.is_empty() && !line.starts_with('#')) == Some("workspace = true")
}

#[cfg(test)]
mod tests {
    use super::super::tree::Member;
    use super::*;

    fn count(dir: &str, manifest: &str) -> usize {
        let mut tree = Tree::of(&[(&format!("{dir}/Cargo.toml"), manifest)]);
        tree.members = vec![Member {
            dir: dir.to_owned(),
            ..Member::default()
        }];
        check(&tree).len()
    }

    #[test]
    fn a_member_without_the_lints_fails() {
        assert_eq!(
            count("core", "[package]\n[lints]\n# All of them.\nworkspace = true\n"),
            0
        );
        assert_eq!(count("core", "[package]\n"), 1);
        assert_eq!(count("core", "[lints.rust]\nunsafe_code = \"allow\"\n"), 1);
        assert_eq!(count("mem", "[lints.rust]\nunsafe_code = \"deny\"\n"), 0);
    }
}
