//! The tree as the rules see it: text files that Git would keep, and the workspace members Cargo sees.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Why the tree could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program could not be started or failed.
    #[error("`{program}` failed: {reason}")]
    Program {
        /// The command as typed.
        program: String,
        /// Its error output, or why it could not start.
        reason: String,
    },
    /// A tracked file could not be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// Path from the root of the tree.
        path: String,
        /// The operating system's words.
        reason: std::io::Error,
    },
    /// `cargo metadata` answered something without the expected members.
    #[error("`cargo metadata` has no usable `{0}`")]
    Metadata(&'static str),
}

/// A text file of the tree.
#[derive(Debug)]
pub struct File {
    /// Path from the root of the tree, with `/`.
    pub path: String,
    /// The whole content.
    pub text: String,
}

impl File {
    /// Whether this is Rust source.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// A crate of the workspace.
#[derive(Debug, Default)]
pub struct Member {
    /// Package name, such as `conclave-core`.
    pub name: String,
    /// Folder from the root of the tree, such as `engines/api`; empty for a package at the root.
    pub dir: String,
    /// Dependencies that ship, build dependencies among them, by package name.
    pub normal: Vec<String>,
    /// Dependencies of tests only, by package name.
    pub dev: Vec<String>,
    /// Packages and the names that sources have for them instead.
    pub renamed: Vec<(String, String)>,
}

/// Everything the rules look at.
#[derive(Debug, Default)]
pub struct Tree {
    /// UTF-8 files, tracked or new but not ignored, sorted by path.
    pub files: Vec<File>,
    /// Workspace members.
    pub members: Vec<Member>,
}

impl Tree {
    /// Reads the tree that holds the current directory.
    ///
    /// # Errors
    /// When Git or Cargo cannot list it, or a listed file cannot be read.
    pub fn load() -> Result<Self, Error> {
        let metadata = run("cargo", &["metadata", "--format-version=1", "--no-deps"])?;
        let metadata: Value =
            serde_json::from_slice(&metadata).map_err(|_| Error::Metadata("document, it is not JSON"))?;
        let root = text(&metadata, "workspace_root")?;
        Ok(Self {
            files: files(Path::new(root))?,
            members: members(&metadata, root)?,
        })
    }

    /// The manifest of a member, if it is among the files.
    pub fn manifest(&self, member: &Member) -> Option<&File> {
        let path = if member.dir.is_empty() {
            "Cargo.toml".to_owned()
        } else {
            format!("{}/Cargo.toml", member.dir)
        };
        self.files.iter().find(|file| file.path == path)
    }

    /// A tree made of these paths and texts, without members.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let file = |&(path, text): &(&str, &str)| File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        Self {
            files: files.iter().map(file).collect(),
            members: Vec::new(),
        }
    }
}

/// The files Git tracks or would track. Files that are not UTF-8 are left out: no rule is about them.
fn files(root: &Path) -> Result<Vec<File>, Error> {
    let root_arg = root.to_string_lossy();
    let listed = run(
        "git",
        &[
            "-C",
            &root_arg,
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
            "--deduplicate",
        ],
    )?;
    let mut files = Vec::new();
    for path in listed.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
        let path = String::from_utf8_lossy(path).into_owned();
        match std::fs::read(root.join(&path)) {
            Ok(bytes) => files.extend(String::from_utf8(bytes).ok().map(|text| File { path, text })),
            // Deleted in the working tree and not yet in the index.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(reason) => return Err(Error::Read { path, reason }),
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn members(metadata: &Value, root: &str) -> Result<Vec<Member>, Error> {
    list(metadata, "packages")?
        .iter()
        .map(|package| member(package, root))
        .collect()
}

fn member(package: &Value, root: &str) -> Result<Member, Error> {
    let dir = text(package, "manifest_path")?
        .strip_prefix(root)
        .and_then(|path| path.strip_suffix("Cargo.toml"))
        .ok_or(Error::Metadata("manifest_path below the workspace root"))?
        .trim_matches('/');
    let mut member = Member {
        name: text(package, "name")?.to_owned(),
        dir: dir.to_owned(),
        ..Member::default()
    };
    for dependency in list(package, "dependencies")? {
        let name = text(dependency, "name")?.to_owned();
        if let Some(rename) = dependency.get("rename").and_then(Value::as_str) {
            member.renamed.push((name.clone(), rename.to_owned()));
        }
        match dependency.get("kind").and_then(Value::as_str) {
            Some("dev") => member.dev.push(name),
            _ => member.normal.push(name),
        }
    }
    Ok(member)
}

fn text<'a>(value: &'a Value, key: &'static str) -> Result<&'a str, Error> {
    value.get(key).and_then(Value::as_str).ok_or(Error::Metadata(key))
}

fn list<'a>(value: &'a Value, key: &'static str) -> Result<&'a [Value], Error> {
    value
        .get(key)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .ok_or(Error::Metadata(key))
}

fn run(program: &str, args: &[&str]) -> Result<Vec<u8>, Error> {
    let failed = |reason: String| Error::Program {
        program: format!("{program} {}", args.join(" ")),
        reason,
    };
    let output = Command::new(program)
        .args(args)
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_split_dependencies_by_kind() {
        let metadata = json!({"packages": [{
            "name": "conclave-engine-api",
            "manifest_path": "/repo/engines/api/Cargo.toml",
            "dependencies": [
                {"name": "serde", "kind": null},
                {"name": "protox", "kind": "build"},
                {"name": "proptest", "kind": "dev"},
            ],
        }]});
        let members = members(&metadata, "/repo").unwrap();
        assert_eq!(members[0].dir, "engines/api");
        assert_eq!(members[0].normal, ["serde", "protox"]);
        assert_eq!(members[0].dev, ["proptest"]);
    }

    #[test]
    fn a_manifest_outside_the_root_is_an_error() {
        let metadata =
            json!({"packages": [{"name": "x", "manifest_path": "/else/Cargo.toml", "dependencies": []}]});
        assert!(members(&metadata, "/repo").is_err());
    }
}
