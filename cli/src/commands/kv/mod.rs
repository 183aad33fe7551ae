//! `kv`: keys and values with and without versions.

mod delete;
mod destroy;
mod diff;
mod enable_versioning;
mod get;
mod history;
mod list;
mod metadata;
mod patch;
pub mod place;
mod put;
mod rollback;
mod tree;
mod undelete;
mod watch;

use conclave_client::http::{Fields, Json, Secret};

use super::Command;
use crate::exit::{Exit, Fail};
use crate::flags::{Args, Flag};
use crate::output;
use crate::session::{Api, Cx};
use crate::ui::Ui;

pub const MOUNT: Flag = Flag::text(
    "mount",
    "Path of the KV mount. If it is given, the argument is the key alone; else the argument is mount and key together.",
);
pub const VERSIONS: Flag = Flag::list(
    "versions",
    "Version numbers, separated by commas or by repeating the flag.",
);
pub const VERSION: Flag = Flag::int("version", "Number of the version.");
pub const CAS: Flag = Flag::int(
    "cas",
    "Write only if the key's current version is this one; 0 means that the key must not exist.",
)
.default("-1");

pub const COMMANDS: &[Command] = &[
    Command::group(
        "kv",
        "Interact with key-value storage",
        "Keys and values, with versions (v2) or without (v1).\n\n$ conclave kv put -mount=secret foo bar=baz\n\
         $ conclave kv get -mount=secret foo\n$ conclave kv get secret/foo",
    ),
    put::COMMAND,
    get::COMMAND,
    list::LIST,
    list::SCAN,
    delete::COMMAND,
    undelete::COMMAND,
    destroy::COMMAND,
    patch::COMMAND,
    rollback::COMMAND,
    enable_versioning::COMMAND,
    diff::COMMAND,
    history::COMMAND,
    tree::COMMAND,
    watch::COMMAND,
    metadata::GROUP,
    metadata::GET,
    metadata::PUT,
    metadata::PATCH,
    metadata::DELETE,
];

/// Reads a path; a 404 with data or warnings is an answer.
fn read(api: &Api, path: &str, version: Option<i64>) -> Result<Option<Secret>, conclave_client::http::Error> {
    let query: Vec<(String, String)> = version
        .into_iter()
        .map(|v| ("version".to_owned(), v.to_string()))
        .collect();
    api.read_with(path, &query)
}

/// Version numbers as the API takes them: texts.
fn versions(args: &Args) -> Json {
    let all = args.list(&VERSIONS);
    let each = all
        .iter()
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .filter(|v| !v.is_empty());
    Json::Array(each.map(Json::from).collect())
}

/// A heading between equal signs, as wide as the table beneath it.
fn heading(title: &str, fields: &Fields) -> String {
    let longest = fields
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or_default();
    padded(title, longest + 4 + "Value".len())
}

fn padded(title: &str, width: usize) -> String {
    let signs = match width.checked_sub(title.len() + 2) {
        None | Some(0) => 4,
        Some(signs) => signs + signs % 2,
    };
    let side = "=".repeat(signs / 2);
    format!("{side} {title} {side}")
}

/// Prints the path that was used.
fn path_heading(ui: &mut Ui, path: &str, title: &str) {
    ui.line(&padded(title, path.len()));
    ui.line(path);
    ui.line("");
}

/// Prints the answer to a write of a version.
fn print_written(cx: &mut Cx, args: &Args, path: &str, secret: Option<Secret>) -> Exit {
    let Some(secret) = secret else {
        if cx.ui.is_table() {
            cx.ui.line(&format!("Success! Data written to: {path}"));
        }
        return Exit::OK;
    };
    if let Some(name) = args.some(&super::FIELD) {
        return output::secret_field(&mut cx.ui, &secret, name);
    }
    let is_wrapped = secret.wrap_info.as_ref().is_some_and(|w| w.ttl != 0);
    match secret.data.as_ref().filter(|_| cx.ui.is_table() && !is_wrapped) {
        Some(metadata) => {
            path_heading(&mut cx.ui, path, "Secret Path");
            cx.ui.line(&heading("Metadata", metadata));
            output::fields(&mut cx.ui, metadata)
        }
        None => output::secret(&mut cx.ui, &secret),
    }
}

/// Prints the answer to a change of settings or versions.
fn print_changed(cx: &mut Cx, path: &str, secret: Option<Secret>) -> Exit {
    match secret {
        Some(secret) => output::secret(&mut cx.ui, &secret),
        None => {
            if cx.ui.is_table() {
                cx.ui.line(&format!("Success! Data written to: {path}"));
            }
            Exit::OK
        }
    }
}

/// Data and metadata of a version that is to be changed.
struct Existing {
    metadata: Fields,
    data: Option<Fields>,
}

impl Existing {
    /// Reads a version; `verb` names the command in complaints.
    fn read(api: &Api, path: &str, version: Option<i64>, verb: &str) -> Result<Self, Fail> {
        let secret = read(api, path, version)
            .map_err(|e| Fail::remote(format!("Error doing pre-read at {path}: {e}")))?;
        let found = secret
            .and_then(|s| s.data)
            .ok_or_else(|| Fail::remote(format!("No value found at {path}")))?;
        let part = |title: &str, name: &str| match found.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Object(fields)) => Ok(Some(fields.clone())),
            Some(_) => Err(Fail::remote(format!(
                "{title} found at {path} is not the expected type (JSON object)"
            ))),
        };
        let missing = |title: &str| {
            Fail::remote(format!(
                "No {title} found at {path}; {verb} only works on existing data"
            ))
        };
        let metadata = part("Metadata", "metadata")?.ok_or_else(|| missing("metadata"))?;
        Ok(Self {
            metadata,
            data: part("Data", "data")?,
        })
    }

    fn data(self, path: &str, verb: &str) -> Result<Fields, Fail> {
        self.data.ok_or_else(|| {
            Fail::remote(format!(
                "No data found at {path}; {verb} only works on existing data"
            ))
        })
    }
}

/// `{data, options: {cas}}`
fn versioned(data: Fields, cas: Option<Json>) -> Fields {
    let options: Fields = cas.into_iter().map(|cas| ("cas", cas)).collect();
    [("data", data), ("options", options)].into_iter().collect()
}
