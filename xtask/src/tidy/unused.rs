//! A dependency that no source of the crate names costs build time and trust for nothing.

use super::tree::{Member, Tree};
use super::{Finding, source};

/// Dependencies that no line of ours names, and why they are needed: (crate, dependency, why).
const UNNAMED: &[(&str, &str, &str)] = &[
    ("conclave-proto", "prost", "the generated code names it"),
    ("conclave-proto", "tonic-prost", "the generated code names it"),
    (
        "conclave-chaos-tests",
        "conclave-chaos-shim",
        "its library is built with the tests and loaded by path",
    ),
];

pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.members
        .iter()
        .flat_map(|member| check_member(tree, member))
        .collect()
}

fn check_member(tree: &Tree, member: &Member) -> Vec<Finding> {
    let dependencies = member.normal.iter().chain(&member.dev);
    let unused = dependencies.filter(|name| !is_listed(member, name) && !is_named(tree, member, name));
    let finding = |name: &String| {
        Finding::new(
            &format!("{}/Cargo.toml", member.dir),
            0,
            format!("`{name}` is named by no source of {}: remove it", member.name),
        )
    };
    unused.map(finding).collect()
}

fn is_listed(member: &Member, name: &str) -> bool {
    UNNAMED
        .iter()
        .any(|(of, dependency, _)| *of == member.name && *dependency == name)
}

fn is_named(tree: &Tree, member: &Member, name: &str) -> bool {
    let renamed = member.renamed.iter().find(|(package, _)| package == name);
    let word = renamed.map_or(name, |(_, rename)| rename).replace('-', "_");
    let inside = format!("{}/", member.dir);
    // A member may lie inside another's folder.
    let nested: Vec<String> = tree
        .members
        .iter()
        .filter(|other| other.dir.starts_with(&inside))
        .map(|other| format!("{}/", other.dir))
        .collect();
    let own = tree.files.iter().filter(|file| {
        file.is_rust()
            && file.path.starts_with(&inside)
            && !nested.iter().any(|dir| file.path.starts_with(dir))
    });
    own.into_iter().any(|file| {
        source::code(&file.text)
            .lines()
            .any(|line| source::has_word(line, &word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(dir: &str, normal: &[&str], dev: &[&str]) -> Member {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Member {
            name: format!("conclave-{dir}"),
            dir: dir.to_owned(),
            normal: owned(normal),
            dev: owned(dev),
            ..Member::default()
        }
    }

    #[test]
    fn what_is_only_mentioned_in_comments_or_by_others_is_unused() {
        let mut tree = Tree::of(&[
            ("a/src/lib.rs", "// tokio_stream\nuse serde_json::json;\n"),
            ("a/tests/x.rs", "proptest::proptest! {}\n"),
            ("a/inner/src/lib.rs", "use base64::Engine;\n"),
        ]);
        tree.members = vec![
            member("a", &["serde_json", "tokio-stream", "base64"], &["proptest"]),
            member("a/inner", &["base64"], &[]),
        ];
        let found: Vec<String> = check(&tree).into_iter().map(|finding| finding.what).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].starts_with("`tokio-stream`") && found[1].starts_with("`base64`"),
            "{found:?}"
        );
        tree.members[0].renamed = vec![("tokio-stream".to_owned(), "proptest".to_owned())];
        assert_eq!(check(&tree).len(), 1, "sources have another name for it");
    }
}
