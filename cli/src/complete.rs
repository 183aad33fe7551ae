//! Completion as `complete -C conclave conclave` asks for it: the shell hands the line over in `COMP_LINE`, and takes one
//! candidate a line. Knows the table of commands, no command in particular.

use std::collections::BTreeSet;

use crate::commands;
use crate::env::Env;

/// The candidates for the last word of the line that a shell is completing; `None` if none is.
pub fn candidates(env: &Env) -> Option<BTreeSet<String>> {
    let line = env.plain("COMP_LINE")?;
    let point = env.plain("COMP_POINT").and_then(|point| point.parse().ok());
    // A point inside of a character, or none, means the end.
    let line = point.and_then(|point: usize| line.get(..point)).unwrap_or(line);
    Some(complete(line))
}

fn complete(line: &str) -> BTreeSet<String> {
    let (before, last) = line.rsplit_once(char::is_whitespace).unwrap_or((line, ""));
    let words: Vec<&str> = before
        .split_whitespace()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    if last.starts_with('-') {
        return flags(&words, last);
    }
    let above: String = words.iter().map(|word| format!("{word} ")).collect();
    let names = commands::all().filter_map(|command| command.name.strip_prefix(&above));
    names
        .filter_map(|rest| rest.split(' ').next())
        .filter(|word| word.starts_with(last))
        .map(str::to_owned)
        .collect()
}

/// Flags of the longest command that the words name; what follows it is what it works on.
fn flags(words: &[&str], last: &str) -> BTreeSet<String> {
    let named = (1..=words.len()).rev().find_map(|count| {
        let name = words.get(..count)?.join(" ");
        commands::all().find(|command| command.name == name && command.run.is_some())
    });
    let groups = named.into_iter().flat_map(commands::Command::groups);
    groups
        .flat_map(|(_, flags)| flags)
        .filter(|flag| !flag.hidden)
        .map(|flag| format!("-{}", flag.name))
        .filter(|flag| flag.starts_with(last))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Vec<String> {
        complete(line).into_iter().collect()
    }

    #[test]
    fn commands_and_flags_are_completed() {
        assert_eq!(of("conclave kv ge"), ["get"]);
        assert_eq!(of("vault kv metadata p"), ["patch", "put"]);
        assert!(of("conclave ").contains(&"kv".to_owned()));
        assert_eq!(of("conclave kv get -ver"), ["-version"]);
        assert_eq!(of("conclave kv get -mount=secret a -fi"), ["-field"]);
        assert!(of("conclave nosuch ").is_empty());
        assert!(of("conclave nosuch -f").is_empty());
    }
}
