//! Watches of a round's keys, one through each node, that write down what they hear.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use conclave_client::{Conclave, Error, EventKind, Kv, Watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::checks::watches::{Note, What};
use super::clients::{KEPT, LOOSE, name};
use crate::harness::{Api, SOON};

/// Written after all else: who has heard of it has heard everything.
const LAST: &str = "last";
/// Between two attempts of a node that does not serve.
const PAUSE: Duration = Duration::from_millis(100);

/// Watches at work.
pub struct Watchers {
    directory: String,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Vec<Note>>>,
}

struct Watcher {
    kv: Kv,
    directory: String,
    stop: Arc<AtomicBool>,
    notes: Vec<Note>,
}

impl Watchers {
    /// Starts a watch through each of these doors, before anything is written in the directory.
    pub async fn start(doors: &[String], ca: &[u8], token: &str, directory: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for door in doors {
            let node = Conclave::connect([door.clone()])
                .ca_cert(ca.to_vec())
                .token(token);
            let kv = node.build().expect("a client").kv("secret");
            let watcher = Watcher {
                kv,
                directory: directory.to_owned(),
                stop: Arc::clone(&stop),
                notes: Vec::new(),
            };
            let watch = watcher.opened(0).await.expect("a watch of whole nodes");
            tasks.push(tokio::spawn(watcher.run(watch)));
        }
        Self {
            directory: directory.to_owned(),
            stop,
            tasks,
        }
    }

    /// Writes something that all of them must hear of; what each heard until then.
    pub async fn finish(self, api: &Api) -> Vec<Vec<Note>> {
        let last = format!("secret/data/{}/{LAST}", self.directory);
        let nothing = serde_json::json!({"data": {}});
        api.must("POST", &last, nothing).await;
        let heard = timeout(SOON, async {
            let mut heard = Vec::new();
            for task in self.tasks {
                heard.push(task.await.expect("a watch that does not fail"));
            }
            heard
        });
        let heard = heard.await;
        self.stop.store(true, Ordering::SeqCst);
        heard.unwrap_or_else(|_| panic!("UNTOLD: a watch has not heard of the last write within {SOON:?}"))
    }
}

impl Watcher {
    /// Goes on through every fault, until it hears of the last write.
    async fn run(mut self, mut watch: Watch) -> Vec<Note> {
        while !self.stop.load(Ordering::SeqCst) {
            match watch.next().await {
                Ok(heard) => {
                    for event in heard.events {
                        let key = event.path.strip_prefix(&format!("{}/", self.directory));
                        let key = key.expect("a key of the watched directory");
                        if key == LAST {
                            return self.notes;
                        }
                        self.notes.push(Note::Event {
                            revision: event.revision,
                            key: key.to_owned(),
                            what: what(event.kind),
                            versions: event.versions,
                        });
                    }
                }
                Err(Error::Compacted { revision }) => {
                    watch = self.begin_anew(revision).await;
                }
                Err(error) if error.is_passing() => {
                    // why: a node that refuses does so at once
                    sleep(PAUSE).await;
                }
                Err(error) => panic!("UNTOLD: a watch ended: {error}"),
            }
        }
        self.notes
    }

    async fn opened(&self, after: u64) -> Result<Watch, Error> {
        self.kv.watch(&format!("{}/", self.directory), after).await
    }

    /// Lists and watches from the revision that was named, as the API says.
    async fn begin_anew(&mut self, revision: u64) -> Watch {
        let until = Instant::now() + SOON;
        loop {
            let listed = self.listed().await;
            let opened = match listed {
                Ok(versions) => self.opened(revision).await.map(|watch| (watch, versions)),
                Err(error) => Err(error),
            };
            match opened {
                Ok((watch, versions)) => {
                    self.notes.push(Note::Listed { revision, versions });
                    return watch;
                }
                Err(error) => assert!(
                    error.is_passing() || Instant::now() < until,
                    "UNTOLD: a watch cannot begin anew: {error}"
                ),
            }
            // why: a node that refuses does so at once
            sleep(PAUSE).await;
        }
    }

    /// The newest version of each key.
    async fn listed(&self) -> Result<BTreeMap<String, u64>, Error> {
        let mut versions = BTreeMap::new();
        for key in (0..KEPT + LOOSE).map(name) {
            let newest = match self.kv.metadata(&format!("{}/{key}", self.directory)).await {
                Ok(metadata) => metadata.current_version,
                Err(Error::NotFound(_)) => 0,
                Err(error) => return Err(error),
            };
            versions.insert(key, newest);
        }
        Ok(versions)
    }
}

fn what(kind: EventKind) -> What {
    match kind {
        EventKind::Written => What::Written,
        EventKind::Changed => What::Changed,
        EventKind::Removed => What::Removed,
        other => panic!("UNTOLD: nobody did what a watch tells: {}", other.name()),
    }
}
