//! Compiler flags stand in `.cargo/config.toml` alone: any other value of them builds every crate a second time.

use super::Finding;
use super::tree::{File, Tree};

const THE_PLACE: &str = ".cargo/config.toml";

pub fn check(tree: &Tree) -> Vec<Finding> {
    // Prose may speak of the flags, and Rust source cannot set them, but for build scripts.
    let settable = |file: &&File| {
        file.path != THE_PLACE
            && !file.path.ends_with(".lock")
            && !file.path.ends_with(".md")
            && (!file.is_rust() || file.path.ends_with("build.rs"))
    };
    tree.files.iter().filter(settable).flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<Finding> {
    let numbered = file.text.lines().enumerate();
    let setting = numbered.filter(|(_, line)| line.to_ascii_lowercase().contains("rustflags"));
    setting
        .map(|(index, _)| {
            Finding::new(
                &file.path,
                index + 1,
                format!("compiler flags belong in {THE_PLACE}"),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_configuration_of_cargo_sets_flags() {
        let flag = "x\nRUSTFLAGS=-g\n";
        let tree = Tree::of(&[
            (THE_PLACE, flag),
            ("Makefile", flag),
            ("raft/build.rs", flag),
            ("README.md", flag),
        ]);
        let found: Vec<_> = check(&tree)
            .into_iter()
            .map(|finding| (finding.path, finding.line))
            .collect();
        assert_eq!(
            found,
            [("Makefile".to_owned(), 2), ("raft/build.rs".to_owned(), 2)]
        );
    }
}
