//! The table of faults names tests: each must be a function of this tree, or the table promises what nobody tries.

use super::Finding;
use super::source::lines_with_word;
use super::tree::Tree;

const TABLE: &str = "docs/reliability.md";

pub fn check(tree: &Tree) -> Vec<Finding> {
    let Some(table) = tree.files.iter().find(|file| file.path == TABLE) else {
        return Vec::new();
    };
    let lines = table.text.lines().enumerate();
    lines
        .filter(|(_, line)| line.starts_with('|'))
        .flat_map(|(index, line)| tests(line).map(move |name| (index + 1, name)))
        .filter(|(_, name)| !is_function(tree, name))
        .map(|(number, name)| Finding::new(TABLE, number, format!("names the test {name}, which is nowhere")))
        .collect()
}

/// What stands in code marks in the last cell of a row.
fn tests(row: &str) -> impl Iterator<Item = &str> {
    let last = row.trim_end().trim_end_matches('|').rsplit('|').next();
    last.unwrap_or_default().split('`').skip(1).step_by(2)
}

fn is_function(tree: &Tree, name: &str) -> bool {
    let opened = format!("fn {name}(");
    tree.files
        .iter()
        .filter(|file| file.is_rust())
        .any(|file| file.text.contains(&opened) && !lines_with_word(&file.text, name).is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_is_nowhere_is_named() {
        let text = "| Fault | Tests |\n|---|---|\n| `x` | `there`, `gone` |\n| y | |\n";
        let tree = Tree::of(&[
            (TABLE, text),
            ("a/tests/b.rs", "fn there() {}\nfn gone_too() {}\n"),
        ]);
        let found = check(&tree);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].line, found[0].what.contains("gone,")), (3, true));
    }
}
