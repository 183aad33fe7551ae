//! Every answer that a client got has its record: no response leaves before an audit device has taken it.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;

use crate::chaos::clients::{History, name};
use crate::chaos::key::{Input, Output};
use crate::harness::{AUDIT, Cluster};

/// Each node's audit file, and how far it was read.
pub struct Trail {
    files: Vec<(PathBuf, u64)>,
}

impl Trail {
    /// Gives each node, none of which was started yet, an audit file.
    pub fn kept_by(cluster: &Cluster) -> Self {
        let folder = cluster.files().join(AUDIT);
        fs::create_dir_all(&folder).expect("a directory");
        let files = cluster.nodes.iter().map(|node| {
            let path = folder.join(format!("{}.log", node.name));
            node.configure(&format!(
                "audit \"file\" \"own\" {{\n options {{ file_path = \"{}\" }}\n}}",
                path.display()
            ));
            (path, 0)
        });
        Self {
            files: files.collect(),
        }
    }

    /// Every answer of a round is recorded: by its name where the client was told one, else as often as it was heard.
    pub fn holds(&mut self, directory: &str, history: &History) -> u64 {
        let (recorded, removals) = self.read_on(directory);
        let told = history.calls.iter().filter_map(|called| called.request.as_ref());
        let told = told.chain(history.lists.iter().filter_map(|list| list.request.as_ref()));
        let mut checked = 0;
        for request in told {
            checked += 1;
            assert!(
                recorded.contains(request),
                "UNRECORDED: request {request} was answered and no audit file has its response"
            );
        }
        let mut answered: HashMap<String, u64> = HashMap::new();
        for called in &history.calls {
            if let (Input::Delete | Input::Remove, Some((_, Output::Done))) =
                (called.call.input, called.call.end)
            {
                *answered.entry(name(called.key)).or_default() += 1;
            }
        }
        for (key, times) in answered {
            checked += times;
            let found = removals.get(&key).copied().unwrap_or(0);
            assert!(
                found >= times,
                "UNRECORDED: {times} deletes of {key} were answered, {found} responses are in audit files"
            );
        }
        checked
    }

    /// Names of the requests with a response since the last look, and how many deletes of each key were among them.
    fn read_on(&mut self, directory: &str) -> (HashSet<String>, HashMap<String, u64>) {
        let (mut recorded, mut removals) = (HashSet::new(), HashMap::new());
        for (path, from) in &mut self.files {
            let Ok(mut file) = File::open(&*path) else {
                continue;
            };
            file.seek(SeekFrom::Start(*from)).expect("a file");
            let mut reader = BufReader::new(file);
            let mut line = String::new();
            // A last line without an end is being written, or its writer was killed; it is looked at again.
            while reader.read_line(&mut line).expect("text") > 0 && line.ends_with('\n') {
                *from += line.len() as u64;
                if line.contains("\"type\":\"response\"") {
                    let request = line.split_once("\"request\":{").map_or("", |(_, rest)| rest);
                    recorded.extend(field(request, "id").map(str::to_owned));
                    if field(request, "operation") == Some("delete")
                        && let Some(path) = field(request, "path")
                        && let Some((parent, key)) = path.rsplit_once('/')
                        && parent.ends_with(directory)
                    {
                        *removals.entry(key.to_owned()).or_default() += 1;
                    }
                }
                line.clear();
            }
        }
        (recorded, removals)
    }
}

/// A text of a record; those looked for need no escapes.
fn field<'l>(json: &'l str, name: &str) -> Option<&'l str> {
    let (_, rest) = json.split_once(&format!("\"{name}\":\""))?;
    rest.split('"').next()
}
