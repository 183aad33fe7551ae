//! Events as signed posts to web servers. Each body is signed with a secret of the hook, so that the receiver knows who sent it
//! and when. What is not taken is sent again, later and later, for about an hour; what waits is bounded.

use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::Sha256;
use tokio::time::Instant;

use conclave_anomaly::Severity;
use conclave_engine_api::Millis;

use crate::anomaly::EventRecord;
use crate::audit::Target;
use crate::core::Core;
use crate::error::Error;

/// Where hooks are stored, by name.
pub const HOOKS: &str = "anomaly/webhook/";
/// Most posts that wait.
const MAX_WAITING: usize = 1024;
/// Posts that are tried in one round.
const ROUND: usize = 8;
/// After so many tries a post is given up: about an hour after the first.
const TRIES: u32 = 12;
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// The header with the signature.
const SIGNATURE: &str = "X-Conclave-Signature";

/// A hook as stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookRecord {
    /// Its name.
    pub name: String,
    /// Where to post to.
    pub url: String,
    /// What bodies are signed with.
    pub secret: String,
    /// Least severity of events that are posted.
    pub severity: String,
}

/// Without the secret.
impl std::fmt::Debug for HookRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HookRecord({})", self.name)
    }
}

impl HookRecord {
    fn wants(&self, severity: &str) -> bool {
        Severity::parse(&self.severity) <= Severity::parse(severity)
    }
}

/// A post that waits.
pub struct Post {
    hook: Arc<HookRecord>,
    body: Arc<Vec<u8>>,
    tries: u32,
    due: Instant,
}

/// `t=SECONDS,v1=HEX`: the HMAC-SHA256 of `SECONDS.BODY` under the hook's secret.
fn signature(secret: &str, now: Millis, body: &[u8]) -> Result<String, Error> {
    let seconds = now / 1000;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .map_err(|_| Error::internal("a hook's secret is no key"))?;
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body);
    Ok(format!(
        "t={seconds},v1={}",
        hex::encode(mac.finalize().into_bytes())
    ))
}

impl Core {
    /// Has an event posted to every hook that wants it.
    pub(super) fn post(&self, hooks: &[Arc<HookRecord>], event: &EventRecord) {
        let body = json!({"type": "anomaly", "cluster": self.settings.cluster_name, "event": event.shown()});
        let body = Arc::new(format!("{body}\n").into_bytes());
        let mut waiting = self.watch.posts.lock();
        for hook in hooks.iter().filter(|hook| hook.wants(&event.severity)) {
            if waiting.len() >= MAX_WAITING {
                self.watch.numbers.posted("dropped");
                continue;
            }
            waiting.push(Post {
                hook: hook.clone(),
                body: body.clone(),
                tries: 0,
                due: Instant::now(),
            });
        }
    }

    /// One round of posting what is due. Whether there was anything.
    pub async fn post_once(&self) -> bool {
        if self.seal.is_sealed() {
            self.watch.posts.lock().clear();
            return false;
        }
        let now = Instant::now();
        let due: Vec<Post> = {
            let mut waiting = self.watch.posts.lock();
            let (mut due, mut later) = (Vec::new(), Vec::new());
            for post in waiting.drain(..) {
                match post.due <= now && due.len() < ROUND {
                    true => due.push(post),
                    false => later.push(post),
                }
            }
            *waiting = later;
            due
        };
        let any = !due.is_empty();
        let sent = futures::future::join_all(due.into_iter().map(async |post| {
            let outcome = self.send(&post).await;
            (post, outcome)
        }));
        for (mut post, outcome) in sent.await {
            match outcome {
                Ok(()) => self.watch.numbers.posted("success"),
                Err(error) => {
                    post.tries += 1;
                    tracing::warn!(%error, hook = post.hook.name, tries = post.tries, "an event is not posted");
                    self.watch
                        .numbers
                        .posted(if post.tries < TRIES { "retried" } else { "dropped" });
                    if post.tries < TRIES {
                        let pause = Duration::from_secs(1 << post.tries.min(16)).min(LONGEST_PAUSE);
                        post.due = Instant::now() + pause;
                        self.watch.posts.lock().push(post);
                    }
                }
            }
        }
        any
    }

    async fn send(&self, post: &Post) -> Result<(), Error> {
        let signed = signature(&post.hook.secret, self.seal.now(), &post.body)?;
        let headers = vec![
            ("Content-Type".to_owned(), "application/json".to_owned()),
            (SIGNATURE.to_owned(), signed),
        ];
        let target = self.hook_target(&post.hook.url, headers)?;
        let failed = |error: std::io::Error| Error::Target(error.to_string());
        let couriers = self.launcher.couriers();
        let sending = async {
            let mut courier = couriers.connect(&target).await.map_err(failed)?;
            // The way adds the line's end.
            let line = post.body.strip_suffix(b"\n").unwrap_or(&post.body);
            courier.send(&[line]).await.map_err(failed)
        };
        let sent = tokio::time::timeout(target.timeout, sending).await;
        sent.map_err(|_| Error::Target("no answer in time".to_owned()))?
    }

    /// The target of a hook, if this node's configuration lets events go there.
    pub(crate) fn hook_target(&self, url: &str, headers: Vec<(String, String)>) -> Result<Target, Error> {
        let target = Target::web(url, headers)?;
        match target.is_allowed(&self.settings.audit_targets) {
            true => Ok(target),
            false => Err(Error::invalid(format!(
                "this node sends nothing to \"{target}\": audit_targets of its configuration does not name it"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_that_others_compute() {
        // echo -n '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key
        let signed = signature("key", 1_700_000_000_999, b"{\"a\":1}").unwrap();
        let (time, mac) = signed.split_once(",v1=").unwrap();
        assert_eq!(time, "t=1700000000");
        assert_eq!(mac, EXPECTED);
        assert_ne!(
            signed,
            signature("other", 1_700_000_000_999, b"{\"a\":1}").unwrap()
        );
    }

    const EXPECTED: &str = "a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03";

    #[test]
    fn hooks_want_what_is_as_bad_and_show_no_secret() {
        let hook = HookRecord {
            name: "page".to_owned(),
            url: String::new(),
            secret: "hidden".to_owned(),
            severity: "high".to_owned(),
        };
        assert!(hook.wants("critical") && hook.wants("high") && !hook.wants("medium"));
        assert!(!format!("{hook:?}").contains("hidden"));
    }
}
