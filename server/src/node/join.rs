//! `retry_join`: a node that belongs to no cluster asks the members it was told of, again and again, until one admits it:
//! by a join token, or when an operator has approved its fingerprint.

use std::sync::Arc;
use std::time::Duration;

use conclave_core::{Core, JoinStep};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::config::RetryJoin;

/// Pause between rounds over all members.
const PAUSE: Duration = Duration::from_secs(2);
/// Longest token file.
const MAX_TOKEN_BYTES: usize = 1024;

/// Asks until the node belongs to a cluster or `stop`.
pub async fn until_admitted(core: Arc<Core>, members: Vec<RetryJoin>, stop: CancellationToken) {
    let mut said = vec![String::new(); members.len()];
    loop {
        for (member, said) in members.iter().zip(&mut said) {
            if matches!(core.is_initialized(), Ok(true)) {
                return;
            }
            let step = ask(&core, member).await;
            let (waits, reason) = match step {
                Ok(JoinStep::Joined) => {
                    tracing::info!("this node was admitted to its cluster");
                    return;
                }
                Ok(JoinStep::Waiting) => {
                    let fingerprint = core.fingerprint();
                    let reason = format!(
                        "it waits for approval: on a member, run conclave operator raft approve {fingerprint}"
                    );
                    (true, reason)
                }
                Err(reason) => (false, reason),
            };
            // The same reason every two seconds helps nobody.
            if reason != *said {
                tracing::warn!(reason, "not admitted to a cluster yet");
                *said = reason;
            }
            if waits {
                // One member that lists this node is enough, and its status says so.
                break;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

async fn ask(core: &Arc<Core>, member: &RetryJoin) -> Result<JoinStep, String> {
    let mut target = member.target.clone();
    // The request takes the certificate itself: only the node's own files may name a path.
    if let Some(Value::String(path)) = target.remove("leader_ca_cert_file") {
        let pem = tokio::fs::read_to_string(&path).await;
        let pem = pem.map_err(|error| format!("{path}: {error}"))?;
        target.insert("leader_ca_cert".to_owned(), Value::String(pem));
    }
    if let Some(path) = &member.token_file {
        let file = path.display();
        let token = tokio::fs::read_to_string(path).await;
        let token = Zeroizing::new(token.map_err(|error| format!("{file}: {error}"))?);
        let token = token.trim();
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
            return Err(format!("{file} holds no join token"));
        }
        target.insert("join_token".to_owned(), Value::String(token.to_owned()));
    }
    core.join_once(&target).await.map_err(|error| error.to_string())
}
