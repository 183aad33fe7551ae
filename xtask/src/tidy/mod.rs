//! The rules of the tree: each is one file here with a test that shows it fail. This file only lists and runs them.

mod dependencies;
mod documents;
mod edges;
mod examples;
mod file_size;
mod ignored_tests;
mod lints;
mod module_docs;
mod mutants;
mod named_tests;
mod rustflags;
mod sleeps;
mod source;
mod tree;
mod unsafe_code;
mod unused;
mod words;

pub use tree::Error;
use tree::Tree;

/// One rule: looks at the whole tree and names every place that breaks it.
type Rule = fn(&Tree) -> Vec<Finding>;

/// Every rule by the name its findings carry.
const RULES: &[(&str, Rule)] = &[
    ("edges", edges::check),
    ("dependencies", dependencies::check),
    ("unused-dependencies", unused::check),
    ("lints", lints::check),
    ("rustflags", rustflags::check),
    ("module-docs", module_docs::check),
    ("file-size", file_size::check),
    ("unsafe", unsafe_code::check),
    ("ignored-tests", ignored_tests::check),
    ("sleeps", sleeps::check),
    ("examples", examples::check),
    ("words", words::check),
    ("documents", documents::check),
    ("named-tests", named_tests::check),
    ("mutants", mutants::check),
];

/// A place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Path from the root of the tree.
    path: String,
    /// Line, from 1; 0 when the whole file is meant.
    line: usize,
    /// What is wrong and what to do instead.
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what: what.into(),
        }
    }
}

/// All that one run found.
#[derive(Debug)]
pub struct Report {
    /// Places that break a rule, each with the rule's name in front, in the order of [`RULES`].
    pub findings: Vec<String>,
    files: usize,
    members: usize,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            findings,
            files,
            members,
        } = self;
        write!(
            f,
            "{} findings by {} rules in {files} files of {members} crates",
            findings.len(),
            RULES.len()
        )
    }
}

/// Runs every rule over the tree that holds the current directory.
///
/// # Errors
/// When Git or Cargo cannot list the tree, or a listed file cannot be read.
pub fn run() -> Result<Report, Error> {
    let tree = Tree::load()?;
    Ok(Report {
        findings: findings(&tree),
        files: tree.files.len(),
        members: tree.members.len(),
    })
}

fn findings(tree: &Tree) -> Vec<String> {
    let render = |name: &str, found: Finding| match found.line {
        0 => format!("{}: [{name}] {}", found.path, found.what),
        line => format!("{}:{line}: [{name}] {}", found.path, found.what),
    };
    RULES
        .iter()
        .flat_map(|(name, rule)| rule(tree).into_iter().map(move |found| render(name, found)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_file_line_and_rule() {
        let tree = Tree::of(&[("core/src/lib.rs", "//! Core.\n#[ignore]\nfn x() {}\n")]);
        let found = findings(&tree);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found
                .first()
                .is_some_and(|line| line.starts_with("core/src/lib.rs:2: [ignored-tests] "))
        );
    }
}
