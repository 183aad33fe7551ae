//! Help texts, laid out as the original lays them out. Knows the tables of commands and flags only.

use crate::commands::{Command, all};
use crate::flags::{Flag, Kind};
use crate::output::text::wrap;
use crate::session::TOOL;

/// Commands that the overview names first.
const COMMON: [&str; 8] = [
    "read", "write", "delete", "list", "login", "server", "status", "unwrap",
];

/// The overview of all commands.
pub fn overview() -> String {
    let width = |names: &[&str]| names.iter().map(|n| n.len()).max().unwrap_or_default();
    let mut out = format!("Usage: {TOOL} <command> [args]\n\nCommon commands:\n");
    let line = |name: &str, pad: usize| {
        let synopsis = all().find(|c| c.name == name).map_or("", |c| c.synopsis);
        format!("    {name:pad$}      {synopsis}\n")
    };
    for name in COMMON {
        out.push_str(&line(name, width(&COMMON)));
    }
    let mut others: Vec<&str> = all()
        .map(|c| c.name)
        .filter(|n| !n.contains(' ') && !COMMON.contains(n))
        .collect();
    others.sort_unstable();
    out.push_str("\nOther commands:\n");
    for name in &others {
        out.push_str(&line(name, width(&others)));
    }
    out.trim_end().to_owned()
}

/// The help of one command.
pub fn of(command: &Command) -> String {
    let mut out = format!("Usage: {TOOL} {} {}\n\n", command.name, command.args);
    for paragraph in command.help.split('\n') {
        match paragraph {
            "" => out.push('\n'),
            example if example.starts_with('$') => out.push_str(&format!("      {example}\n")),
            text => out.push_str(&format!("{}\n", wrap(text, 2))),
        }
    }
    if command.run.is_none() {
        out.push_str("\nSubcommands:\n");
        let prefix = format!("{} ", command.name);
        let mut children: Vec<_> = all()
            .filter_map(|c| Some((c.name.strip_prefix(&prefix)?, c.synopsis)))
            .filter(|(n, _)| !n.contains(' '))
            .collect();
        children.sort_unstable();
        let width = children.iter().map(|(n, _)| n.len()).max().unwrap_or_default();
        for (name, synopsis) in children {
            out.push_str(&format!("    {name:width$}    {synopsis}\n"));
        }
        return out.trim_end().to_owned();
    }
    for (title, flags) in command.groups() {
        let mut flags: Vec<&Flag> = flags.iter().filter(|f| !f.hidden).collect();
        if flags.is_empty() {
            continue;
        }
        flags.sort_by_key(|f| f.name);
        out.push_str(&format!("\n{title}:\n\n"));
        for flag in flags {
            out.push_str(&detail(flag));
        }
    }
    out.trim_end().to_owned()
}

fn detail(flag: &Flag) -> String {
    let example = match flag.kind {
        Kind::Bool => "",
        Kind::Int => "=<int>",
        Kind::Text | Kind::List => "=<string>",
        Kind::Span => "=<duration>",
        Kind::Map => "=<key=value>",
    };
    let mut usage = flag.usage.to_owned();
    if let [alias] = flag.aliases {
        usage.push_str(&format!(" This is aliased as \"-{alias}\"."));
    }
    if !flag.default.is_empty() {
        usage.push_str(&format!(" The default is {}.", flag.default));
    }
    if !flag.env.is_empty() {
        usage.push_str(&format!(
            " This can also be specified via the CONCLAVE_{} environment variable.",
            flag.env
        ));
    }
    format!("  -{}{example}\n{}\n\n", flag.name, wrap(&usage, 6))
}
