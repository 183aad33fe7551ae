//! `status`: whether the server is initialised, sealed, and who leads.

use conclave_client::http::Error;

use super::{Command, FIELD, Output, at_most};
use crate::exit::{Exit, Fail};
use crate::flags::Args;
use crate::output::{self, SealStatus};
use crate::session::{Api, Cx};

pub const COMMANDS: &[Command] = &[Command::new("status", "[options]", "Print seal and HA status", run)
    .help(
        "Prints whether the server is initialised and sealed and which node leads. It answers while sealed, too.\n\n\
         The exit code is 0 if the server is unsealed, 1 for an error, 2 if it is sealed.",
    )
    .output(Output::Field)];

/// 2 means sealed here, so that errors are 1.
fn local(fail: Fail) -> Fail {
    Fail::usage(fail.message)
}

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let mut api = cx.api(args).map_err(local)?;
    // Other namespaces cannot answer before the server is unsealed.
    api.client.set_namespace("");
    let seal = api
        .get("sys/seal-status")
        .map_err(|e| Fail::usage(format!("Error checking seal status: {e}")))?;
    let mut status = SealStatus { seal, leader: None };
    if let Err(fail) = ask_leader(&api, &mut status) {
        if !status.is_sealed() {
            return Err(fail);
        }
        cx.ui.error(&fail.message);
        return Ok(Exit::REMOTE);
    }
    let exit = match args.some(&FIELD) {
        Some(name) => {
            output::field(&mut cx.ui, &status.document(), name, "seal status");
            Exit::OK
        }
        None => output::status(&mut cx.ui, &status),
    };
    Ok(if status.is_sealed() { Exit::REMOTE } else { exit })
}

/// Adds who leads. A sealed server cannot say, which means that there is high availability.
///
/// # Errors
/// The call failed for another reason.
pub fn ask_leader(api: &Api, status: &mut SealStatus) -> Result<(), Fail> {
    match api.get("sys/leader") {
        Ok(leader) => status.leader = Some(leader),
        Err(Error::Status(s)) if s.errors.iter().any(|e| e.contains("Vault is sealed")) => {
            status.leader = Some([("ha_enabled", true)].into_iter().collect());
        }
        Err(e) => return Err(Fail::usage(format!("Error checking leader status: {e}"))),
    }
    Ok(())
}
