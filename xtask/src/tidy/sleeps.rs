//! Tests wait for conditions, not for time. A sleep in one (a poll's pause, a simulated clock) says why.

use super::tree::{File, Tree};
use super::{Finding, source};

const REASON: &str = "// why:";
/// Calls that let time pass, by their last name: `std::thread`, `tokio::time` and imports of both.
const CALLS: &[&str] = &["sleep", "sleep_until"];

pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.files
        .iter()
        .filter(|file| file.is_rust())
        .flat_map(check_file)
        .collect()
}

fn check_file(file: &File) -> Vec<Finding> {
    let code = source::code(&file.text);
    let text: Vec<&str> = file.text.lines().map(str::trim).collect();
    let tests = source::test_lines(&file.path, &code);
    let lines = code
        .lines()
        .zip(tests)
        .enumerate()
        .filter(|(_, (line, test))| *test && sleeps(line));
    lines
        .filter(|(index, _)| !explained(&text, *index))
        .map(|(index, _)| {
            let what =
                format!("a test that sleeps is slow or flaky: wait for a condition, or give `{REASON} ...`");
            Finding::new(&file.path, index + 1, what)
        })
        .collect()
}

fn sleeps(line: &str) -> bool {
    CALLS.iter().any(|call| {
        let call = format!("{call}(");
        line.match_indices(&call).any(|(at, _)| {
            let before = line.get(..at).unwrap_or("");
            !before.ends_with(|c: char| c.is_alphanumeric() || c == '_') && !before.ends_with("fn ")
        })
    })
}

/// Whether the line, or the comment right above it, holds the reason.
fn explained(text: &[&str], index: usize) -> bool {
    let has_reason = |line: &&str| {
        line.split_once(REASON)
            .is_some_and(|(_, why)| !why.trim().is_empty())
    };
    let above = text
        .get(..index)
        .unwrap_or(&[])
        .iter()
        .rev()
        .take_while(|line| line.starts_with("//"));
    text.get(index).is_some_and(has_reason) || above.into_iter().any(has_reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&Tree::of(&[(path, text)]))
            .into_iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn a_sleep_in_a_test_needs_a_reason() {
        assert_eq!(
            lines("core/tests/a.rs", "fn a() {\n    std::thread::sleep(D);\n}\n"),
            [2]
        );
        assert_eq!(
            lines(
                "core/tests/a.rs",
                "fn a() {\n    sleep(D).await;\n    // why:\n    sleep(D).await;\n}\n"
            ),
            [2, 4]
        );
        assert_eq!(
            lines(
                "core/src/a.rs",
                "#[cfg(test)]\nmod tests {\n    fn a() { tokio::time::sleep(D); }\n}\n"
            ),
            [3]
        );
    }

    #[test]
    fn a_reason_or_shipped_code_passes() {
        assert_eq!(
            lines("core/tests/a.rs", "sleep(D); // why: pause of a poll\n"),
            [0; 0]
        );
        assert_eq!(
            lines(
                "core/tests/a.rs",
                "// why: simulated time\n// passes at once\nsleep(D);\n"
            ),
            [0; 0]
        );
        assert_eq!(
            lines(
                "core/src/a.rs",
                "fn a() { tokio::time::sleep(D); }\nfn asleep() {}\n"
            ),
            [0; 0]
        );
    }
}
