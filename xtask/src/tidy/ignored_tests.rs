//! No test is switched off: one that cannot pass asserts today's behaviour with a note, or goes.

use super::tree::Tree;
use super::{Finding, source};

pub fn check(tree: &Tree) -> Vec<Finding> {
    let sources = tree.files.iter().filter(|file| file.is_rust());
    sources
        .flat_map(|file| {
            let code = source::code(&file.text);
            let numbered = code.lines().enumerate();
            let off = numbered.filter(|(_, line)| line.contains("#[") && source::has_word(line, "ignore"));
            let lines: Vec<usize> = off.map(|(index, _)| index + 1).collect();
            lines.into_iter().map(|line| {
                Finding::new(
                    &file.path,
                    line,
                    "an ignored test proves nothing: fix or remove it",
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignore_attributes_are_found() {
        let lines = |text: &str| check(&Tree::of(&[("a.rs", text)])).len();
        assert_eq!(lines("#[ignore]\nfn a() {}\n"), 1);
        assert_eq!(lines("#[ignore = \"slow\"]\nfn a() {}\n"), 1);
        assert_eq!(lines("#[cfg_attr(debug_assertions, ignore)]\nfn a() {}\n"), 1);
        assert_eq!(lines("// #[ignore]\nfn ignore() {}\nlet x = \"#[ignore]\";\n"), 0);
    }
}
