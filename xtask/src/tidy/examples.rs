//! An example engine is reached by one registry line: its name anywhere else in what ships means that something knows
//! it specially. Tests may mount it, and an ordinary word may still be the name of a variable.

use std::collections::BTreeSet;

use super::tree::{File, Tree};
use super::{Finding, source};

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
        let tests = source::test_lines(&file.path, &source::code(&file.text));
        let shipped = file
            .text
            .lines()
            .zip(tests)
            .enumerate()
            .filter(|(_, (_, test))| !test);
        for (index, _) in shipped.filter(|(_, (line, _))| names_example(line, name)) {
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

/// Whether the line holds the name as a name: a whole literal or the start of one (`"demo"`, `"demo/x"`), a module
/// (`demo::`, `mod demo`), a folder (`examples/demo`), or the first part of a longer name (`demo_engine`).
fn names_example(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line.get(..at).unwrap_or("");
        let after = line.get(at + name.len()..).unwrap_or("");
        let literal = before.ends_with('"') && after.starts_with(['"', '/']);
        let module = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
            && (after.starts_with("::") || before.ends_with("mod ") || after.starts_with("_engine"));
        let folder = before.ends_with("examples/") && !after.starts_with(char::is_alphanumeric);
        literal || module || folder
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
        let words = ("server/src/a.rs", "let demo = a_demo::x(\"democracy\");\n");
        assert_eq!(
            places(&[
                registry,
                words,
                ("a.md", "demo::x"),
                ("core/tests/a.rs", "mount(\"demo\")")
            ]),
            []
        );
    }

    #[test]
    fn a_second_line_or_another_crate_fails() {
        let registry = ("engines/builtin/src/lib.rs", "mod demo;\nengine(demo::new());\n");
        let special = (
            "server/src/a.rs",
            "if name == \"demo\" || path.starts_with(\"demo/\") {\n",
        );
        let folder = (
            "server/Cargo.toml",
            "x = { path = \"../engines/builtin/examples/demo\" }\n",
        );
        let expected = [
            ("engines/builtin/src/lib.rs".to_owned(), 2),
            ("server/src/a.rs".to_owned(), 1),
            ("server/Cargo.toml".to_owned(), 1),
        ];
        assert_eq!(places(&[registry, special, folder]), expected);
    }
}
