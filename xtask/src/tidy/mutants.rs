//! Bugs that are put back on purpose: each one that a build can have is hunted, each that is hunted exists, the published
//! table has a row of each, and every invariant of the simulation has caught one.

use std::collections::BTreeSet;

use super::Finding;
use super::tree::Tree;

/// Hunts them.
const HUNT: &str = "chaos-tests/mutants.sh";
/// What the hunt printed.
const TABLE: &str = "chaos-tests/MUTANTS.md";
/// Those that the simulation itself has.
const SIMULATED: &str = "chaos-tests/sim/tests/simulation/plan.rs";
/// Where invariants are, one a file: what a file finds begins with its name.
const INVARIANTS: &str = "chaos-tests/sim/tests/simulation/invariants/";

pub fn check(tree: &Tree) -> Vec<Finding> {
    let Some(hunt) = text(tree, HUNT) else {
        return Vec::new();
    };
    let hunted: BTreeSet<&str> = hunt.lines().filter_map(hunted).collect();
    let known = known(tree);
    let table = text(tree, TABLE).unwrap_or_default();
    let mut found = Vec::new();
    for name in known.difference(&hunted) {
        found.push(Finding::new(HUNT, 0, format!("nobody hunts the mutant {name}")));
    }
    for name in hunted.difference(&known) {
        found.push(Finding::new(
            HUNT,
            0,
            format!("no build can have the mutant {name}"),
        ));
    }
    for name in hunted {
        if !table.contains(&format!("| `{name}` |")) {
            found.push(Finding::new(TABLE, 0, format!("has no row of the mutant {name}")));
        }
    }
    for name in invariants(tree) {
        if !table
            .lines()
            .filter_map(caught_by)
            .any(|by| by.starts_with(&name))
        {
            found.push(Finding::new(TABLE, 0, format!("no mutant is caught by {name}")));
        }
    }
    found
}

fn invariants(tree: &Tree) -> impl Iterator<Item = String> {
    let files = tree.files.iter();
    let names = files.filter_map(|file| file.path.strip_prefix(INVARIANTS)?.strip_suffix(".rs"));
    names
        .filter(|name| *name != "mod")
        .map(|name| name.replace('_', " "))
}

/// `| what must hold | bug | seeds | caught by | again |`.
fn caught_by(row: &str) -> Option<&str> {
    row.split('|').nth(4).map(str::trim)
}

fn text<'t>(tree: &'t Tree, path: &str) -> Option<&'t str> {
    let file = tree.files.iter().find(|file| file.path == path);
    file.map(|file| file.text.as_str())
}

/// `"what must hold|name|how|what it says"`.
fn hunted(line: &str) -> Option<&str> {
    let fields = line.trim().strip_prefix('"')?.strip_suffix('"')?;
    fields.split('|').nth(1)
}

/// What the product asks for by name, and what the simulation lists.
fn known(tree: &Tree) -> BTreeSet<&str> {
    let asked = tree
        .files
        .iter()
        .filter(|file| file.is_rust() && !file.path.starts_with("xtask/"))
        .flat_map(|file| file.text.split("mutant::is(\"").skip(1))
        .filter_map(|rest| rest.split('"').next());
    let listed = text(tree, SIMULATED).unwrap_or_default();
    let listed = listed
        .lines()
        .filter_map(|line| line.trim().strip_prefix("(Mutant::")?.split('"').nth(1));
    asked.chain(listed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_that_nobody_hunts_is_named_and_one_that_does_not_exist() {
        let tree = Tree::of(&[
            (
                HUNT,
                "MUTANTS=(\n    \"a|hunted|seeds|\"\n    \"b|simulated|disk|\"\n    \"c|gone|seeds|\"\n)\n",
            ),
            (
                TABLE,
                "| a | `hunted` | 1 | log matching |\n| b | `simulated` | 1 | leases |\n",
            ),
            ("chaos-tests/sim/tests/simulation/invariants/mod.rs", ""),
            ("chaos-tests/sim/tests/simulation/invariants/log_matching.rs", ""),
            ("chaos-tests/sim/tests/simulation/invariants/secrets.rs", ""),
            (SIMULATED, "    (Mutant::Simulated, \"simulated\"),\n"),
            (
                "core/src/a.rs",
                "fn a() { mutant::is(\"hunted\"); mutant::is(\"free\") }\n",
            ),
        ]);
        let found: Vec<String> = check(&tree).into_iter().map(|finding| finding.what).collect();
        assert_eq!(
            found,
            [
                "nobody hunts the mutant free",
                "no build can have the mutant gone",
                "has no row of the mutant gone",
                "no mutant is caught by secrets"
            ]
        );
    }
}
