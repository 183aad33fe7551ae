//! The table of commands: one line registers one command. Each file below holds one.

mod anomaly;
mod audit;
mod auth;
mod debug;
mod dev;
pub mod elsewhere;
mod explain;
mod inject;
mod kv;
mod lease;
mod logical;
mod login;
mod migrate;
mod misc;
mod monitor;
mod mounts;
mod namespace;
mod operator;
mod plugin;
mod policy;
mod secrets;
mod server;
mod shell;
mod status;
mod token;
mod transit;

use crate::exit::{Exit, Fail};
use crate::flags::{Args, Flag};
use crate::session::{Cx, HTTP_FLAGS};

/// A command.
pub struct Command {
    /// The words that name it.
    pub name: &'static str,
    /// What follows them, for help.
    pub args: &'static str,
    /// One line for overviews.
    pub synopsis: &'static str,
    /// Help; paragraphs by lines, examples beginning with `$`.
    pub help: &'static str,
    /// Which output flags it has.
    pub output: Output,
    /// Its own flags.
    pub flags: &'static [Flag],
    /// What it does; nothing for a group of commands.
    pub run: Option<Run>,
    /// Whether it prints the server's bytes with `-format=raw`.
    pub may_be_raw: bool,
    /// Whether it warns of flags after arguments.
    pub warns_of_flags: bool,
}

/// The body of a command.
pub type Run = fn(&mut Cx, &Args) -> Result<Exit, Fail>;

/// Output flags of a command.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// None.
    Nothing,
    /// `-format`
    Format,
    /// `-format` and `-field`
    Field,
    /// `-format` and `-detailed`
    Detailed,
}

const FORMAT: Flag = Flag::text(
    "format",
    "Print the output in this format: table, json, yaml or pretty; raw with 'read' only.",
)
.default("table")
.env("FORMAT");
/// Prints one field only.
pub const FIELD: Flag = Flag::text(
    "field",
    "Print only the field with this name, without a line end if the output is no terminal. Stronger than -format=table.",
);
const DETAILED: Flag = Flag::bool("detailed", "Print what is known of each item.").env("DETAILED");

impl Command {
    /// A command that does something.
    pub const fn new(name: &'static str, args: &'static str, synopsis: &'static str, run: Run) -> Self {
        Self {
            name,
            args,
            synopsis,
            help: synopsis,
            output: Output::Nothing,
            flags: &[],
            run: Some(run),
            may_be_raw: false,
            warns_of_flags: true,
        }
    }

    /// A group of commands.
    pub const fn group(name: &'static str, synopsis: &'static str, help: &'static str) -> Self {
        Self {
            name,
            args: "<subcommand> [options] [args]",
            synopsis,
            help,
            output: Output::Nothing,
            flags: &[],
            run: None,
            may_be_raw: false,
            warns_of_flags: true,
        }
    }

    /// The same with a help text.
    pub const fn help(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }

    /// The same with output flags.
    pub const fn output(mut self, output: Output) -> Self {
        self.output = output;
        self
    }

    /// The same with flags of its own.
    pub const fn flags(mut self, flags: &'static [Flag]) -> Self {
        self.flags = flags;
        self
    }

    /// Groups of flags with their titles.
    pub fn groups(&self) -> [(&'static str, &'static [Flag]); 3] {
        let output: &'static [Flag] = match self.output {
            Output::Nothing => &[],
            Output::Format => &[FORMAT],
            Output::Field => &[FORMAT, FIELD],
            Output::Detailed => &[FORMAT, DETAILED],
        };
        [
            ("HTTP Options", HTTP_FLAGS),
            ("Output Options", output),
            ("Command Options", self.flags),
        ]
    }
}

const TABLES: &[&[Command]] = &[
    status::COMMANDS,
    logical::COMMANDS,
    kv::COMMANDS,
    login::COMMANDS,
    token::COMMANDS,
    policy::COMMANDS,
    explain::COMMANDS,
    secrets::COMMANDS,
    auth::COMMANDS,
    audit::COMMANDS,
    anomaly::COMMANDS,
    operator::COMMANDS,
    lease::COMMANDS,
    namespace::COMMANDS,
    inject::COMMANDS,
    migrate::COMMANDS,
    misc::COMMANDS,
    monitor::COMMANDS,
    debug::COMMANDS,
    plugin::COMMANDS,
    server::COMMANDS,
    shell::COMMANDS,
    transit::COMMANDS,
];

/// Every command.
pub fn all() -> impl Iterator<Item = &'static Command> {
    TABLES.iter().copied().flatten()
}

/// Checks the number of arguments.
///
/// # Errors
/// The complaint of the original.
pub fn exactly(args: &Args, count: usize) -> Result<(), Fail> {
    at_least(args, count)?;
    at_most(args, count)
}

/// As [`exactly`] for the lower bound alone.
///
/// # Errors
/// As [`exactly`].
pub fn at_least(args: &Args, count: usize) -> Result<(), Fail> {
    let got = args.rest().len();
    if got < count {
        return Err(Fail::usage(format!(
            "Not enough arguments (expected {count}, got {got})"
        )));
    }
    Ok(())
}

/// As [`exactly`] for the upper bound alone.
///
/// # Errors
/// As [`exactly`].
pub fn at_most(args: &Args, count: usize) -> Result<(), Fail> {
    let got = args.rest().len();
    if got > count {
        return Err(Fail::usage(format!(
            "Too many arguments (expected {count}, got {got})"
        )));
    }
    Ok(())
}

/// A path without slashes and spaces at its ends.
pub fn sanitize(path: &str) -> &str {
    path.trim().trim_matches('/').trim()
}

/// A path with one slash at its end, unless it is empty.
pub fn with_slash(path: &str) -> String {
    let path = path.trim();
    if path.is_empty() || path.ends_with('/') {
        path.to_owned()
    } else {
        format!("{path}/")
    }
}
