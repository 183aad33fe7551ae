//! `secrets`: mounts of secrets engines.

use super::mounts::{DETAILED, Family, SECRETS_ENABLE, SECRETS_TUNE, disable, enable, list, relocate, tune};
use super::{Command, Output};

const FAMILY: Family = Family::Secrets;

pub const COMMANDS: &[Command] = &[
    Command::group("secrets", "Interact with secrets engines", "Mounts, tunes, moves and unmounts secrets engines.\n\n$ conclave secrets enable -path=app kv-v2"),
    Command::new("secrets enable", "[options] TYPE", "Enable a secrets engine", |cx, args| enable(cx, args, FAMILY))
        .help("Mounts a secrets engine, at its type's name if no path is given.\n\n$ conclave secrets enable -path=app kv-v2")
        .flags(SECRETS_ENABLE),
    Command::new("secrets disable", "[options] PATH", "Disable a secrets engine", |cx, args| disable(cx, args, FAMILY))
        .help("Unmounts a secrets engine: its secrets are revoked and its data is removed.\n\n$ conclave secrets disable app/"),
    Command::new("secrets list", "[options]", "List enabled secrets engines", |cx, args| list(cx, args, FAMILY))
        .output(Output::Format)
        .flags(&[DETAILED]),
    Command::new("secrets tune", "[options] PATH", "Tune a secrets engine configuration", |cx, args| tune(cx, args, FAMILY))
        .help("Changes settings of a mount.\n\n$ conclave secrets tune -default-lease-ttl=72h app/")
        .flags(SECRETS_TUNE),
    Command::new("secrets move", "[options] SOURCE DESTINATION", "Move a secrets engine to a new path", |cx, args| relocate(cx, args, FAMILY))
        .help("Moves a mount with its data; its leases are revoked.\n\n$ conclave secrets move app/ apps/"),
];
