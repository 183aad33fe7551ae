//! `lease reconcile`: accounts in targets that nobody has a lease of.

use std::time::Duration;

use conclave_client::http::{Fields, Json};
use conclave_client::v1::{ReconcileLeasesRequest, ReconciledTarget};

use crate::commands::{Command, Output, exactly, sanitize};
use crate::exit::{Exit, Fail};
use crate::flags::{Args, Flag};
use crate::output::{self, table};
use crate::session::Cx;

const DRY_RUN: Flag = Flag::bool("dry-run", "Only tell what was found.");
const UNMARKED: Flag = Flag::bool(
    "unmarked",
    "Drop accounts too that look like this mount's in a target that keeps no mark of who made them. Make sure that no \
     other Vault names accounts alike there.",
);
/// How long targets may take to list their accounts.
const PATIENCE: Duration = Duration::from_secs(600);

pub const COMMAND: Command = Command::new(
    "lease reconcile",
    "[options] MOUNT",
    "Drops accounts that have no lease",
    reconcile,
)
.help(
    "Compares the accounts in the targets of a secrets engine with its leases. Accounts that the mount made and that have \
     no lease, as after a restore from an old snapshot, are dropped, and tried again until they are gone. The leader does \
     the same every hour. The exit code is 2 if a target could not be looked at.\n\n$ conclave lease reconcile -dry-run \
     database\n$ conclave lease reconcile database",
)
.output(Output::Format)
.flags(&[DRY_RUN, UNMARKED]);

fn reconcile(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let asked = ReconcileLeasesRequest {
        mount: sanitize(args.arg(0)).to_owned(),
        dry_run: args.is(&DRY_RUN),
        unmarked: args.is(&UNMARKED),
    };
    let cluster = cx.patient_cluster(args, PATIENCE)?;
    let found = cluster.wait(
        "Error comparing accounts with leases",
        cluster.conclave.sys().reconcile_leases(asked),
    )?;
    let shown = match cx.ui.is_table() {
        true => {
            show(cx, &found);
            Exit::OK
        }
        false => output::value(&mut cx.ui, &Json::Array(found.iter().map(fields).collect())),
    };
    let silent: Vec<&str> = found
        .iter()
        .filter(|target| !target.error.is_empty())
        .map(|target| target.name.as_str())
        .collect();
    match silent.is_empty() {
        true => Ok(shown),
        false => Err(Fail::remote(format!(
            "These targets could not be looked at: {}",
            silent.join(", ")
        ))),
    }
}

fn show(cx: &mut Cx, found: &[ReconciledTarget]) {
    if found.is_empty() {
        cx.ui
            .warn("This mount has no target whose accounts could be told from others'.");
        return;
    }
    let mut lines = vec!["Target | Accounts | Without a lease | Being dropped | Note".to_owned()];
    for target in found {
        let note = match target.error.as_str() {
            "" if !target.certain => "no marks there: only names say whose they are",
            "" => "-",
            error => error,
        };
        let (listed, orphans) = (target.listed, target.orphans.len());
        lines.push(format!(
            "{} | {listed} | {orphans} | {} | {note}",
            target.name, target.dropped
        ));
    }
    cx.ui.line(&table::with_header(&lines, "|"));
    for target in found {
        for account in &target.orphans {
            cx.ui.line(&format!("{}: {account}", target.name));
        }
    }
}

fn fields(target: &ReconciledTarget) -> Json {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let orphans = target.orphans.iter().map(|account| Json::from(account.as_str()));
    let mut shown = Fields::new();
    shown.push("certain", target.certain);
    shown.push("dropped", number(target.dropped));
    shown.push("error", target.error.as_str());
    shown.push("listed", number(target.listed));
    shown.push("orphans", Json::Array(orphans.collect()));
    shown.push("target", target.name.as_str());
    Json::Object(shown)
}
