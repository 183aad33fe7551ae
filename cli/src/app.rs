//! From the words of the command line to an exit code: picks the command, reads its flags, runs it. Knows the table
//! of commands, no command in particular.

use crate::commands::{self, Command};
use crate::exit::{Exit, Fail};
use crate::flags::Args;
use crate::help;
use crate::session::Cx;
use crate::ui::Format;

/// Exit code for an unknown command, as a shell's.
const UNKNOWN_COMMAND: Exit = Exit(127);

/// Runs the command line `words` (without the program's name).
pub fn run(cx: &mut Cx, words: &[String]) -> Exit {
    let globals = Globals::of(words);
    let format = globals
        .format
        .as_deref()
        .or_else(|| cx.env.get("FORMAT"))
        .unwrap_or("table")
        .to_lowercase();
    let Some(parsed) = Format::parse(&format) else {
        cx.ui.error(&format!("Invalid output format: {format}"));
        return Exit::USAGE;
    };
    cx.ui.format = parsed;
    cx.ui.detailed = globals.detailed;
    if !globals.preview {
        return dispatch(cx, words);
    }
    // Only the shown request counts; what the command said because its call "failed" does not.
    let muted = cx.ui.mute();
    let exit = dispatch(cx, words);
    let shown = cx.take_shown();
    cx.ui.unmute(muted, shown.is_none());
    match shown {
        Some(shown) => {
            cx.ui.line(&shown);
            Exit::OK
        }
        None if exit == UNKNOWN_COMMAND => exit,
        None => {
            cx.ui.error("Unable to show the request of this command");
            if exit == Exit::OK { Exit::USAGE } else { exit }
        }
    }
}

/// What is read from anywhere on the line, before the command's own flags.
#[derive(Default)]
struct Globals {
    format: Option<String>,
    detailed: bool,
    preview: bool,
}

impl Globals {
    fn of(words: &[String]) -> Self {
        let mut globals = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                break;
            }
            let Some(body) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                continue;
            };
            match body
                .split_once('=')
                .map_or((body, None), |(name, value)| (name, Some(value)))
            {
                ("format", Some(value)) => globals.format = Some(value.to_owned()),
                ("format", None) => globals.format = words.next().cloned(),
                ("detailed", None) => globals.detailed = true,
                ("detailed", Some(value)) => {
                    globals.detailed = crate::goval::parse_bool(value).unwrap_or(false)
                }
                ("output-curl-string" | "output-policy", None) => globals.preview = true,
                _ => {}
            }
        }
        globals
    }
}

fn dispatch(cx: &mut Cx, words: &[String]) -> Exit {
    if let [word] = words
        && matches!(word.as_str(), "-v" | "-version" | "--version")
    {
        return dispatch(cx, &["version".to_owned()]);
    }
    let is_help = words
        .iter()
        .take_while(|w| *w != "--")
        .any(|w| matches!(w.as_str(), "-h" | "-help" | "--help"));
    let first = words
        .iter()
        .take_while(|w| *w != "--")
        .position(|w| !w.starts_with('-') && !w.is_empty());
    let Some(first) = first else {
        if is_help {
            cx.ui.line(&help::overview());
            return Exit::OK;
        }
        if let Some(refusal) = commands::elsewhere::refusal(words) {
            cx.ui.error(&refusal);
            return Exit::USAGE;
        }
        cx.ui.error(&help::overview());
        return UNKNOWN_COMMAND;
    };
    let (before, from) = words.split_at(first);
    if let Some(refusal) = commands::elsewhere::refusal(from) {
        cx.ui.error(&refusal);
        return Exit::USAGE;
    }
    let Some((command, used)) = find(from) else {
        cx.ui.error(&help::overview());
        return UNKNOWN_COMMAND;
    };
    if is_help {
        cx.ui.line(&help::of(command));
        return Exit::OK;
    }
    if before.iter().any(|w| w.starts_with('-')) {
        cx.ui.error(&format!(
            "Invalid flags before the subcommand. If these flags are for\nthe subcommand, please put them after the subcommand.\n\n{}",
            help::of(command)
        ));
        return Exit::USAGE;
    }
    let rest = from.get(used..).unwrap_or_default();
    match execute(cx, command, rest) {
        Ok(_) if cx.ui.is_closed() => Exit::CLOSED,
        Ok(exit) if cx.ui.is_broken() => {
            cx.ui.error("could not write to standard output");
            if exit == Exit::OK { Exit::USAGE } else { exit }
        }
        Ok(exit) => exit,
        Err(fail) => {
            if !fail.message.is_empty() {
                cx.ui.error(&fail.message);
            }
            fail.exit
        }
    }
}

/// The command with the longest name that the words begin with, and how many words that name has.
fn find(words: &[String]) -> Option<(&'static Command, usize)> {
    let most = words
        .iter()
        .take_while(|w| !w.starts_with('-') && !w.contains(' '))
        .count();
    (1..=most).rev().find_map(|count| {
        let name = words.get(..count)?.join(" ");
        commands::all().find(|c| c.name == name).map(|c| (c, count))
    })
}

fn execute(cx: &mut Cx, command: &'static Command, words: &[String]) -> Result<Exit, Fail> {
    let Some(run) = command.run else {
        cx.ui.error(&help::of(command));
        return Ok(Exit::USAGE);
    };
    let groups: Vec<_> = command.groups().into_iter().map(|(_, flags)| flags).collect();
    let (args, outcome) = Args::parse(&groups, words, &cx.env);
    if let Some(warning) = trailing_flags(args.rest()).filter(|_| command.warns_of_flags && cx.ui.is_table())
    {
        cx.ui.warn(&warning);
    }
    outcome.map_err(Fail::usage)?;
    if cx.ui.format == Format::Raw && !command.may_be_raw {
        return Err(Fail::usage(
            "This command does not support the -format=raw option.",
        ));
    }
    run(cx, &args)
}

/// Flags after an argument are arguments; people should know.
fn trailing_flags(rest: &[String]) -> Option<String> {
    const GLOBAL: [&str; 4] = ["output-curl-string", "output-policy", "format", "detailed"];
    let flags: Vec<&str> = rest
        .iter()
        .map(String::as_str)
        .filter(|w| w.starts_with('-') && *w != "-")
        .filter(|w| !GLOBAL.contains(&w.trim_start_matches('-').split('=').next().unwrap_or_default()))
        .collect();
    if flags.is_empty() {
        return None;
    }
    Some(format!(
        "Command flags must be provided before positional arguments. The following arguments will not be parsed as flags: [{}]",
        flags.join(",")
    ))
}
