//! How answers are printed: table, JSON, YAML, raw. Knows the envelope and the writer, no command and no request.

pub mod progress;
mod secret;
mod status;
pub mod table;
pub mod text;
mod yaml;

use conclave_client::http::{Fields, Json, Secret};

pub use secret::warnings;
pub use status::{SealStatus, status};

use crate::exit::Exit;
use crate::goval::plain;
use crate::ui::{Format, Ui};

/// Prints an answer whole.
pub fn secret(ui: &mut Ui, secret: &Secret) -> Exit {
    match ui.format {
        Format::Table => {
            secret::table(ui, secret);
            Exit::OK
        }
        _ => value(ui, &secret.to_json()),
    }
}

/// Prints fields: as two columns, or as they are.
pub fn fields(ui: &mut Ui, fields: &Fields) -> Exit {
    match ui.format {
        Format::Table => {
            if let Some(text) = secret::two_columns(&secret::rows(fields)) {
                ui.line(&text);
            }
            Exit::OK
        }
        _ => value(ui, &Json::Object(fields.clone())),
    }
}

/// Prints the names of a list answer, with what is known of each if details are asked for.
pub fn list(ui: &mut Ui, answer: &Secret) -> Exit {
    let keys = answer.field("keys").cloned().unwrap_or_default();
    match ui.format {
        Format::Table => match secret::list(ui, answer, &keys) {
            Ok(()) => Exit::OK,
            Err(why) => {
                ui.error(&format!("Could not parse output: {why}"));
                Exit::USAGE
            }
        },
        Format::Json if ui.detailed => value(ui, &answer.to_json()),
        _ => value(ui, &keys),
    }
}

/// Prints a value that has no table.
pub fn value(ui: &mut Ui, value: &Json) -> Exit {
    match ui.format {
        Format::Json => ui.line(&value.to_pretty()),
        Format::Yaml => ui.line(yaml::document(value).trim()),
        Format::Table => return refuse(ui, "cannot use the table formatter for this type"),
        Format::Pretty => return refuse(ui, "cannot use the pretty formatter for this type"),
        Format::Raw => {
            return refuse(
                ui,
                "This command does not support the -format=raw option; only `conclave read` does.",
            );
        }
    }
    Exit::OK
}

fn refuse(ui: &mut Ui, why: &str) -> Exit {
    ui.error(&format!("Could not parse output: {why}"));
    Exit::USAGE
}

/// Prints one field of an answer.
pub fn secret_field(ui: &mut Ui, secret: &Secret, name: &str) -> Exit {
    let found = secret::field(secret, name);
    if found.is_some() && secret.warnings.as_ref().is_some_and(|w| !w.is_empty()) {
        secret::warnings_titled(
            ui,
            secret,
            "WARNING! The following warnings were returned from the server\n",
        );
    }
    one(ui, found, name, "secret")
}

/// Prints one of some fields; `what` names them in a complaint.
pub fn field(ui: &mut Ui, fields: &Fields, name: &str, what: &str) -> Exit {
    one(ui, fields.get(name).cloned(), name, what)
}

fn one(ui: &mut Ui, found: Option<Json>, name: &str, what: &str) -> Exit {
    let Some(found) = found.filter(|v| !v.is_null()) else {
        ui.error(&format!(
            "Field {} not present in {what}",
            crate::goval::quote(name)
        ));
        return Exit::USAGE;
    };
    match ui.format {
        Format::Json => ui.value(&found.to_pretty()),
        Format::Yaml => ui.value(&yaml::document(&found)),
        Format::Pretty => ui.value(""),
        Format::Table | Format::Raw => ui.value(&plain(&found)),
    }
    Exit::OK
}
