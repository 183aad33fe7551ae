//! `kv enable-versioning`: makes a mount keep versions.

use conclave_client::http::Fields;

use crate::commands::{Command, Output, exactly, sanitize, with_slash};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::Args;
use crate::session::Cx;

pub const COMMAND: Command = Command::new(
    "kv enable-versioning",
    "[options] KEY",
    "Turns on versioning for a KV store",
    run,
)
.help("Makes the mount at a path keep versions.\n\n$ conclave kv enable-versioning secret")
.output(Output::Format);

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let api = cx.api(args)?;
    let mount = with_slash(sanitize(args.arg(0)));
    let options: Fields = [("version", "2")].into_iter().collect();
    let body: Fields = [("options", options)].into_iter().collect();
    api.call("POST", &format!("sys/mounts/{mount}/tune"), Some(body))
        .context(&format!("Error tuning secrets engine {mount}"))?;
    cx.ui
        .line(&format!("Success! Tuned the secrets engine at: {mount}"));
    Ok(Exit::OK)
}
