//! Documents name only what there is: files and headings they link to, targets of the Makefile, commands of the command
//! line. What the commands do is for tests to show.

use std::collections::BTreeSet;

use super::Finding;
use super::tree::{File, Tree};

const MAKEFILE: &str = "Makefile";
/// Documents in this folder are found through its index.
const FOLDER: &str = "docs/";
const INDEX: &str = "docs/README.md";
const COMMANDS: &str = "cli/src/commands/";
/// Names under which the command line is called.
const TOOLS: [&str; 2] = ["conclave", "vault"];
/// Words of a shell after which a command begins.
const LEADS: [&str; 6] = ["do", "then", "else", "sudo", "exec", "!"];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let targets = targets(tree);
    let commands = commands(tree);
    let documents = tree.files.iter().filter(|file| file.path.ends_with(".md"));
    let mut found = Vec::new();
    for document in documents {
        for line in lines(&document.text) {
            let wrong = links(line.prose)
                .filter_map(|link| broken(tree, document, link))
                .chain(line.code.iter().flat_map(|code| unknown_targets(code, &targets)))
                .chain(
                    line.code
                        .iter()
                        .flat_map(|code| unknown_commands(code, &commands)),
                );
            found.extend(wrong.map(|what| Finding::new(&document.path, line.number, what)));
        }
    }
    found.extend(unlisted(tree));
    found
}

/// Documents that the index does not name.
fn unlisted(tree: &Tree) -> Vec<Finding> {
    let index = tree.files.iter().find(|file| file.path == INDEX);
    let listed: BTreeSet<&str> = index
        .map_or("", |file| file.text.as_str())
        .lines()
        .flat_map(links)
        .collect();
    let documents = tree
        .files
        .iter()
        .filter_map(|file| Some((file, file.path.strip_prefix(FOLDER)?)));
    documents
        .filter(|(file, name)| {
            name.ends_with(".md") && !name.contains('/') && file.path != INDEX && !listed.contains(name)
        })
        .map(|(file, _)| Finding::new(&file.path, 0, format!("is not in {INDEX}")))
        .collect()
}

/// A line of a document: all of it unless it is code, and the code in it.
struct Line<'t> {
    number: usize,
    prose: &'t str,
    code: Vec<&'t str>,
}

fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut fenced = false;
    text.lines().enumerate().map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        let is_code = fenced && !fence;
        Line {
            number: index + 1,
            prose: if is_code { "" } else { line },
            code: if is_code {
                vec![line]
            } else {
                line.split('`').skip(1).step_by(2).collect()
            },
        }
    })
}

/// Targets of inline links, `[text](target)`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

fn broken(tree: &Tree, document: &File, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, heading) = link
        .split_once('#')
        .map_or((link, None), |(path, heading)| (path, Some(heading)));
    let target = if path.is_empty() {
        Some(document.path.clone())
    } else {
        resolve(&document.path, path)
    };
    let file = target
        .as_ref()
        .and_then(|target| tree.files.iter().find(|file| file.path == *target));
    let is_folder = target.as_ref().is_some_and(|target| {
        let inside = format!("{}/", target.trim_end_matches('/'));
        tree.files.iter().any(|file| file.path.starts_with(&inside))
    });
    match (file, heading) {
        (None, _) if !is_folder => Some(format!("links to {path}, which is not there")),
        (Some(file), Some(heading)) if !headings(&file.text).any(|known| known == heading) => {
            Some(format!("links to #{heading}, which {} does not have", file.path))
        }
        _ => None,
    }
}

