//! The project speaks of itself alone: no path of one machine and no word about how it came to be written.

use super::Finding;
use super::tree::{File, Tree};

/// What no file may hold, in two halves so that this file holds none either, and why.
const BANNED: &[(&str, &str, &str)] = &[
    ("/wo", "rk/", "a path of one machine"),
    ("/ro", "ot/", "a path of one machine"),
    ("/tm", "p/plan", "a path of one machine"),
    ("/opt/wh", "eels", "a path of one machine"),
    ("../sh", "ared", "a folder outside the repository"),
    ("warm-build", "-cache", "a folder outside the repository"),
    ("rocksdb-cc", "ache.tar", "a folder outside the repository"),
    (".lib", "rary/", "a folder outside the repository"),
    ("issues ", "show", "a tool of the workplace"),
    ("this se", "ssion", "the work on the project, not the project"),
    ("another se", "ssion", "the work on the project, not the project"),
    ("later se", "ssion", "the work on the project, not the project"),
    ("next se", "ssion", "the work on the project, not the project"),
    ("sub", "agent", "the work on the project, not the project"),
    ("language ", "model", "the work on the project, not the project"),
    ("this is", "sue", "the work on the project, not the project"),
    ("later is", "sue", "the work on the project, not the project"),
];

/// The one reference outside that is allowed: an optional folder of compiled objects beside the checkout.
const EXCEPTIONS: &[(&str, &[&str])] = &[(".ci/run", &["../sh", "warm-build"])];

pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.files
        .iter()
        .filter(|file| file.path != "Cargo.lock")
        .flat_map(check_file)
        .collect()
}

fn check_file(file: &File) -> Vec<Finding> {
    let excepted = EXCEPTIONS
        .iter()
        .find(|(path, _)| *path == file.path)
        .map_or(&[][..], |(_, firsts)| firsts);
    let banned = BANNED.iter().filter(|(first, _, _)| !excepted.contains(first));
    let banned = banned.map(|(first, second, why)| (format!("{first}{second}"), why));
    banned
        .flat_map(|(word, why)| {
            let lines = file
                .text
                .lines()
                .enumerate()
                .filter(|(_, line)| holds(line, &word));
            let lines: Vec<usize> = lines.map(|(index, _)| index + 1).collect();
            lines
                .into_iter()
                .map(move |line| Finding::new(&file.path, line, format!("`{word}`: {why}")))
        })
        .collect()
}

/// Whether the line holds the word, in any case, where a path or a sentence could begin.
fn holds(line: &str, word: &str) -> bool {
    let line = line.to_lowercase();
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '}' | '>' | '*'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(path: &str, text: &str) -> usize {
        check(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn every_banned_word_is_found() {
        for (first, second, _) in BANNED {
            assert_eq!(
                words("docs/a.md", &format!("see {first}{second} there")),
                1,
                "{first}{second}"
            );
            assert_eq!(
                words(
                    "docs/a.md",
                    &format!("See {}", format!("{first}{second}").to_uppercase())
                ),
                1
            );
        }
    }

    #[test]
    fn api_paths_that_look_alike_pass() {
        assert_eq!(
            words("core/src/sys.rs", "sys/rotate/root/config database/rotate-root/x"),
            0
        );
        assert_eq!(
            words("core/src/sys.rs", "wrap: issue a token in this TLS connection"),
            0
        );
    }

    #[test]
    fn the_exception_holds_in_one_file() {
        let line = format!(
            "cache={}/{}",
            ["../sh", "ared"].concat(),
            ["warm-build", "-cache"].concat()
        );
        assert_eq!(words(".ci/run", &line), 0);
        assert_eq!(words("Makefile", &line), 2);
    }
}
