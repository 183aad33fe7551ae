//! `migrate`: copies what a running Vault or OpenBao holds to Conclave. This file sets both sides up and tells the
//! outcome; what is copied and how stands in the files beside it.

mod auth;
mod calls;
mod job;
mod kv;
mod mounts;
mod policies;
mod report;
mod state;
mod transit;

use std::path::Path;

use conclave_client::http::{Client, Fields, Json, Tls};

use self::calls::{Trouble, text};
use self::job::Job;
use self::state::{Place, State};
use super::{Command, Output, exactly};
use crate::exit::{Exit, Fail};
use crate::flags::{Args, Flag};
use crate::kvdata::read_file;
use crate::output::progress::Progress;
use crate::output::{self, table};
use crate::session::Cx;
use crate::token_helper::write_private;

/// Further attempts when a server is busy, restarting or electing: about half a minute in all.
const RETRIES: usize = 7;
/// Things named on the terminal; the report names all.
const SHOWN: usize = 20;

const SOURCE: Flag =
    Flag::text("source-address", "Address of the Vault or OpenBao to copy from.").env("SOURCE_ADDR");
const TOKEN_FILE: Flag = Flag::text(
    "source-token-file",
    "File with a token of the source. Without it CONCLAVE_SOURCE_TOKEN holds the token.",
);
const NAMESPACE: Flag =
    Flag::text("source-namespace", "Namespace to copy; those beneath it are not.").env("SOURCE_NAMESPACE");
const CA_CERT: Flag = Flag::text(
    "source-ca-cert",
    "PEM file with the authority that signed the source's certificate.",
)
.env("SOURCE_CACERT");
const SERVER_NAME: Flag = Flag::text(
    "source-tls-server-name",
    "Name expected in the source's certificate.",
);
const SKIP_VERIFY: Flag = Flag::bool(
    "source-tls-skip-verify",
    "Accept any certificate of the source. Whoever is on the path can then read every secret.",
);
const DRY_RUN: Flag = Flag::bool("dry-run", "Count what would be copied and change nothing.");
const OVERWRITE: Flag = Flag::bool(
    "overwrite",
    "Replace policies, roles, users and keys without versions that differ on the target.",
);
const REPORT: Flag = Flag::text(
    "report",
    "File for the whole account, as JSON, for its owner alone.",
);
const STATE: Flag = Flag::text(
    "state",
    "File that remembers how far a stopped run came; it holds names, no secrets.",
)
.default("conclave-migrate.state");

pub const COMMANDS: &[Command] = &[Command::new(
    "migrate",
    "[options]",
    "Copies what a Vault or OpenBao holds to this server",
    run,
)
.help(
    "Copies policies, key-value mounts with all versions, transit keys that may leave, and auth methods with their roles \
     from a running Vault or OpenBao to the server of -address. Nothing is changed on the source. A run that was stopped \
     goes on where it was; a run after it copies what was added since. Passwords and secret ids cannot be read out of the \
     source: the report names who needs new ones.\n\n\
     $ CONCLAVE_SOURCE_TOKEN=... conclave migrate -source-address=https://vault:8200 -dry-run\n\
     $ CONCLAVE_SOURCE_TOKEN=... conclave migrate -source-address=https://vault:8200 -report=report.json",
)
.output(Output::Format)
.flags(&[
    SOURCE, TOKEN_FILE, NAMESPACE, CA_CERT, SERVER_NAME, SKIP_VERIFY, DRY_RUN, OVERWRITE, REPORT, STATE,
])];

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 0)?;
    let source = source(cx, args)?;
    let mut target = cx.api(args)?.client;
    target.set_max_retries(RETRIES);
    // One runtime drives both clients: their connections live in it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Fail::remote(format!("cannot start the runtime: {e}")))?;
    runtime.block_on(migrate(cx, args, &source, &target))
}

fn source(cx: &Cx, args: &Args) -> Result<Client, Fail> {
    let address = args
        .some(&SOURCE)
        .ok_or_else(|| Fail::usage("-source-address is required"))?;
    let token = match args.some(&TOKEN_FILE) {
        Some(path) => {
            let bytes = read_file(path).map_err(|e| Fail::usage(format!("Error reading the token: {e}")))?;
            String::from_utf8_lossy(&bytes).trim().to_owned()
        }
        None => cx.env.get("SOURCE_TOKEN").unwrap_or_default().to_owned(),
    };
    if token.is_empty() {
        return Err(Fail::usage(
            "No token of the source: set CONCLAVE_SOURCE_TOKEN or give -source-token-file",
        ));
    }
    let tls = Tls {
        ca_cert: args.some(&CA_CERT).map(Into::into),
        server_name: args.some(&SERVER_NAME).map(str::to_owned),
        skip_verify: args.is(&SKIP_VERIFY),
        ..Tls::default()
    };
    let timeout = cx.timeout().map_err(Fail::usage)?;
    let client = Client::builder()
        .address(address)
        .token(token)
        .namespace(args.text(&NAMESPACE).trim_matches('/'))
        .tls(tls)
        .timeout(timeout)
        .max_retries(RETRIES);
    client
        .build()
        .map_err(|e| Fail::usage(format!("Error setting up the source: {e}")))
}

