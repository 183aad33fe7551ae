//! Members take each dependency from the workspace, so that one version and one set of features is settled once.

use super::Finding;
use super::tree::{File, Tree};

pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.members
        .iter()
        .filter_map(|member| tree.manifest(member))
        .flat_map(check_manifest)
        .collect()
}

fn check_manifest(manifest: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut section = Section::Other;
    // Depth of `[` and `{` left open: the next lines continue an entry.
    let mut open = 0_i32;
    for (index, line) in manifest.text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim();
        let number = index + 1;
        if open == 0 && line.starts_with('[') {
            found.extend(section.close(&manifest.path));
            section = Section::of(line, number);
            continue;
        }
        let starts = open == 0 && !line.is_empty();
        open += balance(line);
        match &mut section {
            Section::List if starts && !inherits(line) => {
                let name = line.split(['.', ' ', '=']).next().unwrap_or(line);
                found.push(own_version(&manifest.path, number, name));
            }
            Section::One { inherited, .. } => *inherited |= line == "workspace = true",
            _ => {}
        }
    }
    found.extend(section.close(&manifest.path));
    found
}

enum Section {
    /// `[dependencies]` and its kin: one dependency a line.
    List,
    /// `[dependencies.name]`: one dependency.
    One {
        name: String,
        line: usize,
        inherited: bool,
    },
    Other,
}

impl Section {
    fn of(header: &str, line: usize) -> Self {
        let header = header.trim_matches(['[', ']']);
        if header.starts_with("workspace") {
            return Self::Other;
        }
        match header.rsplit_once("dependencies") {
            Some((_, "")) => Self::List,
            Some((_, name)) if name.starts_with('.') => Self::One {
                name: name.trim_start_matches('.').to_owned(),
                line,
                inherited: false,
            },
            _ => Self::Other,
        }
    }

    fn close(&self, path: &str) -> Option<Finding> {
        match self {
            Self::One {
                name,
                line,
                inherited: false,
            } => Some(own_version(path, *line, name)),
            _ => None,
        }
    }
}

fn own_version(path: &str, line: usize, name: &str) -> Finding {
    let what = format!(
        "{name} does not come from the workspace: list it in the root Cargo.toml and write `{name}.workspace = true`"
    );
    Finding::new(path, line, what)
}

fn inherits(entry: &str) -> bool {
    entry.replace(' ', "").contains("workspace=true")
}

fn balance(line: &str) -> i32 {
    line.chars().fold(0, |sum, c| match c {
        '[' | '{' => sum + 1,
        ']' | '}' => sum - 1,
        _ => sum,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tree::Member;
    use super::*;

    fn lines(manifest: &str) -> Vec<usize> {
        let mut tree = Tree::of(&[("core/Cargo.toml", manifest)]);
        tree.members = vec![Member {
            dir: "core".to_owned(),
            ..Member::default()
        }];
        check(&tree).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn inherited_entries_pass() {
        let manifest = "[package]\nversion = \"1\"\n[dependencies]\na.workspace = true\n\
                        b = { workspace = true, features = [\n  \"x\",\n] } # why\n[dependencies.c]\nworkspace = true\n";
        assert_eq!(lines(manifest), [0; 0]);
    }

    #[test]
    fn own_versions_and_paths_fail() {
        assert_eq!(lines("[dependencies]\na = \"1\"\n"), [2]);
        assert_eq!(
            lines("[dev-dependencies]\na.workspace = true\nb = { path = \"../b\" }\n"),
            [3]
        );
        assert_eq!(lines("[target.'cfg(unix)'.dependencies]\na = \"1\"\n"), [2]);
        assert_eq!(
            lines("[build-dependencies.a]\nversion = \"1\"\n[features]\nx = []\n"),
            [1]
        );
    }
}
