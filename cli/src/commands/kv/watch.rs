//! `kv watch`: what happens to keys, as it happens, until somebody stops it.

use conclave_client::http::{Fields, Json};
use conclave_client::{Error, Event, Watch};

use super::MOUNT;
use crate::commands::{Command, Output, at_least, at_most};
use crate::exit::{Exit, Fail};
use crate::flags::{Args, Flag};
use crate::session::Cx;
use crate::ui::Ui;

const AFTER: Flag = Flag::int(
    "after",
    "Begin after this revision instead of now. It is refused if what came after it is no longer kept.",
)
.default("0");

pub const COMMAND: Command = Command::new("kv watch", "[options] PATH", "Watch what happens to keys", run)
    .help(
        "Prints a line for each change of a key, without its value, until it is interrupted: of all keys beneath a path that \
         ends in a slash, else of one key. It goes on by itself, without a gap, when a node is lost. -format=json prints an \
         object a line.\n\n$ conclave kv watch secret/my-app/\n$ conclave kv watch -mount=secret -after=4711 my-app/db",
    )
    .output(Output::Format)
    .flags(&[AFTER, MOUNT]);

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    if args.some(&MOUNT).is_none() {
        at_least(args, 1)?;
    }
    at_most(args, 1)?;
    let path = args.arg(0).trim().trim_start_matches('/');
    let (mount, path) = match args.some(&MOUNT) {
        Some(mount) => (mount.trim().trim_matches('/'), path),
        None => path.split_once('/').unwrap_or((path, "")),
    };
    let after = u64::try_from(args.int(&AFTER)).map_err(|_| Fail::usage("-after is a revision"))?;
    let cluster = cx.cluster(args)?;
    let failed = format!("Error watching {mount}/{path}");
    let kv = cluster.conclave.kv(mount);
    let mut watch = cluster.wait(&failed, kv.watch(path, after))?;
    if cx.ui.is_table() {
        cx.ui.line(&format!(
            "Watching {mount}/{path} after revision {}",
            watch.revision()
        ));
        cx.ui.line(&row(["Revision", "Event", "Path", "Versions"]));
    }
    let ui = &mut cx.ui;
    cluster.wait(&failed, async {
        tokio::select! {
            followed = follow(&mut watch, ui) => followed,
            // Whoever stops it has seen enough.
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    })?;
    Ok(Exit::OK)
}

/// Prints what is heard until nobody reads it.
async fn follow(watch: &mut Watch, ui: &mut Ui) -> Result<(), Error> {
    while !ui.is_broken() {
        match watch.next().await {
            Ok(heard) => heard.events.iter().for_each(|event| print(ui, event)),
            Err(error) if error.is_passing() => {
                ui.warn(&format!(
                    "{error}; trying again after revision {}",
                    watch.revision()
                ));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn print(ui: &mut Ui, event: &Event) {
    if !ui.is_table() {
        let fields: [(&str, Json); 5] = [
            ("revision", event.revision.into()),
            ("event", event.kind.name().into()),
            ("mount", event.mount.as_str().into()),
            ("path", event.path.as_str().into()),
            ("versions", event.versions.clone().into()),
        ];
        let object = Json::from(fields.into_iter().collect::<Fields>());
        return ui.line(&object.to_compact());
    }
    let versions: Vec<String> = event.versions.iter().map(u64::to_string).collect();
    ui.line(&row([
        &event.revision.to_string(),
        event.kind.name(),
        &format!("{}{}", event.mount, event.path),
        &versions.join(","),
    ]));
}

/// Columns of a table whose rows are not known yet.
fn row([revision, event, path, versions]: [&str; 4]) -> String {
    let line = format!("{revision:<10}  {event:<9}  {path:<40}  {versions}");
    line.trim_end().to_owned()
}
