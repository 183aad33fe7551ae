//! `env`, `export` and `run`: secrets as variables, for a shell, as text, or in the environment of a program without a
//! file in between. Ours; the original has no such commands.

mod mask;
mod process;
mod variables;

use conclave_client::http::{Fields, Json};

use super::kv::MOUNT;
use super::{Command, Output};
use crate::exit::{Exit, Fail};
use crate::flags::{Args, Flag};
use crate::output;
use crate::session::Cx;

pub const PREFIX: Flag = Flag::text(
    "prefix",
    "Put before the name of each variable that is named by a field.",
);
const NO_MASK: Flag = Flag::bool(
    "no-mask",
    "Do not hide the secrets in what the program prints; it gets the terminal itself then.",
);

const WISHES: &str = "[options] PATH|NAME=PATH#FIELD...";
pub const COMMANDS: &[Command] = &[
    Command::new("env", WISHES, "Prints secrets as exports for a shell", env)
        .help("Prints lines that set variables in a shell.\n\n$ eval \"$(conclave env secret/app)\"")
        .flags(&[MOUNT, PREFIX]),
    Command::new("export", WISHES, "Prints secrets as NAME=value lines, JSON or YAML", export)
        .help("Prints secrets for tools that read files of variables.\n\n$ conclave export -format=json secret/app DB=secret/db#password")
        .output(Output::Format)
        .flags(&[MOUNT, PREFIX]),
    Command {
        warns_of_flags: false,
        ..Command::new(
            "run",
            "[options] PATH|NAME=PATH#FIELD... -- PROGRAM [ARGUMENTS]",
            "Runs a program with secrets in its environment",
            run,
        )
        .help(
            "Every field of a secret becomes a variable, named in capitals; NAME=PATH#FIELD takes one field. No file is written. \
             Values of four bytes and more are shown as *** where the program prints them. The exit code is the program's.\n\n\
             $ conclave run secret/app -- ./server --port 80",
        )
        .flags(&[MOUNT, PREFIX, NO_MASK])
    },
];

fn env(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let mut api = cx.api(args)?;
    for (name, value) in variables::read(&mut api, args, args.rest())? {
        cx.ui.line(&format!("export {name}={}", quoted(&value)));
    }
    Ok(Exit::OK)
}

fn export(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let mut api = cx.api(args)?;
    let found = variables::read(&mut api, args, args.rest())?;
    if !cx.ui.is_table() {
        let fields: Fields = found.into_iter().collect();
        return Ok(output::value(&mut cx.ui, &Json::Object(fields)));
    }
    for (name, value) in found {
        cx.ui.line(&format!("{name}={}", quoted(&value)));
    }
    Ok(Exit::OK)
}

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let words = args.rest();
    let end = words.iter().position(|word| word == "--");
    let end =
        end.ok_or_else(|| Fail::usage("Put -- before the program, such as: run secret/app -- ./server"))?;
    let (wishes, program) = words.split_at(end);
    let program = program.get(1..).unwrap_or_default();
    if program.is_empty() {
        return Err(Fail::usage("Name a program after --"));
    }
    let mut api = cx.api(args)?;
    let found = variables::read(&mut api, args, wishes)?;
    drop(api);
    process::run(program, &found, !args.is(&NO_MASK))
}

/// A word of a shell that means exactly this text.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
