//! `operator digest`: the digest of one node's replicated state, from its operations listener.

use conclave_client::http::{Client, Request};

use crate::commands::{Command, Output, at_most};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::{Args, Flag};
use crate::output;
use crate::session::Cx;

const OPERATIONS: Flag = Flag::text("operations", "Address of the node's operations listener.")
    .default("http://127.0.0.1:8202")
    .env("OPERATIONS_ADDR");
/// The operations listener has no `/v1` before its paths.
const PATH: &str = "../digest";

pub const COMMAND: Command = Command::new(
    "operator digest",
    "[options]",
    "Prints a digest of the node's replicated state",
    digest,
)
.help(
    "Nodes that have applied the same revision have the same digest, sealed or not; others have diverged. Asks the \
     operations listener, which needs no token.\n\n$ conclave operator digest -operations=http://127.0.0.1:8202",
)
.output(Output::Field)
.flags(&[OPERATIONS]);

fn digest(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    const SENTENCE: &str = "Error reading the digest";
    at_most(args, 0)?;
    let client = Client::builder().address(args.text(&OPERATIONS)).build()?;
    let api = cx.api_over(client)?;
    let response = api.send(&Request::new("GET", PATH)).context(SENTENCE)?;
    let json = response.json().context(SENTENCE)?.unwrap_or_default();
    let found = json.as_object().cloned().unwrap_or_default();
    match args.text(&crate::commands::FIELD) {
        "" => Ok(output::fields(&mut cx.ui, &found)),
        field => Ok(output::field(&mut cx.ui, &found, field, "digest")),
    }
}
