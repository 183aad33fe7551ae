//! `kv destroy`: removes versions for good.

use super::undelete::change;
use super::{MOUNT, VERSIONS};
use crate::commands::{Command, Output};
use crate::exit::{Exit, Fail};
use crate::flags::Args;
use crate::session::Cx;

pub const COMMAND: Command = Command::new(
    "kv destroy",
    "[options] KEY",
    "Permanently removes one or more versions in the KV store",
    run,
)
.help("Removes the data of versions for good.\n\n$ conclave kv destroy -mount=secret -versions=3 foo")
.output(Output::Format)
.flags(&[MOUNT, VERSIONS]);

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    change(cx, args, "destroy", "Destroy")
}
