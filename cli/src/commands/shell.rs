//! `completion` and `man`: what shells and manuals know of the table of commands. Knows no command by name.

use std::path::Path;

use clap::{Arg, ArgAction};

use super::{Command, all, exactly};
use crate::exit::{Exit, Fail};
use crate::flags::{Args, Kind};
use crate::session::{Cx, TOOL};

pub const COMMANDS: &[Command] = &[
    Command::new(
        "completion",
        "[options] bash|zsh|fish|elvish|powershell",
        "Prints a script that completes commands in a shell",
        completion,
    )
    .help("Prints a script that completes commands and flags.\n\n$ source <(conclave completion bash)"),
    Command::new("man", "[options] [DIRECTORY]", "Prints the manual, or writes its pages", man)
        .help("Prints the overview's manual page, or writes a page for each command.\n\n$ conclave man /usr/local/share/man/man1"),
];

fn completion(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let shell: clap_complete::Shell = args
        .arg(0)
        .parse()
        .map_err(|_| Fail::usage(format!("Unknown shell: {}", args.arg(0))))?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut tree(), TOOL, &mut script);
    cx.ui.bytes(&script);
    Ok(Exit::OK)
}

fn man(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    super::at_most(args, 1)?;
    let failed = |e: std::io::Error| {
        Fail::usage(format!(
            "Error writing the manual: {}",
            conclave_client::http::plain(&e)
        ))
    };
    let directory = args.arg(0);
    if directory.is_empty() {
        let mut page = Vec::new();
        clap_mangen::Man::new(tree()).render(&mut page).map_err(failed)?;
        cx.ui.bytes(&page);
        return Ok(Exit::OK);
    }
    clap_mangen::generate_to(tree(), Path::new(directory)).map_err(failed)?;
    cx.ui.line(&format!("Success! Wrote the manual to: {directory}"));
    Ok(Exit::OK)
}

/// All commands as the library that writes scripts and manuals wants them.
fn tree() -> clap::Command {
    let root = clap::Command::new(TOOL)
        .about("Conclave: secrets that open by quorum")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true);
    children(root, "")
}

fn children(mut parent: clap::Command, prefix: &str) -> clap::Command {
    for command in all() {
        let Some(name) = command
            .name
            .strip_prefix(prefix)
            .filter(|name| !name.contains(' '))
        else {
            continue;
        };
        let child = clap::Command::new(name)
            .about(command.synopsis)
            .long_about(command.help);
        let child = if command.run.is_some() {
            flags(child, command)
        } else {
            child
        };
        parent = parent.subcommand(children(child, &format!("{} ", command.name)));
    }
    parent
}

fn flags(mut child: clap::Command, command: &Command) -> clap::Command {
    let mut flags: Vec<_> = command
        .groups()
        .into_iter()
        .flat_map(|(_, flags)| flags)
        .filter(|f| !f.hidden)
        .collect();
    flags.sort_by_key(|f| f.name);
    for flag in flags {
        let action = match flag.kind {
            Kind::Bool => ArgAction::SetTrue,
            Kind::List | Kind::Map => ArgAction::Append,
            Kind::Int | Kind::Text | Kind::Span => ArgAction::Set,
        };
        let mut arg = Arg::new(flag.name)
            .long(flag.name)
            .help(flag.usage)
            .action(action);
        for alias in flag.aliases {
            let mut letters = alias.chars();
            if let (Some(letter), None) = (letters.next(), letters.next()) {
                arg = arg.visible_short_alias(letter);
            }
        }
        child = child.arg(arg);
    }
    child.arg(
        Arg::new("arguments")
            .num_args(0..)
            .help("What the command works on"),
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_sound_and_whole() {
        let tree = super::tree();
        tree.clone().debug_assert();
        let kv = tree.find_subcommand("kv").unwrap();
        assert!(
            kv.find_subcommand("metadata")
                .unwrap()
                .find_subcommand("put")
                .is_some()
        );
    }
}