/// The path of the tree that a link from `document` means.
fn resolve(document: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Headings as GitHub names them in links.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

fn targets(tree: &Tree) -> BTreeSet<&str> {
    let makefile = tree.files.iter().find(|file| file.path == MAKEFILE);
    let lines = makefile.map_or("", |file| file.text.as_str()).lines();
    lines
        .filter(|line| !line.starts_with(['\t', '#', '.', ' ']))
        .filter_map(|line| line.split_once(':'))
        .filter(|(_, rest)| !rest.starts_with('='))
        .flat_map(|(names, _)| names.split_whitespace())
        .collect()
}

/// `make target` where nothing but a shell's words stand before it.
fn unknown_targets<'t>(code: &'t str, targets: &'t BTreeSet<&str>) -> impl Iterator<Item = String> + 't {
    calls(code, "make").filter_map(|words| {
        let target = words
            .split_whitespace()
            .find(|word| !word.starts_with('-') && !word.contains('='))?;
        let target = target.trim_end_matches([')', '"', ';', ',']);
        (is_name(target) && !targets.contains(target))
            .then(|| format!("names `make {target}`, which is no target"))
    })
}

/// Names of all commands, as the sources register them.
fn commands(tree: &Tree) -> BTreeSet<&str> {
    let sources = tree.files.iter().filter(|file| file.path.starts_with(COMMANDS));
    sources
        .flat_map(|file| {
            ["Command::new(", "Command::group("]
                .into_iter()
                .flat_map(|made| file.text.split(made).skip(1))
        })
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
        .collect()
}

fn unknown_commands<'t>(code: &'t str, commands: &'t BTreeSet<&str>) -> impl Iterator<Item = String> + 't {
    TOOLS.into_iter().flat_map(move |tool| {
        calls(code, tool).filter_map(move |words| {
            let words: Vec<&str> = words
                .split(' ')
                .map(|word| word.trim_end_matches([')', '"', ';', ',']))
                .take_while(|word| is_name(word))
                .collect();
            if words.is_empty() || commands.is_empty() {
                return None;
            }
            let longest = (1..=words.len())
                .rev()
                .map(|count| words.get(..count).unwrap_or_default().join(" "));
            let known = longest.into_iter().find(|name| commands.contains(name.as_str()));
            let next = known
                .as_ref()
                .map_or(words.first(), |name| words.get(name.split(' ').count()));
            let is_group = known.as_ref().is_none_or(|name| {
                let prefix = format!("{name} ");
                commands.iter().any(|command| command.starts_with(&prefix))
            });
            let next = next.filter(|_| is_group)?;
            let before = known.map(|name| format!("{name} ")).unwrap_or_default();
            Some(format!("names `{tool} {before}{next}`, which is no command"))
        })
    })
}

/// What follows each call of a program in a piece of code.
fn calls<'t>(code: &'t str, program: &'t str) -> impl Iterator<Item = &'t str> {
    code.match_indices(program).filter_map(move |(at, _)| {
        let before = code.get(..at)?;
        let word = before.split_whitespace().next_back().unwrap_or("");
        let begins = word.is_empty()
            || word.ends_with(['$', '#', ';', '|', '(', '{', '&'])
            || (before.ends_with(' ') && LEADS.contains(&word));
        let rest = code.get(at + program.len()..)?.strip_prefix(' ')?;
        begins.then_some(rest)
    })
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase())
        && word
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(document: &str) -> Vec<String> {
        let tree = Tree::of(&[
            ("docs/a.md", document),
            ("docs/b.md", "# Some *title* here\n"),
            ("docs/README.md", "[a](a.md), [b](b.md)\n"),
            ("deploy/x.cfg", ""),
            (
                MAKEFILE,
                "PREFIX ?= /usr\nWORDS := x\nup down:\n\t@make no: no\ncheck-state: up\n",
            ),
            (
                "cli/src/commands/x.rs",
                "Command::new(\"status\", Command::group(\n  \"operator raft\", Command::new(\"operator raft join\", Command::group(\"operator\", Command::new(\"kv put\"",
            ),
        ]);
        check(&tree)
            .into_iter()
            .map(|finding| format!("{} {}", finding.line, finding.what))
            .collect()
    }

    #[test]
    fn what_is_there_passes() {
        let good = "[b](b.md) [t](b.md#some-title-here) [h](#own) [x](../deploy/x.cfg) [d](../deploy/) [w](https://x/y)\n## Own\n\
                    `make up`, we make things; `make -s check-state PORT=1`, `make PORT=1 up`\n\
                    ```\nmake down   # and\neval \"$(make -s up)\"\nconclave operator raft join https://x\nvault status; conclave kv put secret/a b=c\n\
                    conclave operator -h\nfor n in 1; do conclave status -address=$n; done\n[not](a-link)\n```\nthe `conclave` tool\n";
        assert_eq!(found(good), Vec::<String>::new());
    }

    #[test]
    fn a_document_that_nobody_finds_is_named() {
        let tree = Tree::of(&[
            ("docs/README.md", "[a](a.md)\n"),
            ("docs/a.md", ""),
            ("docs/b.md", ""),
            ("docs/adr/c.md", ""),
        ]);
        let found: Vec<String> = check(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["docs/b.md"]);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let bad = "[b](c.md)\n[t](b.md#other)\n`make cake`\n```\nconclave bake\nx | vault operator raft fly -x\n$ conclave kv\n```\n[o](../../out)\n";
        let expected = [
            "1 links to c.md, which is not there",
            "2 links to #other, which docs/b.md does not have",
            "3 names `make cake`, which is no target",
            "5 names `conclave bake`, which is no command",
            "6 names `vault operator raft fly`, which is no command",
            "7 names `conclave kv`, which is no command",
            "9 links to ../../out, which is not there",
        ];
        assert_eq!(found(bad), expected);
    }
}
