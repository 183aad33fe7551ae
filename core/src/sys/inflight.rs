//! `sys/in-flight-req`: what this node is doing now.

use serde_json::{Map, Value, json};

use conclave_engine_api::Reply;
use conclave_engine_api::outcome::RawBody;

use crate::clocktext::rfc3339;
use crate::error::Error;
use crate::request::Verb;
use crate::routes::{Answer, Call};

/// Requests under way, this one among them, by a number that means nothing else.
pub fn list(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let requests = call.core.in_flight.all().into_iter();
    let listed: Map<String, Value> = requests
        .map(|(number, started)| {
            let method = match started.verb {
                Verb::Read | Verb::Help => "GET",
                Verb::Write => "PUT",
                Verb::Patch => "PATCH",
                Verb::Delete => "DELETE",
                Verb::List => "LIST",
                Verb::Scan => "SCAN",
            };
            let about = json!({
                "start_time": rfc3339(started.since),
                "client_remote_address": started.remote.map(|address| address.to_string()).unwrap_or_default(),
                "request_path": format!("/v1/{}", started.path),
                "request_method": method,
                "client_id": "",
            });
            (format!("{number:016x}"), about)
        })
        .collect();
    // Without envelope, as upstream.
    let raw = RawBody {
        status: 200,
        content_type: "application/json",
        bytes: Value::Object(listed).to_string().into_bytes(),
    };
    Ok(Reply {
        raw: Some(raw),
        ..Reply::default()
    }
    .into())
}
