//! `audit verify`: whether audit files are as they were written. Works without a server.

use std::fs;
use std::io::BufRead;

use conclave_server::audit::verify::{Place, Report, Verifier, read_heads};

use super::records::{longest, open};
use crate::commands::Command;
use crate::exit::{Exit, Fail};
use crate::flags::{Args, Flag};
use crate::session::Cx;

const HEADS: Flag = Flag::text(
    "heads",
    "A file with the heads that the cluster committed: what 'conclave read -format=json sys/audit-heads' prints.",
);
const COLLECTED: Flag = Flag::bool(
    "collected",
    "The files are a collector's: text before a record and records that are there twice are no fault.",
);

/// The command.
pub const VERIFY: Command = Command::new(
    "audit verify",
    "[options] FILE...",
    "Finds records that were altered, dropped, added or moved",
    verify,
)
.help(
    "Checks the chain of hashes through audit files, oldest file first, and names the first record of each chain that is not as \
     it was written. Needs no server. Heads that were exported before show records cut off at the end, and chains that were \
     written anew.\n\n$ conclave read -format=json sys/audit-heads > heads.json\n$ conclave audit verify -heads=heads.json \
     /var/log/conclave/audit.log",
)
.flags(&[HEADS, COLLECTED]);

fn verify(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    if args.rest().is_empty() {
        return Err(Fail::usage("Not enough arguments (expected at least 1, got 0)"));
    }
    let heads = match args.some(&HEADS) {
        None => Vec::new(),
        Some(file) => {
            let json =
                fs::read(file).map_err(|error| Fail::usage(format!("Error reading {file}: {error}")))?;
            read_heads(&json).map_err(|error| Fail::usage(format!("Error reading {file}: {error}")))?
        }
    };
    let mut verifier = Verifier::new(heads, args.is(&COLLECTED));
    for file in args.rest() {
        let wrong = |error: std::io::Error| Fail::usage(format!("Error reading {file}: {error}"));
        let mut reader = open(file)?;
        let (mut line, mut number) = (Vec::new(), 0);
        while longest(&mut reader).read_until(b'\n', &mut line).map_err(wrong)? > 0 {
            number += 1;
            let place = Place {
                file: file.clone(),
                line: number,
            };
            verifier.line(place, line.strip_suffix(b"\n").unwrap_or(&line));
            line.clear();
        }
    }
    Ok(say(cx, &verifier.finish()))
}

fn say(cx: &mut Cx, report: &Report) -> Exit {
    for (id, chain) in &report.chains {
        let broken = report.faults.iter().any(|fault| fault.id == *id);
        let state = if broken {
            "BROKEN after record"
        } else {
            "whole up to record"
        };
        cx.ui.line(&format!(
            "{id}: {state} {}, from record {}; committed heads that agree: {}",
            chain.last, chain.first, chain.heads
        ));
    }
    for note in &report.notes {
        cx.ui.line(&format!("note: {note}"));
    }
    for fault in &report.faults {
        cx.ui.error(&format!("{fault}"));
    }
    if report.chains.is_empty() && report.faults.is_empty() {
        cx.ui.error("No record of any chain is in these files.");
        return Exit::REMOTE;
    }
    if report.faults.is_empty() {
        Exit::OK
    } else {
        Exit::REMOTE
    }
}
