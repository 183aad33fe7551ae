//! `operator digest`: the digest of one node's replicated state, from its operations listener; or of all members' at one
//! place of the log, compared.

use std::time::Duration;

use conclave_client::http::{Client, Error, Fields, Json, Request};
use conclave_client::v1::CompareStateResponse;

use crate::commands::{Command, FIELD, Output, at_most};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::{Args, Flag};
use crate::output::{self, table};
use crate::session::Cx;

const OPERATIONS: Flag = Flag::text("operations", "Address of the node's operations listener.")
    .default("http://127.0.0.1:8202")
    .env("OPERATIONS_ADDR");
const CLUSTER: Flag = Flag::bool(
    "cluster",
    "Have all members hash their states at one place of the log, and compare. Needs a token.",
);
/// The operations listener has no `/v1` before its paths.
const PATH: &str = "../digest";
/// How long members may take to read their whole states.
const PATIENCE: Duration = Duration::from_secs(600);

pub const COMMAND: Command = Command::new(
    "operator digest",
    "[options]",
    "Prints a digest of the node's replicated state",
    digest,
)
.help(
    "Nodes that have applied the same revision have the same digest, sealed or not; others have diverged. Asks the \
     operations listener, which needs no token. With -cluster all members are compared at one revision; one that differs \
     from the majority stops serving, and the exit code is 2.\n\n$ conclave operator digest \
     -operations=http://127.0.0.1:8202\n$ conclave operator digest -cluster",
)
.output(Output::Field)
.flags(&[CLUSTER, OPERATIONS]);

fn digest(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    const SENTENCE: &str = "Error reading the digest";
    at_most(args, 0)?;
    if args.is(&CLUSTER) {
        return compare(cx, args);
    }
    let client = Client::builder().address(args.text(&OPERATIONS)).build()?;
    let api = cx.api_over(client)?;
    let response = api
        .send(&Request::new("GET", PATH))
        .map_err(|error| Fail::remote(format!("{SENTENCE}: {error}{}", hint(&error))))?;
    let json = response.json().context(SENTENCE)?.unwrap_or_default();
    let found = json.as_object().cloned().unwrap_or_default();
    match args.text(&FIELD) {
        "" => Ok(output::fields(&mut cx.ui, &found)),
        field => Ok(output::field(&mut cx.ui, &found, field, "digest")),
    }
}

/// The listener's address is no part of the API's: whoever set that alone asks somebody else here.
fn hint(error: &Error) -> &'static str {
    match error {
        Error::Transport { .. } => {
            "\n\n-operations or CONCLAVE_OPERATIONS_ADDR names the node's operations listener (operations_address in its \
             configuration); -cluster asks by the API's address."
        }
        _ => "",
    }
}

fn compare(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let cluster = cx.patient_cluster(args, PATIENCE)?;
    let found = cluster.wait(
        "Error comparing the members' states",
        cluster.conclave.sys().compare_state(),
    )?;
    let shown = match args.some(&FIELD) {
        Some(field) => output::field(&mut cx.ui, &fields(&found), field, "comparison"),
        None if cx.ui.is_table() => {
            let mut lines = vec!["Node | Revision | Digest".to_owned()];
            for member in &found.members {
                let told = match member.digest.as_str() {
                    "" => &member.error,
                    digest => digest,
                };
                let differs = if member.differs { " (differs)" } else { "" };
                lines.push(format!("{} | {} | {told}{differs}", member.name, found.revision));
            }
            cx.ui.line(&table::with_header(&lines, "|"));
            Exit::OK
        }
        None => output::value(&mut cx.ui, &Json::Object(fields(&found))),
    };
    let differ: Vec<&str> = found
        .members
        .iter()
        .filter(|member| member.differs)
        .map(|member| member.name.as_str())
        .collect();
    if !differ.is_empty() {
        let differ = differ.join(", ");
        return Err(Fail::remote(format!(
            "These nodes differ from the majority and serve nothing any more: {differ}"
        )));
    }
    if !found.decided {
        return Err(Fail::remote("No digest has a majority of the members behind it."));
    }
    Ok(shown)
}

fn fields(found: &CompareStateResponse) -> Fields {
    let members = found.members.iter().map(|member| {
        let mut shown = Fields::new();
        shown.push("node", member.name.as_str());
        shown.push("differs", member.differs);
        match member.digest.as_str() {
            "" => shown.push("error", member.error.as_str()),
            digest => shown.push("digest", digest),
        }
        Json::Object(shown)
    });
    let mut fields = Fields::new();
    fields.push("decided", found.decided);
    fields.push("members", Json::Array(members.collect()));
    fields.push("revision", found.revision);
    fields
}
