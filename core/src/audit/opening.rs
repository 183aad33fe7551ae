//! What a file already holds when a node opens it, and what the node says first: after which record it goes on, and which
//! requests of its own were on record without an answer when it ended.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::Deserialize;
use serde_json::json;

use conclave_engine_api::Millis;

use crate::audit::chain::{self, Tip};
use crate::clocktext::rfc3339;

/// How far back the last record of a chain is looked for, in bytes ...
const LOOK: u64 = 64 << 20;
/// ... beginning with this many; requests without an answer are looked for in these.
const FIRST_LOOK: u64 = 4 << 20;
/// Most requests without an answer that are told of.
const MAX_UNANSWERED: usize = 10_000;

/// What was found at a file's end.
#[derive(Default)]
pub struct Found {
    /// The end of this node's chain.
    pub tip: Option<Tip>,
    /// Requests on this chain without an answer.
    pub unanswered: Vec<Unanswered>,
}

/// A request whose answer is not on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswered {
    id: String,
    operation: String,
    path: String,
}

/// What is said before the first record in a file that was opened.
pub struct Preface {
    unanswered: Vec<Unanswered>,
}

impl Preface {
    /// Tells of these.
    pub fn new(unanswered: Vec<Unanswered>) -> Self {
        Self { unanswered }
    }

    /// The lines, in order, each with its end. Without a chain there is no first line.
    pub fn lines(&self, now: Millis, chain: Option<(&str, &Tip)>, torn: bool) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        if let Some((id, tip)) = chain {
            let mut text = format!(
                r#"{{"time":"{}","type":"chain","node":{},"prev":"{}""#,
                rfc3339(now),
                chain::quoted(id),
                hex::encode(tip.hash)
            );
            if torn {
                text.push_str(r#","torn":true"#);
            }
            text.push_str("}\n");
            lines.push(text.into_bytes());
        }
        lines.extend(self.unanswered.iter().map(|one| one.line(now)));
        lines
    }
}

impl Unanswered {
    fn line(&self, now: Millis) -> Vec<u8> {
        let request = json!({"id": self.id, "operation": self.operation, "path": self.path});
        let error =
            "this node ended before the answer was on record: whether it was done is not known from here";
        format!(
            "{{\"time\":\"{}\",\"type\":\"recovered\",\"request\":{request},\"error\":\"{error}\"}}\n",
            rfc3339(now)
        )
        .into_bytes()
    }
}

/// Says that records were refused here since the last one.
pub fn refused(now: Millis, records: u64) -> Vec<u8> {
    format!(
        "{{\"time\":\"{}\",\"type\":\"refused\",\"records\":{records}}}\n",
        rfc3339(now)
    )
    .into_bytes()
}

/// Whether the last line of a file has no end.
pub fn is_torn(file: &File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    Ok(read(file, length.saturating_sub(1), length)?
        .last()
        .is_some_and(|last| *last != b'\n'))
}

/// Looks at the end of a file for the chain `id`.
pub fn look(file: &File, id: Option<&str>) -> io::Result<Found> {
    let length = file.metadata()?.len();
    let mut found = Found::default();
    let Some(id) = id.filter(|_| length > 0) else {
        return Ok(found);
    };
    let mut window = FIRST_LOOK;
    loop {
        let from = length.saturating_sub(window);
        let tail = read(file, from, length)?;
        // A window may begin in the middle of a line, which then is none.
        let lines = tail.split(|byte| *byte == b'\n');
        let mut last = None;
        let mut open = BTreeMap::new();
        for line in lines {
            if let Some((body, link)) = chain::split(line)
                && link.id == id
            {
                last = Some(link.tip);
                note(&mut open, body);
            }
        }
        if last.is_some() || from == 0 || window >= LOOK {
            found.tip = last;
            found.unanswered = open.into_values().take(MAX_UNANSWERED).collect();
            return Ok(found);
        }
        window = window.saturating_mul(4);
    }
}

/// Keeps requests in `open` until their answer comes by.
fn note(open: &mut BTreeMap<String, Unanswered>, body: &[u8]) {
    #[derive(Deserialize)]
    struct Record {
        #[serde(rename = "type")]
        kind: String,
        request: Option<Request>,
    }
    #[derive(Deserialize)]
    struct Request {
        id: String,
        operation: String,
        path: String,
    }
    let whole = [body, b"}"].concat();
    let Ok(record) = serde_json::from_slice::<Record>(&whole) else {
        return;
    };
    let Some(request) = record.request else { return };
    if record.kind == "request" {
        let Request { id, operation, path } = request;
        open.insert(id.clone(), Unanswered { id, operation, path });
    } else {
        open.remove(&request.id);
    }
}

fn read(file: &File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(0)];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}
