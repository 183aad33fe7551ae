//! Spans as OTLP's messages, `opentelemetry/proto/collector/trace/v1` and `trace/v1`: the fields that are used, by their numbers.

use bytes::Bytes;
use prost::Message;

use super::Speaker;
use super::collect::{Ended, Word};

/// `Span.SpanKind`.
const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
/// `Status.StatusCode`: what the server did wrong.
const FAILED: i32 = 2;
/// The least HTTP status that is the server's fault.
const FAULT: i64 = 500;

#[derive(Clone, PartialEq, Message)]
struct ExportTraceServiceRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 3")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Number(i64),
}

/// One message with all of them.
pub fn message(speaker: &Speaker, ended: &[Ended]) -> Bytes {
    let text = |key: &str, text: &str| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::Text(text.to_owned())),
        }),
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![
                    text("service.name", "conclave"),
                    text("service.version", env!("CARGO_PKG_VERSION")),
                    text("service.instance.id", &speaker.node),
                ],
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(Scope {
                    name: "conclave".to_owned(),
                }),
                spans: ended.iter().map(span).collect(),
            }],
        }],
    };
    request.encode_to_vec().into()
}

fn span(ended: &Ended) -> Span {
    let failed = ended
        .said
        .iter()
        .any(|(name, word)| *name == "status" && matches!(word, Word::Number(status) if *status >= FAULT));
    let parent = match ended.parent {
        0 => Vec::new(),
        parent => parent.to_be_bytes().to_vec(),
    };
    Span {
        trace_id: ended.trace.to_be_bytes().to_vec(),
        span_id: ended.span.to_be_bytes().to_vec(),
        parent_span_id: parent,
        name: ended.name.to_owned(),
        kind: if ended.is_entry { SERVER } else { INTERNAL },
        start_time_unix_nano: ended.began,
        end_time_unix_nano: ended.ended,
        attributes: ended.said.iter().map(attribute).collect(),
        status: failed.then_some(Status { code: FAILED }),
    }
}

fn attribute((name, word): &(&'static str, Word)) -> KeyValue {
    let value = match word {
        Word::Number(number) => Value::Number(*number),
        Word::Text(text) => Value::Text(text.clone()),
    };
    KeyValue {
        key: format!("conclave.{name}"),
        value: Some(AnyValue { value: Some(value) }),
    }
}
