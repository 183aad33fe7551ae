//! `operator unseal`, `operator seal`, `operator step-down`.

use conclave_client::http::Fields;

use crate::commands::status::ask_leader;
use crate::commands::{Command, Output, at_most};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::{Args, Flag};
use crate::output::text::wrap;
use crate::output::{self, SealStatus};
use crate::session::Cx;

const RESET: Flag = Flag::bool("reset", "Forget the keys given so far.");
const MIGRATE: Flag = Flag::bool("migrate", "The key is part of a change of the seal.");

pub const UNSEAL: Command = Command::new("operator unseal", "[options] [KEY]", "Unseals the server", unseal)
    .help(
        "Gives the server one unseal key; when it has enough it unseals. The key is asked for; as an argument it would \
         stay in the shell's history.\n\n$ conclave operator unseal",
    )
    .output(Output::Format)
    .flags(&[MIGRATE, RESET]);

const CLUSTER: Flag = Flag::bool(
    "cluster",
    "Seal all servers of the cluster, those that cannot be reached as soon as they can.",
);

pub const SEAL: Command = Command::new("operator seal", "[options]", "Seals the server", seal)
    .help(
        "Makes the server forget its keys. It serves nothing until it is unsealed by keys; other servers do not open it. \
         With -cluster all servers do the same.\n\n$ conclave operator seal",
    )
    .flags(&[CLUSTER]);

pub const STEP_DOWN: Command = Command::new(
    "operator step-down",
    "[options]",
    "Forces the leader to resign",
    step_down,
)
.help("Makes the node that leads give the lead to another.\n\n$ conclave operator step-down");

fn unseal(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 1)?;
    let api = cx.api(args)?;
    let mut body = Fields::new();
    let sentence = if args.is(&RESET) {
        body.insert("reset", true);
        "Error resetting unseal process"
    } else {
        body.insert("key", key(cx, args)?);
        body.insert("migrate", args.is(&MIGRATE));
        body.insert("reset", false);
        "Error unsealing"
    };
    let response = api.call("PUT", "sys/unseal", Some(body)).context(sentence)?;
    let json = response.json().context(sentence)?.unwrap_or_default();
    let seal = json.as_object().cloned().unwrap_or_default();
    let mut status = SealStatus { seal, leader: None };
    ask_leader(&api, &mut status)?;
    Ok(output::status(&mut cx.ui, &status))
}

fn key(cx: &mut Cx, args: &Args) -> Result<String, Fail> {
    const PROMPT: &str = "Unseal Key (will be hidden): ";
    let given = args.arg(0).trim();
    if !given.is_empty() {
        return Ok(given.to_owned());
    }
    let asked = if cx.may_ask(args) {
        cx.ask_secret(PROMPT)
    } else {
        cx.ui.line(PROMPT);
        Err("file descriptor 0 is not a terminal".to_owned())
    };
    asked.map(|key| key.trim().to_owned()).map_err(|why| {
        let text = format!(
            "An error occurred attempting to ask for an unseal key. The raw error message is shown below, but usually \
             this is because you attempted to pipe a value into the unseal command or you are executing outside of a \
             terminal (tty). You should run the unseal command from a terminal for maximum security. If this is not an \
             option, the unseal key can be provided as the first argument to the unseal command. The raw error \
             was:\n\n{why}"
        );
        Fail::usage(wrap(&text, 0))
    })
}

fn seal(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    if args.is(&CLUSTER) {
        // Only our cluster knows it: as all that is ours alone, it goes over gRPC.
        let cluster = cx.cluster(args)?;
        cluster.wait("Error sealing", cluster.conclave.sys().seal_cluster())?;
        cx.ui.line("Success! All servers of the cluster are sealed.");
        return Ok(Exit::OK);
    }
    let api = cx.api(args)?;
    api.call("PUT", "sys/seal", None).context("Error sealing")?;
    cx.ui.line("Success! Vault is sealed.");
    Ok(Exit::OK)
}

fn step_down(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let api = cx.api(args)?;
    api.call("PUT", "sys/step-down", None)
        .context("Error stepping down")?;
    cx.ui
        .line(&format!("Success! Stepped down: {}", api.client.address()));
    Ok(Exit::OK)
}
