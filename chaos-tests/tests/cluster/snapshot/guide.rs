//! The commands of `docs/operations.md` for the day on which two disks of three are lost, typed as they stand there. What only
//! holds on a real host (names, folders, a terminal) is put in their place; a place that is not there any more is an error.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::harness::{Cluster, conclave};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
const SECTION: &str = "### Two disks of three are lost";
/// Steps of that section that have commands.
const STEPS: usize = 5;

/// What comes before the second step: waiting, and how nodes are called here.
const TOOLS: &str = r#"
until_all() {
    for url in "$node1" "$node2" "$node3"; do
        until [ "$(conclave status -address="$url" -format=json | jq .sealed)" = "$1" ]; do sleep 0.2; done
    done
}
"#;
/// What the third step must refuse without force, and the fourth with the shares that are thrown away.
const REFUSED: &str = r#"
new=$(jq -r '.unseal_keys_b64[0]' NEW)
if said=$(conclave operator raft snapshot restore FILE 2>&1); then exit 10; fi
grep -q "different set of unseal keys" <<< "$said"
"#;
const OPENED: &str = r#"
until_all true
if conclave operator unseal "$new"; then exit 11; fi
"#;
const LOOKED: &str = r#"
until_all false
export CONCLAVE_TOKEN=$old_token
"#;
const READ: &str = r#"
[ "$(conclave kv get -field=value secret/kept)" = one ]
"#;

/// The commands, for the nodes of one cluster.
pub struct Guide {
    steps: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Guide {
    /// `snapshot` is the newest one.
    pub fn new(cluster: &Cluster, snapshot: &str) -> Self {
        let files = cluster.files().display().to_string();
        let programs = PathBuf::from(&files).join("bin");
        std::fs::create_dir(&programs).expect("a folder");
        symlink(conclave(), programs.join("conclave")).expect("a link");
        let path = std::env::var("PATH").expect("a path");
        let mut environment = vec![
            ("PATH".to_owned(), format!("{}:{path}", programs.display())),
            ("HOME".to_owned(), files.clone()),
            ("CONCLAVE_CACERT".to_owned(), cluster.ca().display().to_string()),
            ("old_token".to_owned(), cluster.root.clone()),
            (
                "old_shares".to_owned(),
                cluster.shares[..crate::harness::THRESHOLD].join(" "),
            ),
        ];
        let urls = cluster
            .nodes
            .iter()
            .map(|node| (node.name.clone(), node.url.clone()));
        environment.extend(urls);
        let ca = cluster.ca().display().to_string();
        let new = format!("{files}/new.json");
        let open = "for share in $old_shares; do conclave operator unseal \"$share\"; done #";
        let here = [
            ("https://node1:8200", "$node1"),
            ("https://$node:8200", "${!node}"),
            ("/etc/conclave/ca.pem", ca.as_str()),
            ("/dev/shm/new.json", new.as_str()),
            ("latest.snap", snapshot),
            ("conclave operator unseal          #", open),
        ];
        let mut steps = blocks();
        assert_eq!(steps.len(), STEPS, "{SECTION}: {steps:#?}");
        for (there, here) in here {
            assert!(
                steps.iter().any(|step| step.contains(there)),
                "no {there:?} in {SECTION}"
            );
            steps
                .iter_mut()
                .for_each(|step| *step = step.replace(there, here));
        }
        let refused = REFUSED.replace("NEW", &new).replace("FILE", snapshot);
        steps[2].insert_str(0, &refused);
        steps[3].insert_str(0, OPENED);
        steps[4].insert_str(0, LOOKED);
        steps[4].push_str(READ);
        Self { steps, environment }
    }

    /// The first step, for the data directory of one node. There is no account of its own here.
    pub async fn empty(&self, data: &Path) {
        let account = " -o conclave -g conclave";
        assert!(self.steps[0].contains(account), "{}", self.steps[0]);
        let step = self.steps[0].replace(account, "");
        self.type_in(&step.replace("/var/lib/conclave", &data.display().to_string()))
            .await;
        assert!(std::fs::read_dir(data).expect("a folder").next().is_none());
    }

    /// All others.
    pub async fn make_restore_and_open(&self, cluster: &Cluster) {
        let said = self.type_in(&[TOOLS, &self.steps[1..].concat()].concat()).await;
        for node in &cluster.nodes {
            assert!(
                said.matches(node.name.as_str()).count() >= 2,
                "lists of members: {said}"
            );
        }
    }

    async fn type_in(&self, commands: &str) -> String {
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", commands])
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .expect("bash runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{}\n{commands}\n{said}\n{complained}",
            output.status
        );
        said
    }
}

/// The fenced blocks of the section.
fn blocks() -> Vec<String> {
    let text = std::fs::read_to_string(DOCUMENT).expect("the document");
    let section = text.split_once(SECTION).expect("the section").1;
    let section = section.split("\n#").next().expect("a text");
    let mut blocks = Vec::new();
    // Between every other pair of fences there is a block.
    for block in section.split("```").skip(1).step_by(2) {
        blocks.push(format!("{}\n", block.trim_end()));
    }
    blocks
}
