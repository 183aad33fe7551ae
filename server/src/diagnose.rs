//! What can be told of a server before it is started: its configuration, its machine, its data directory, certificates and
//! addresses. Looks and changes nothing; a port is bound for a moment. Knows no command line.

mod machine;
mod network;
mod storage;

use conclave_raft::node::{Clock as _, SystemClock};

use crate::config;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Nothing to check, or told not to.
    Skipped,
    /// Fine.
    Ok,
    /// The server would start; somebody should look.
    Warning,
    /// The server would not start or not serve.
    Failure,
}

/// A check, what came of it, and the checks it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its name.
    pub name: &'static str,
    /// How it went, or the worst of its parts.
    pub status: Status,
    /// What was found; empty for nothing to say.
    pub message: String,
    /// Its parts.
    pub parts: Vec<Finding>,
}

impl Finding {
    fn new(name: &'static str, status: Status, message: impl Into<String>) -> Self {
        Self {
            name,
            status,
            message: message.into(),
            parts: Vec::new(),
        }
    }

    fn of(name: &'static str, found: Result<String, String>) -> Self {
        match found {
            Ok(message) => Self::new(name, Status::Ok, message),
            Err(message) => Self::new(name, Status::Failure, message),
        }
    }

    fn skipped(name: &'static str) -> Self {
        Self::new(name, Status::Skipped, "as asked for")
    }

    fn all(name: &'static str, parts: Vec<Self>) -> Self {
        let worst = parts.iter().map(|part| part.status).max();
        Self {
            name,
            status: worst.unwrap_or(Status::Ok).max(Status::Ok),
            message: String::new(),
            parts,
        }
    }
}

/// Which checks to leave out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Skip {
    /// Binding addresses: for a server that runs.
    pub listener: bool,
    /// The data directory.
    pub storage: bool,
}

/// What a diagnosis came to.
pub struct Diagnosis {
    /// All of it.
    pub finding: Finding,
    /// Whether the configuration could be read; nothing beyond the machine was checked without.
    pub configured: bool,
    /// When it was made: milliseconds since 1970 by this machine's clock.
    pub at: u64,
}

/// Checks everything that the files at `paths` name.
pub fn of_files(paths: &[String], skip: Skip) -> Diagnosis {
    run(paths, skip, SystemClock.wall())
}

/// Checks everything that the files at `paths` name. `now`: milliseconds since 1970 by this machine's clock.
fn run(paths: &[String], skip: Skip, now: u64) -> Diagnosis {
    const ALL: &str = "Conclave Diagnose";
    let (config, warnings) = match config::load(paths) {
        Ok(loaded) => loaded,
        Err(error) => {
            let parsed = Finding::new("Parse Configuration", Status::Failure, error.to_string());
            return Diagnosis {
                finding: Finding::all(ALL, vec![machine::check(None, now), parsed]),
                configured: false,
                at: now,
            };
        }
    };
    let parsed = match warnings.is_empty() {
        true => Finding::new("Parse Configuration", Status::Ok, ""),
        false => Finding::new("Parse Configuration", Status::Warning, warnings.join("; ")),
    };
    // Of a relative path nothing is above but here.
    let data = config
        .data_path()
        .map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let parts = vec![
        machine::check(data.as_deref(), now),
        parsed,
        match skip.storage {
            true => Finding::skipped("Check Storage"),
            false => storage::check(&config, data.as_deref()),
        },
        Finding::new(
            "Check Seal",
            Status::Ok,
            "Shamir: shares are asked for at each start",
        ),
        network::addresses(&config),
        network::listeners(&config, skip.listener, now),
    ];
    Diagnosis {
        finding: Finding::all(ALL, parts),
        configured: true,
        at: now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'f>(finding: &'f Finding, name: &str) -> Option<&'f Finding> {
        if finding.name == name {
            return Some(finding);
        }
        finding.parts.iter().find_map(|part| found(part, name))
    }

    fn diagnose(text: &str, skip: Skip) -> Diagnosis {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.hcl");
        std::fs::write(&file, text).unwrap();
        run(&[file.display().to_string()], skip, 1_800_000_000_000)
    }

    #[test]
    fn what_keeps_a_server_from_starting_is_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = held.local_addr().unwrap();
        let text = format!(
            "cluster_addr = \"https://127.0.0.1:8201\"\noperations_address = \"\"\nstorage \"raft\" {{ path = {data:?} }}\n\
             listener \"tcp\" {{ address = \"{taken}\"\n cluster_address = \"127.0.0.1:0\"\n tls_disable = true }}",
        );
        std::fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let diagnosis = diagnose(&text, Skip::default());
        assert!(diagnosis.configured);
        let all = &diagnosis.finding;
        assert_eq!(all.status, Status::Failure);
        let folder = found(all, "Check Data Directory").unwrap();
        assert_eq!(folder.status, Status::Failure);
        assert!(folder.message.contains("chmod 0700"), "{}", folder.message);
        let ports = found(all, "Create Listeners").unwrap();
        assert!(ports.message.contains(&taken.to_string()), "{}", ports.message);
        assert_eq!(found(all, "Check Listener TLS").unwrap().status, Status::Warning);

        std::fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let skip = Skip {
            listener: true,
            storage: false,
        };
        let diagnosis = diagnose(&text, skip);
        assert_ne!(
            diagnosis.finding.status,
            Status::Failure,
            "{:?}",
            diagnosis.finding
        );
        assert_eq!(
            found(&diagnosis.finding, "Create Listeners").unwrap().status,
            Status::Skipped
        );
        assert!(
            std::fs::read_dir(&data).unwrap().next().is_none(),
            "it only looks"
        );
    }

    #[test]
    fn a_configuration_that_cannot_be_read_ends_the_diagnosis() {
        let diagnosis = diagnose("nosuch = 1", Skip::default());
        assert!(!diagnosis.configured);
        assert_eq!(diagnosis.finding.status, Status::Failure);
        assert!(found(&diagnosis.finding, "Check Storage").is_none());
    }
}
