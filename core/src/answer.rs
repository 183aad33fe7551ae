//! From what a handler answered to what a transport is handed.

use conclave_engine_api::Status;

use crate::response::{Body, Envelope, Response};
use crate::routes::Answer;
use crate::wrapping::Wrap;

/// Builds the response.
pub fn encode(request_id: String, revision: Option<u64>, answer: Answer) -> Response {
    let Answer {
        reply,
        auth,
        at_top_level,
        file,
        lines,
        watch,
        wrap,
        lease,
        // Said in audit records alone.
        login: _,
        told_once: _,
    } = answer;
    let wrap_info = match wrap {
        Some(Wrap::Done(info)) => Some(info),
        Some(Wrap::Again(_)) | None => None,
    };
    let respond = move |body| Response {
        request_id,
        revision,
        body,
    };
    if let Some(file) = file {
        return respond(Body::File {
            content_type: "application/gzip",
            file,
        });
    }
    if let Some(lines) = lines {
        return respond(Body::Lines(lines));
    }
    if let Some(watch) = watch {
        return respond(Body::Watch(watch));
    }
    if let Some(raw) = reply.raw {
        return respond(Body::Raw {
            status: raw.status,
            content_type: raw.content_type,
            bytes: raw.bytes,
        });
    }
    let says_nothing = reply.data.is_none()
        && auth.is_none()
        && lease.is_none()
        && wrap_info.is_none()
        && reply.warnings.is_empty();
    let (lease_id, renewable, seconds) = match lease {
        Some(lease) => (lease.id, lease.renewable, Some(lease.seconds)),
        None => (String::new(), false, reply.lease_duration_hint),
    };
    let envelope = Box::new(Envelope {
        lease_id,
        renewable,
        lease_duration: seconds.unwrap_or(0),
        data: reply.data,
        wrap_info,
        warnings: reply.warnings,
        auth,
        at_top_level,
    });
    let body = match reply.status {
        Status::Done if says_nothing => Body::Empty,
        Status::Done => Body::Envelope(envelope),
        Status::Accepted => Body::Accepted(envelope),
        Status::NotFoundWithBody => Body::NotFound(envelope),
        Status::InPart(status) => Body::InPart { status, envelope },
    };
    respond(body)
}
