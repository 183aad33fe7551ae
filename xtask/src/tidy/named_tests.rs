//! The table of faults names tests: each must be a function of this tree, or the table promises what nobody tries.

use super::Finding;
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
        .filter(|(_, name)| !is_test(tree, name))
        .map(|(number, name)| Finding::new(TABLE, number, format!("names the test {name}, which is nowhere")))
        .chain(untried(&table.text))
        .collect()
}

/// Rows of tables of tests without any.
fn untried(text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut of_tests = false;
    for (index, line) in text.lines().enumerate() {
        let is_row = line.starts_with('|') && !line.starts_with("|---");
        let heads = line.ends_with("| Tests |");
        if of_tests && is_row && !heads && tests(line).next().is_none() && !waits(line) {
            found.push(Finding::new(
                TABLE,
                index + 1,
                "names no test, and not what it waits for",
            ));
        }
        of_tests = heads || of_tests && line.starts_with('|');
    }
    found
}

/// What stands in code marks in the last cell of a row.
fn tests(row: &str) -> impl Iterator<Item = &str> {
    let last = row.trim_end().trim_end_matches('|').rsplit('|').next();
    last.unwrap_or_default().split('`').skip(1).step_by(2)
}

/// Whether a test is called so: a function that stands below an attribute which makes it one.
fn is_test(tree: &Tree, name: &str) -> bool {
    let opened = format!("fn {name}(");
    let rust = tree.files.iter().filter(|file| file.is_rust());
    let mut places = rust.flat_map(|file| {
        let found = file.text.match_indices(&opened);
        found.filter_map(|(at, _)| file.text.get(..at))
    });
    places.any(|before| {
        let above = before.lines().rev().map(str::trim);
        let mut above = above.skip_while(|line| line.is_empty() || line.ends_with("async"));
        let mut attributes = above.by_ref().take_while(|line| line.starts_with("#["));
        attributes.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    })
}

/// Rows that name no test must say what they wait for.
fn waits(row: &str) -> bool {
    row.contains("wait")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_is_nowhere_is_named() {
        let text = "| Fault | Tests |\n|---|---|\n| `x` | `there`, `gone` |\n| y | `helper` |\n";
        let tree = Tree::of(&[
            (TABLE, text),
            (
                "a/tests/b.rs",
                "#[test]\n#[cfg(x)]\nfn there() {}\n#[test]\nfn gone_too() {}\nfn helper() {}\n",
            ),
        ]);
        let found: Vec<_> = check(&tree).into_iter().map(|one| (one.line, one.what)).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].0 == 3 && found[0].1.contains("gone,"), "{found:?}");
        assert!(found[1].0 == 4 && found[1].1.contains("helper,"), "{found:?}");
    }

    #[test]
    fn tests_of_every_kind_are_tests() {
        let code = "#[tokio::test(flavor = \"multi_thread\")]\nasync fn one() {}\nproptest! {\n    #[test]\n    fn two(a in b) {}\n}\n";
        let tree = Tree::of(&[("a.rs", code)]);
        assert!(is_test(&tree, "one") && is_test(&tree, "two"));
    }

    #[test]
    fn a_row_without_a_test_says_what_it_waits_for() {
        let text = "| Fault | Tests |\n|---|---|\n| x | |\n| y | waits for z | |\n\n| Date | Runs |\n|---|---|\n| 1 | 2 |\n";
        let found = check(&Tree::of(&[(TABLE, text)]));
        assert_eq!(found.iter().map(|one| one.line).collect::<Vec<_>>(), [3]);
    }
}
