//! `operator raft snapshot inspect`: what a snapshot file is, and whether it is whole. Needs no server and no keys.

use std::path::Path;

use conclave_client::http::Fields;
use conclave_server::backup::{self, Inspected};

use crate::commands::{Command, Output, exactly};
use crate::exit::{Exit, Fail};
use crate::flags::Args;
use crate::output;
use crate::session::Cx;

pub const COMMAND: Command = Command::new(
    "operator raft snapshot inspect",
    "[options] <snapshot_file>",
    "Tells what is in a snapshot file and whether it is whole",
    inspect,
)
.help(
    "Reads the whole file and checks it against its checksums: that it was not cut short or damaged. Only a cluster that \
     holds its keys can tell whether it was tampered with, and does so on restore.\n\n\
     $ conclave operator raft snapshot inspect out.snap",
)
.output(Output::Format);

fn inspect(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let path = args.arg(0);
    let found = backup::inspect(Path::new(path))
        .map_err(|error| Fail::remote(format!("Error inspecting snapshot file {path}: {error}")))?;
    Ok(output::fields(&mut cx.ui, &fields(found)))
}

fn fields(found: Inspected) -> Fields {
    let Inspected {
        meta,
        file_bytes,
        state_digest,
    } = found;
    let mut fields = Fields::new();
    for (name, text) in [
        ("made_at", meta.made_at),
        ("made_by", meta.made_by),
        ("cluster_name", meta.cluster_name),
        ("cluster_id", meta.cluster_id),
        ("barrier_id", meta.barrier_id),
        ("state_sha256", hex(&state_digest)),
    ] {
        fields.insert(name, text);
    }
    for (name, number) in [
        ("format", u64::from(meta.format)),
        ("cluster_version", u64::from(meta.cluster_version)),
        ("revision", meta.revision),
        ("seal_generation", meta.seal_generation),
        ("seal_threshold", u64::from(meta.seal_threshold)),
        ("keyring_generation", meta.keyring_generation),
        ("rows", meta.rows),
        ("due", meta.due),
        ("state_bytes", meta.state_bytes),
        ("file_bytes", file_bytes),
    ] {
        fields.insert(name, number);
    }
    fields
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
