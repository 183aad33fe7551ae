//! A source file has a hard limit; long before it the file holds more than one idea. Clippy limits functions.

use super::Finding;
use super::tree::Tree;

/// Lines of one `.rs` file, tests included.
const MAX_LINES: usize = 800;

pub fn check(tree: &Tree) -> Vec<Finding> {
    let sized = tree
        .files
        .iter()
        .filter(|file| file.is_rust())
        .map(|file| (file, file.text.lines().count()));
    let long = sized.filter(|(_, lines)| *lines > MAX_LINES);
    long.map(|(file, lines)| {
        Finding::new(
            &file.path,
            0,
            format!("{lines} lines, {MAX_LINES} are the limit: split it by idea"),
        )
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_itself_passes_and_one_more_fails() {
        let count =
            |path: &str, lines: usize| check(&Tree::of(&[(path, "//\n".repeat(lines).as_str())])).len();
        assert_eq!(count("a.rs", MAX_LINES), 0);
        assert_eq!(count("a.rs", MAX_LINES + 1), 1);
        assert_eq!(count("Cargo.lock", MAX_LINES + 1), 0);
    }
}
