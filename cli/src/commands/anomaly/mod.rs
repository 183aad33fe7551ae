//! `anomaly`: unusual access, what it is and what was found. Ours alone, over gRPC; `replay` asks no server.

mod calls;
mod canary;
mod events;
mod holds;
mod learned;
mod limits;
mod mute;
mod replay;
mod rules;
mod webhook;

use super::Command;

pub const COMMANDS: &[Command] = &[
    Command::group(
        "anomaly",
        "Show unusual access and set what it is",
        "Lists what was found unusual, sets rules and canaries, and tries rules on audit logs.\n\n$ conclave anomaly list\n$ conclave anomaly read EVENT\n$ conclave anomaly canary plant -revoke secret/prod/backup-admin",
    ),
    events::LIST,
    events::READ,
    events::ACK,
    rules::GROUP,
    rules::LIST,
    rules::READ,
    rules::WRITE,
    rules::RESET,
    rules::CONFIG,
    canary::GROUP,
    canary::PLANT,
    canary::LIST,
    canary::REMOVE,
    webhook::GROUP,
    webhook::WRITE,
    webhook::LIST,
    webhook::REMOVE,
    mute::MUTE,
    mute::LIST,
    mute::UNMUTE,
    limits::LIST,
    limits::LIFT,
    holds::LIST,
    holds::RELEASE,
    learned::BASELINE,
    learned::DORMANT,
    learned::ACCESS,
    learned::UNUSED,
    learned::IDENTITY,
    learned::ORPHANED,
    replay::COMMAND,
];