async fn migrate(cx: &mut Cx, args: &Args, source: &Client, target: &Client) -> Result<Exit, Fail> {
    let (from, to) = (place(source, "source").await?, place(target, "target").await?);
    if from.is(&to) {
        return Err(Fail::usage("The source and the target are the same server"));
    }
    let dry = args.is(&DRY_RUN);
    let file = Some(Path::new(args.text(&STATE))).filter(|_| !dry);
    let state =
        State::open(file, from, to).map_err(|e| Fail::usage(format!("Error opening the state: {e}")))?;
    if state.resumed {
        cx.ui
            .warn(&format!("Going on where {} left off", args.text(&STATE)));
    }
    let mut job = Job {
        source,
        target,
        dry,
        overwrite: args.is(&OVERWRITE),
        state,
        ui: &mut cx.ui,
        progress: Progress::default(),
    };
    let outcome = steps(&mut job).await;
    job.progress.clear(job.ui);
    let Job { state, .. } = job;
    let whole = account(&state, dry, outcome.is_ok());
    if let Some(path) = args.some(&REPORT) {
        write_private(
            Path::new(path),
            &format!("{}\n", Json::Object(whole.clone()).to_pretty()),
        )
        .map_err(|e| Fail::usage(format!("Error writing the report: {e}")))?;
    }
    if let Err(why) = outcome {
        return Err(Fail::remote(format!(
            "Stopped: {why}\nWhat is copied stays; the same command goes on from there."
        )));
    }
    state.remove();
    Ok(tell(cx, &state, whole, dry))
}

async fn steps(job: &mut Job<'_>) -> Result<(), String> {
    policies::copy(job).await?;
    mounts::engines(job).await?;
    mounts::methods(job).await?;
    left(job).await;
    Ok(())
}

/// Notes what is there and is not copied.
async fn left(job: &mut Job<'_>) {
    for (path, what) in [
        (
            "sys/namespaces",
            "namespaces beneath this one: copy each with -source-namespace and -namespace",
        ),
        ("identity/entity/id", "entities: logins make new ones"),
        ("identity/group/id", "groups"),
        ("sys/policies/password", "password policies"),
        ("sys/quotas/rate-limit", "rate limit quotas"),
    ] {
        // A server without such things says so in many ways.
        let found = calls::list(job.source, path).await.unwrap_or_default();
        if !found.is_empty() {
            let why = format!("{} not copied: {what}", found.len());
            job.state.report.note(path, why);
        }
    }
}

/// Which server answers.
async fn place(client: &Client, side: &str) -> Result<Place, Fail> {
    let failed = |why: String| Fail::remote(format!("Error asking the {side}: {why}"));
    let status = match calls::read(client, "sys/seal-status").await {
        Ok(status) => status.unwrap_or_default(),
        Err(Trouble::Item(why) | Trouble::Stop(why)) => return Err(failed(why)),
    };
    if status.get("sealed").and_then(Json::as_bool) != Some(false) {
        return Err(failed("it is sealed".to_owned()));
    }
    Ok(Place {
        address: client.address(),
        cluster: text(&status, "cluster_id").to_owned(),
        namespace: client.namespace().trim_matches('/').to_owned(),
    })
}

fn account(state: &State, dry: bool, complete: bool) -> Fields {
    let mut out = Fields::new();
    out.push("source", state.source.to_json());
    out.push("target", state.target.to_json());
    out.push("dry_run", dry);
    out.push("complete", complete);
    for (name, value) in state.report.to_json().iter() {
        out.push(name, value.clone());
    }
    out
}

fn tell(cx: &mut Cx, state: &State, whole: Fields, dry: bool) -> Exit {
    let report = &state.report;
    if cx.ui.is_table() {
        let title = if dry { "Would copy" } else { "Copied" };
        let mut lines = vec![format!("What | {title} | Versions | Already there | Failed")];
        for (kind, count) in report.counts() {
            let versions = if count.versions > 0 {
                count.versions.to_string()
            } else {
                "-".to_owned()
            };
            lines.push(format!(
                "{kind} | {} | {versions} | {} | {}",
                count.copied, count.kept, count.failed
            ));
        }
        cx.ui.line(&table::with_header(&lines, "|"));
    } else {
        output::value(&mut cx.ui, &Json::Object(whole));
    }
    for one in report.attention().iter().take(SHOWN) {
        let lead = if one.failed { "FAILED" } else { "Note" };
        cx.ui.warn(&format!("{lead}: {}: {}", one.what, one.why));
    }
    let more = report.attention().len().saturating_sub(SHOWN) as u64 + report.unnamed();
    if more > 0 {
        cx.ui.warn(&format!("... and {more} more; -report names them."));
    }
    if report.failed() > 0 {
        cx.ui
            .error(&format!("{} things could not be copied.", report.failed()));
        return Exit::REMOTE;
    }
    Exit::OK
}
