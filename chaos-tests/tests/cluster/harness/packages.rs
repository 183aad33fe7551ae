//! Packages that tests need of other languages, each set installed once below the target directory and shared.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Python with these packages, in a virtual environment of its own.
pub fn python(name: &str, packages: &[&str]) -> PathBuf {
    let dir = folder(name);
    let (python, ready) = (dir.join("bin/python"), dir.join(packages.join("+")));
    if ready.exists() {
        return python;
    }
    must(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir));
    must(
        Command::new(&python)
            // What is imported is compiled then; all of it takes minutes of a busy machine.
            .args(["-m", "pip", "install", "--quiet", "--no-compile"])
            .args(packages),
    );
    std::fs::write(ready, "").expect("a mark");
    python
}

/// The folder of modules with these packages of Node.js.
pub fn node(name: &str, packages: &[&str]) -> PathBuf {
    let dir = folder(name);
    let (modules, ready) = (dir.join("node_modules"), dir.join(packages.join("+")));
    if ready.exists() {
        return modules;
    }
    must(
        Command::new("npm")
            .args([
                "install",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
                "--prefix",
            ])
            .arg(&dir)
            .args(packages),
    );
    std::fs::write(ready, "").expect("a mark");
    modules
}

fn folder(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&dir).expect("a folder");
    dir
}

fn must(command: &mut Command) {
    let ran = command.output().unwrap_or_else(|error| {
        panic!(
            "{:?}: {error}: deploy/packages.txt names it",
            command.get_program()
        )
    });
    let complained = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "packages cannot be installed: {complained}");
}
