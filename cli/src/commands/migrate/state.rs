//! How far a migration is: which steps are done, the last key of the step at work, and the account so far. It goes into
//! a file for its owner alone, with names and without any secret, and is replaced in one step.

use std::path::{Path, PathBuf};

use conclave_client::http::{Fields, Json};

use super::calls::{number, text};
use super::report::Report;
use crate::kvdata::read_file;
use crate::token_helper::write_private;

/// Format of the file.
const FORMAT: u64 = 1;

/// Which server, by what cannot be changed by calling it another name.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    /// Address, for people.
    pub address: String,
    /// The cluster's identifier.
    pub cluster: String,
    /// The namespace; empty for the root.
    pub namespace: String,
}

impl Place {
    /// Whether both mean the same data.
    pub fn is(&self, other: &Self) -> bool {
        self.cluster == other.cluster && self.namespace == other.namespace
    }

    /// As a document.
    pub fn to_json(&self) -> Fields {
        let mut out = Fields::new();
        out.push("address", self.address.as_str());
        out.push("cluster_id", self.cluster.as_str());
        out.push("namespace", self.namespace.as_str());
        out
    }

    fn from_json(json: &Fields) -> Self {
        Self {
            address: text(json, "address").to_owned(),
            cluster: text(json, "cluster_id").to_owned(),
            namespace: text(json, "namespace").to_owned(),
        }
    }
}

/// How far a migration is.
pub struct State {
    file: Option<PathBuf>,
    /// From where.
    pub source: Place,
    /// To where.
    pub target: Place,
    done: Vec<String>,
    at: Option<(String, String)>,
    /// The account so far.
    pub report: Report,
    /// Whether it was read from a file that a stopped run left.
    pub resumed: bool,
}

impl State {
    /// Goes on where the file says, or begins. Without a file nothing is kept.
    ///
    /// # Errors
    /// The file is of another migration, or cannot be read or written.
    pub fn open(file: Option<&Path>, source: Place, target: Place) -> Result<Self, String> {
        let mut state = Self {
            file: file.map(Path::to_owned),
            source,
            target,
            done: Vec::new(),
            at: None,
            report: Report::default(),
            resumed: false,
        };
        let Some(path) = file.filter(|path| path.exists()) else {
            state.store()?;
            return Ok(state);
        };
        let shown = path.display();
        let bytes = read_file(&path.to_string_lossy())?;
        let json = Json::parse(&bytes).map_err(|e| format!("{shown}: {e}"))?;
        let fields = json.as_object().filter(|f| number(f, "format") == FORMAT);
        let fields =
            fields.ok_or_else(|| format!("{shown} is not the state of a migration by this version"))?;
        let place = |name: &str| fields.get(name).and_then(Json::as_object).map(Place::from_json);
        if !place("source").is_some_and(|place| place.is(&state.source))
            || !place("target").is_some_and(|place| place.is(&state.target))
        {
            return Err(format!(
                "{shown} is the state of a migration between other servers; remove it or give another -state"
            ));
        }
        let done = fields.get("done").and_then(Json::as_array).unwrap_or_default();
        state.done = done.iter().filter_map(Json::as_str).map(str::to_owned).collect();
        state.at = Some((text(fields, "step").to_owned(), text(fields, "after").to_owned()))
            .filter(|(step, _)| !step.is_empty());
        state.report = fields.get("report").map(Report::from_json).unwrap_or_default();
        state.resumed = true;
        Ok(state)
    }

    /// Whether a step is done.
    pub fn is_done(&self, step: &str) -> bool {
        self.done.iter().any(|done| done == step)
    }

    /// The last key of a step that is done; everything up to it is.
    pub fn after(&self, step: &str) -> Option<&str> {
        self.at
            .as_ref()
            .filter(|(at, _)| at == step)
            .map(|(_, key)| key.as_str())
    }

    /// A step is done.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(&mut self, step: &str) -> Result<(), String> {
        self.done.push(step.to_owned());
        self.at = None;
        self.store()
    }

    /// A step is done up to a key.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn reach(&mut self, step: &str, key: &str) -> Result<(), String> {
        self.at = Some((step.to_owned(), key.to_owned()));
        self.store()
    }

    /// Nothing is left to do.
    pub fn remove(&self) {
        // A file that stays says only that the migration is done.
        let _ = self.file.as_ref().map(std::fs::remove_file);
    }

    fn store(&self) -> Result<(), String> {
        let Some(path) = &self.file else { return Ok(()) };
        let mut out = Fields::new();
        out.push("format", FORMAT);
        out.push("source", self.source.to_json());
        out.push("target", self.target.to_json());
        let done: Vec<&str> = self.done.iter().map(String::as_str).collect();
        out.push("done", done);
        let (step, after) = self.at.clone().unwrap_or_default();
        out.push("step", step);
        out.push("after", after);
        out.push("report", self.report.to_json());
        write_private(path, &Json::Object(out).to_compact())
    }
}
