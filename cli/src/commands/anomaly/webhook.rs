//! `anomaly webhook ...`: who is told of events.

use conclave_client::Verb;

use super::calls::{self, Wishes, call, shown};
use crate::commands::{Command, Output, exactly};
use crate::exit::{Exit, Fail};
use crate::flags::{Args, Flag};
use crate::session::Cx;

const URL: Flag = Flag::text(
    "url",
    "Where to post to; audit_targets of the nodes must name it.",
);
const SEVERITY: Flag = Flag::text(
    "severity",
    "Least severity of events that are posted; medium if not set.",
);

pub const GROUP: Command = Command::group(
    "anomaly webhook",
    "Have events posted",
    "Posts events, signed, to web servers.\n\n$ conclave anomaly webhook write -url=https://hooks.example/page -severity=high page",
);
pub const WRITE: Command = Command::new("anomaly webhook write", "[options] NAME", "Makes or changes a webhook", write)
    .help(
        "A new webhook's secret is printed once. Each post has the header X-Conclave-Signature: t=SECONDS,v1=HEX, the \
         HMAC-SHA256 of SECONDS, a dot and the body under the secret.\n\n\
         $ conclave anomaly webhook write -url=https://hooks.example/page -severity=high page",
    )
    .output(Output::Field)
    .flags(&[SEVERITY, URL]);
pub const LIST: Command = Command::new("anomaly webhook list", "[options]", "Lists webhooks", list)
    .help("Lists webhooks, without their secrets.\n\n$ conclave anomaly webhook list")
    .output(Output::Format);
pub const REMOVE: Command = Command::new(
    "anomaly webhook remove",
    "[options] NAME",
    "Removes a webhook",
    remove,
)
.help("Removes a webhook; what waits for it is still posted.\n\n$ conclave anomaly webhook remove page");

fn write(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let mut wishes = Wishes::new();
    for flag in [&URL, &SEVERITY] {
        if let Some(text) = args.some(flag) {
            wishes.insert(flag.name.to_owned(), text.to_owned());
        }
    }
    let path = format!("webhooks/{}", args.arg(0));
    let made = call(
        cx,
        args,
        (Verb::Write, &path),
        &wishes,
        "Error writing the webhook",
    )?;
    Ok(shown(cx, args, made, "webhook"))
}

fn list(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let columns = [("Name", ""), ("Severity", "severity"), ("URL", "url")];
    let asked = ("webhooks", "Error listing webhooks");
    calls::list(cx, args, asked, &columns, "Nobody is told of events.")
}

fn remove(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let place = ("webhooks", args.arg(0));
    calls::remove(
        cx,
        args,
        place,
        "Error removing the webhook",
        "Removed webhook (if it was there)",
    )
}
