//! Running scripts of the tree, with an environment that shows nothing of whoever runs the test.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::harness::{conclave, ports};

/// The root of the tree.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a workspace")
}

/// A file of the tree.
pub fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The first fenced block of a document that holds `word`.
pub fn block(document: &str, word: &str) -> String {
    let text = read(document);
    let found = text
        .split("```")
        .skip(1)
        .step_by(2)
        .find(|block| block.contains(word));
    let found = found.unwrap_or_else(|| panic!("{document} has no block with {word}"));
    found.split_once('\n').expect("lines").1.to_owned()
}

/// A command of the tree's root without settings of the user's, with a home below `home`.
pub fn command(program: impl AsRef<std::ffi::OsStr>, home: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if ["VAULT_", "BAO_", "CONCLAVE_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            command.env_remove(name);
        }
    }
    command
        .current_dir(root())
        .env("HOME", home)
        .env_remove("PORT")
        // Scripts may be run by `make`, which must not take part in the one that runs the tests.
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .stdin(Stdio::null());
    command
}

/// Standard output of a command that must succeed.
pub fn must(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (said, complained) = texts(&output);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{said}\n{complained}",
        output.status
    );
    said
}

/// Standard output and standard error.
pub fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// A base port at which the ports of a local cluster are free.
pub fn base_port() -> u16 {
    ports::free_row(&[0, 1, 2, 10, 11, 12, 20, 21, 22, 30])
}

/// A folder below the target directory: the system's temporary files may lie in memory.
pub fn folder() -> tempfile::TempDir {
    tempfile::TempDir::with_prefix_in("deploy-", env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

/// A `PATH` whose `cargo` builds the binary under test at once, where a file of the user's has it put what it builds.
pub fn cargo_elsewhere(folder: &Path) -> String {
    let (programs, target) = (folder.join("programs"), folder.join("built elsewhere"));
    std::fs::create_dir_all(&programs).expect("a folder");
    let script = format!(
        "#!/bin/sh\ntarget='{}'\ncase $1 in\nbuild) mkdir -p \"$target/release\"; ln -sf '{}' \"$target/release/conclave\" ;;\n\
         metadata) printf '{{\"packages\":[],\"target_directory\":\"%s\",\"version\":1}}\\n' \"$target\" ;;\n*) exit 9 ;;\nesac\n",
        target.display(),
        binary().display()
    );
    let cargo = programs.join("cargo");
    std::fs::write(&cargo, script).expect("a script");
    std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let path = std::env::var("PATH").expect("a path");
    format!("{}:{path}", programs.display())
}

/// The binary under test.
pub fn binary() -> PathBuf {
    conclave()
}
