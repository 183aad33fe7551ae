//! An example engine is reached by one registry line: its name anywhere else means the server special-cases it.

use std::collections::BTreeSet;

use super::Finding;
use super::tree::{File, Tree};

const FOLDER: &str = "engines/builtin/examples/";
const REGISTRY: &str = "engines/builtin/src/";

pub fn check(tree: &Tree) -> Vec<Finding> {
    let inside = tree
        .files
        .iter()
        .filter_map(|file| file.path.strip_prefix(FOLDER));
    let names: BTreeSet<&str> = inside
        .filter_map(|path| path.split_once('/'))
        .map(|(name, _)| name)
        .collect();
    names
        .into_iter()
        .flat_map(|name| check_example(tree, name))
        .collect()
}

fn check_example(tree: &Tree, name: &str) -> Vec<Finding> {
    let folder = format!("{FOLDER}{name}/");
    let outside = tree
        .files
        .iter()
        .filter(|file| is_code(file) && !file.path.starts_with(&folder));
    let mut registered = false;
    let mut found = Vec::new();
    for file in outside {
        for (index, line) in file.text.lines().enumerate() {
            if !names_example(line, name) {
                continue;
            }
            if file.path.starts_with(REGISTRY) && !registered {
                registered = true;
                continue;
            }
            let what =
                format!("names the example engine `{name}`: only its folder and one line of {REGISTRY} may");
            found.push(Finding::new(&file.path, index + 1, what));
        }
    }
    found
}

fn is_code(file: &File) -> bool {
    file.is_rust() || file.path.ends_with(".toml")
}

/// Whether the line holds the name as a word or as the start of one: `demo`, `demo::`, `demo_engine`, not `a_demo`.
fn names_example(line: &str, name: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name).any(|(at, _)| {
        let before = line.get(..at).is_some_and(|text| text.ends_with(part_of_name));
        let after = line
            .get(at + name.len()..)
            .is_some_and(|text| text.starts_with(char::is_alphanumeric));
        !before && !after
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGINE: (&str, &str) = ("engines/builtin/examples/demo/mod.rs", "pub struct Demo;\n");

    fn places(files: &[(&str, &str)]) -> Vec<(String, usize)> {
        let files: Vec<_> = [ENGINE].iter().chain(files).copied().collect();
        check(&Tree::of(&files))
            .into_iter()
            .map(|finding| (finding.path, finding.line))
            .collect()
    }

    #[test]
    fn one_registry_line_passes() {
        let registry = (
            "engines/builtin/src/lib.rs",
            "fn list() {\n    engine(demo::new());\n}\n",
        );
        assert_eq!(
            places(&[
                registry,
                ("server/src/a.rs", "democracy, a_demo\n"),
                ("a.md", "demo")
            ]),
            []
        );
    }

    #[test]
    fn a_second_line_or_another_crate_fails() {
        let registry = ("engines/builtin/src/lib.rs", "mod demo;\nengine(demo::new());\n");
        let special = ("server/src/a.rs", "if name == \"demo\" {\n");
        let expected = [
            ("engines/builtin/src/lib.rs".to_owned(), 2),
            ("server/src/a.rs".to_owned(), 1),
        ];
        assert_eq!(places(&[registry, special]), expected);
    }
}
