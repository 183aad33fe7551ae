//! Calls of these commands: paths beneath `sys/anomaly/`, over gRPC.

use std::collections::BTreeMap;

use conclave_client::http::{Fields, Json};
use conclave_client::{Error, SecretData, Verb};

use crate::commands::at_most;
use crate::exit::{Exit, Fail};
use crate::flags::Args;
use crate::kvdata;
use crate::output::{self, table};
use crate::session::Cx;

/// What is sent: texts, which the server reads as what it wants.
pub type Wishes = BTreeMap<String, String>;

/// Does something at a path beneath `sys/anomaly/`. Nothing for what is not there, if that is no failure.
pub fn call(
    cx: &Cx,
    args: &Args,
    (verb, path): (Verb, &str),
    wishes: &Wishes,
    sentence: &str,
) -> Result<Option<Fields>, Fail> {
    let cluster = cx.cluster(args)?;
    let path = format!("sys/anomaly/{path}");
    let call = cluster.conclave.logical();
    let answer = cluster.wait(sentence, async {
        match call.call(verb, &path, wishes).await {
            Ok(answer) => Ok(Some(answer)),
            Err(Error::NotFound { .. }) if verb == Verb::List => Ok(None),
            Err(error) => Err(error),
        }
    })?;
    Ok(answer.map(|answer| fields(&answer.data)))
}

fn fields(data: &SecretData) -> Fields {
    let mut fields = Fields::new();
    for name in data.names() {
        let text = data.value(name).map(ToString::to_string).unwrap_or_default();
        fields.push(name, Json::parse(text.as_bytes()).unwrap_or_default());
    }
    fields
}

/// `K=V` after a command's own arguments.
pub fn pairs(cx: &mut Cx, args: &Args, from: usize) -> Result<Wishes, Fail> {
    let given = args.rest().get(from..).unwrap_or_default();
    let pairs = kvdata::parse_texts(&mut cx.stdin(args), given);
    Ok(pairs
        .map_err(|error| Fail::usage(format!("Failed to parse K=V data: {error}")))?
        .into_iter()
        .collect())
}

/// A list with what is known of each: a table of these columns, or everything in another format.
pub fn listed(cx: &mut Cx, found: Option<Fields>, columns: &[(&str, &str)], nothing: &str) -> Exit {
    let Some(found) = found else {
        if cx.ui.is_table() {
            cx.ui.line(nothing);
            return Exit::OK;
        }
        return output::value(&mut cx.ui, &Json::Object(Fields::new()));
    };
    if !cx.ui.is_table() {
        return output::value(&mut cx.ui, &Json::Object(found));
    }
    let keys = found.get("keys").and_then(Json::as_array).unwrap_or_default();
    if keys.is_empty() {
        cx.ui.line(nothing);
        return Exit::OK;
    }
    let mut lines = vec![
        columns
            .iter()
            .map(|(title, _)| *title)
            .collect::<Vec<_>>()
            .join(" | "),
    ];
    for key in keys.iter().filter_map(Json::as_str) {
        let info = found.get("key_info").and_then(|infos| infos.get(key));
        let cells = columns.iter().map(|(_, name)| match *name {
            "" => key.to_owned(),
            name => info
                .and_then(|info| info.get(name))
                .map(crate::goval::plain)
                .unwrap_or_default(),
        });
        lines.push(cells.collect::<Vec<_>>().join(" | "));
    }
    cx.ui.line(&table::with_header(&lines, "|"));
    Exit::OK
}

/// Lists what lies at a path, as `listed` shows it.
pub fn list(
    cx: &mut Cx,
    args: &Args,
    (path, sentence): (&str, &str),
    columns: &[(&str, &str)],
    nothing: &str,
) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let found = call(cx, args, (Verb::List, path), &Wishes::new(), sentence)?;
    Ok(listed(cx, found, columns, nothing))
}

/// Removes what may be at a path or not, and says `done` of it.
pub fn remove(
    cx: &mut Cx,
    args: &Args,
    (directory, name): (&str, &str),
    sentence: &str,
    done: &str,
) -> Result<Exit, Fail> {
    let path = format!("{directory}/{name}");
    call(cx, args, (Verb::Delete, &path), &Wishes::new(), sentence)?;
    cx.ui.line(&format!("Success! {done}: {name}"));
    Ok(Exit::OK)
}

/// One thing, with all that is known of it: for people a line for each value, also of fields within fields.
pub fn shown(cx: &mut Cx, args: &Args, found: Option<Fields>, what: &str) -> Exit {
    let found = found.unwrap_or_default();
    match args.some(&crate::commands::FIELD) {
        Some(name) if found.get(name).is_some() => output::field(&mut cx.ui, &found, name, what),
        Some(name) => output::field(&mut cx.ui, &flat(&found), name, what),
        None if cx.ui.is_table() => output::fields(&mut cx.ui, &flat(&found)),
        None => output::fields(&mut cx.ui, &found),
    }
}

/// A field within a field is named by both, with a dot between them.
fn flat(fields: &Fields) -> Fields {
    let mut all = Fields::new();
    for (name, value) in fields.iter() {
        match value.as_object().filter(|within| !within.is_empty()) {
            None => all.push(name, value.clone()),
            Some(within) => {
                for (rest, value) in flat(within).iter() {
                    all.push(format!("{name}.{rest}"), value.clone());
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_within_fields_are_named_by_both() {
        let nested =
            br#"{"a": 1, "params": {"min": {"value": 20, "help": "few"}, "none": {}}, "list": [{"x": 1}]}"#;
        let nested = Json::parse(nested).unwrap();
        let flat = flat(nested.as_object().unwrap());
        let names: Vec<_> = flat.iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            ["a", "list", "params.min.help", "params.min.value", "params.none"]
        );
    }
}
