//! Runs a program with secrets in its environment and hides them in what it prints. Knows no server.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus, Stdio};

use super::mask::Mask;
use crate::exit::{Exit, Fail};

/// Bytes read at once.
const PIECE: usize = 8192;
/// What a shell says of a program that is not there, or cannot be run.
const NOT_FOUND: Exit = Exit(127);
const NOT_RUN: Exit = Exit(126);

/// Runs the program and gives its exit code; 128 and the signal's number if a signal ended it.
///
/// # Errors
/// It cannot be started.
pub fn run(words: &[String], variables: &BTreeMap<String, String>, masks: bool) -> Result<Exit, Fail> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(Fail::usage("Name a program after --"));
    };
    let mut command = Command::new(program);
    command.args(arguments).envs(variables);
    if !masks {
        // Its place is taken: signals and the terminal are the program's own.
        return Err(failed(program, &command.exec()));
    }
    let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| failed(program, &error))?;
    let mask = Mask::new(variables.values());
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let status = std::thread::scope(|scope| {
        let errors = mask.clone();
        scope.spawn(move || {
            if let Some(err) = err {
                copy(err, std::io::stderr(), errors);
            }
        });
        if let Some(out) = out {
            copy(out, std::io::stdout(), mask);
        }
        child.wait()
    });
    let status = status.map_err(|error| failed(program, &error))?;
    Ok(code(status))
}

/// Until either end is closed.
fn copy(mut from: impl Read, mut to: impl Write, mut mask: Mask) {
    let mut piece = vec![0; PIECE];
    loop {
        let read = from.read(&mut piece).unwrap_or(0);
        let shown = match piece.get(..read) {
            Some(bytes) if read > 0 => mask.push(bytes),
            _ => mask.finish(),
        };
        if to.write_all(&shown).and_then(|()| to.flush()).is_err() || read == 0 {
            return;
        }
    }
}

fn code(status: ExitStatus) -> Exit {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    Exit(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

fn failed(program: &str, error: &std::io::Error) -> Fail {
    let exit = if error.kind() == std::io::ErrorKind::NotFound {
        NOT_FOUND
    } else {
        NOT_RUN
    };
    Fail {
        exit,
        message: format!("Error running {program}: {}", conclave_client::http::plain(error)),
    }
}
