//! `path-help`: which paths a mount answers. It must not know how they are answered.

use std::fmt::Write as _;

use serde_json::{Value, json};

use conclave_engine_api::outcome::RawBody;
use conclave_engine_api::{self as api, Operation, Reply};

use crate::error::Error;
use crate::routes::{Answer, Route, matches};

/// A path, what it answers and what it is for.
struct Entry {
    pattern: &'static str,
    operations: &'static [Operation],
    summary: &'static str,
}

/// Help on a mount of core's own.
pub fn of_table(kind: &str, table: &'static [Route], path: &str) -> Result<Answer, Error> {
    let entries = table.iter().map(|route| Entry {
        pattern: route.pattern,
        operations: route.operations,
        summary: "",
    });
    answer(kind, entries.collect(), path)
}

/// Help on a mount of an engine.
pub fn of_engine(kind: &str, routes: &'static [api::Route], path: &str) -> Result<Answer, Error> {
    let entries = routes.iter().map(|route| Entry {
        pattern: route.pattern,
        operations: route.operations,
        summary: route.summary,
    });
    answer(kind, entries.collect(), path)
}

fn answer(kind: &str, entries: Vec<Entry>, path: &str) -> Result<Answer, Error> {
    let path = path.trim_end_matches('/');
    let wanted = entries
        .into_iter()
        .filter(|entry| path.is_empty() || matches(entry.pattern, path).is_some());
    let mut text = format!("## DESCRIPTION\n\nA mount of type {kind}.\n\n## PATHS\n\n");
    let mut found = false;
    for entry in wanted {
        found = true;
        let operations: Vec<&str> = entry
            .operations
            .iter()
            .map(|operation| operation.name())
            .collect();
        // Writing to a text cannot fail.
        let _ = writeln!(text, "    {}\n        {}", entry.pattern, operations.join(", "));
        if !entry.summary.is_empty() {
            let _ = writeln!(text, "        {}", entry.summary);
        }
        text.push('\n');
    }
    if !found {
        return Err(Error::UnsupportedPath);
    }
    let help = json!({"help": text, "see_also": Value::Null, "openapi": Value::Null});
    let raw = RawBody {
        status: 200,
        content_type: "application/json",
        bytes: help.to_string().into_bytes(),
    };
    let reply = Reply {
        raw: Some(raw),
        ..Reply::default()
    };
    Ok(reply.into())
}
