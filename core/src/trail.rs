//! The audit trail of one request: its two records, on the devices of the view it first saw. The request's record is taken
//! before anything is done (that of a request that only reads, with the other); the response's, and both as durably as the
//! devices are told to, before the answer leaves.

use std::sync::Arc;

use serde_json::{Map, Value};

use conclave_engine_api::{Env, Millis, Operation};
use conclave_raft::mutant;

use crate::audit::{self, DeviceSet, Head, Header, Lines, Record, Taken};
use crate::canon::CanonPath;
use crate::catalog::MountRecord;
use crate::core::Core;
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::namespaces::NamespaceRecord;
use crate::request::Request;
use crate::routes::Answer;
use crate::session::Derived;
use crate::tokens::Caller;

/// The trail of one request with a token.
pub struct Trail<'q> {
    /// Joins both records, and names the request in its answer.
    pub request_id: String,
    core: &'q Arc<Core>,
    request: &'q Request,
    path: Arc<CanonPath>,
    namespace: Option<Arc<NamespaceRecord>>,
    devices: Option<Arc<DeviceSet>>,
    /// Records that are not written yet.
    waiting: Lines,
    taken: Taken,
    begun: bool,
    /// When a request that only reads was about to: its record is made with that of the answer.
    intended: Option<Millis>,
    changed: bool,
    operation: Operation,
    caller: Option<Arc<Caller>>,
    mount: Option<Arc<MountRecord>>,
    decided: Option<(bool, Vec<String>)>,
    /// Those that the view has recorded.
    headers: Vec<Header>,
}

/// As far as a request came.
pub struct Asked<'t> {
    /// Who asked.
    pub caller: Option<&'t Arc<Caller>>,
    /// Which mount was to answer.
    pub mount: Option<&'t Arc<MountRecord>>,
    /// In which namespace; `None` for the root.
    pub namespace: Option<&'t Arc<NamespaceRecord>>,
}

/// What is recorded.
enum Stage<'a> {
    Asked,
    Refused(&'a Error),
    Ended(Result<&'a Answer, &'a Error>),
}

impl<'q> Trail<'q> {
    /// Nothing is recorded yet.
    pub fn new(
        core: &'q Arc<Core>,
        request: &'q Request,
        path: Arc<CanonPath>,
        operation: Operation,
    ) -> Self {
        Self {
            request_id: Env::new(0, &mut OsEntropy).uuid(),
            core,
            request,
            path,
            namespace: None,
            devices: None,
            waiting: Lines::default(),
            taken: Taken::default(),
            begun: false,
            intended: None,
            changed: false,
            operation,
            caller: None,
            mount: None,
            decided: None,
            headers: Vec::new(),
        }
    }

    /// The devices are those of the view that was seen first, unless a later try sees a further one, of which this node had
    /// not heard yet: then both records go to these.
    pub async fn follow(&mut self, derived: &Derived) -> Result<(), Error> {
        let devices = self.core.audit.follow(derived)?;
        let audited = derived.catalog.audited_headers();
        if !audited.is_empty() {
            self.headers = audit::chosen(audited, self.request.headers.as_deref());
        }
        if self
            .devices
            .as_ref()
            .is_some_and(|before| before.covers(&devices))
        {
            return Ok(());
        }
        if let Some(before) = self.devices.replace(devices) {
            self.begun = false;
            self.intended = None;
            self.waiting = Lines::default();
            before.settle(std::mem::take(&mut self.taken)).await?;
        }
        Ok(())
    }

    /// In which namespace, and what path within it.
    pub fn within(&mut self, namespace: &Arc<NamespaceRecord>, path: &Arc<CanonPath>) {
        self.namespace = Some(namespace.clone());
        self.path = path.clone();
        self.mount = None;
    }

    /// The namespace asked in; `None` for the root, unless the request came to it from another one.
    pub fn namespace(&self) -> Option<&NamespaceRecord> {
        self.namespace.as_deref()
    }

    /// Who asks.
    pub fn by(&mut self, caller: &Arc<Caller>) {
        self.caller = Some(caller.clone());
    }

    /// Who asked, which mount was to answer, and in which namespace, as far as the request came.
    pub fn asked(&self) -> Asked<'_> {
        Asked {
            caller: self.caller.as_ref(),
            mount: self.mount.as_ref(),
            namespace: self.namespace.as_ref(),
        }
    }

    /// Which mount answers.
    pub fn at(&mut self, mount: &Arc<MountRecord>) {
        self.mount = Some(mount.clone());
    }

    /// Whether policies allow it, and which.
    pub fn decided(&mut self, allowed: bool, granted_by: &[&str]) {
        if !self.devices.as_ref().is_none_or(|devices| devices.is_empty()) {
            let granted = granted_by.iter().map(|name| (*name).to_owned()).collect();
            self.decided = Some((allowed, granted));
        }
    }

    /// Records the request as `operation`, once. If no device takes it, nothing may run.
    pub fn begin(&mut self, operation: Operation) -> Result<(), Error> {
        self.intend(operation);
        self.write()
    }

    /// As [`Trail::begin`] for what has no effect before [`Trail::write`]: the record of a request that only reads is made
    /// and written together with that of its answer.
    pub fn intend(&mut self, operation: Operation) {
        if !self.begun {
            self.operation = operation;
            self.intended = Some(self.core.seal.now());
            self.begun = true;
        }
    }

    /// Writes what is recorded, before anything is done. If no device takes it, nothing may be.
    pub fn write(&mut self) -> Result<(), Error> {
        if let Some(when) = self.intended.take() {
            self.record(when, Stage::Asked);
        }
        let waiting = std::mem::take(&mut self.waiting);
        match &self.devices {
            Some(devices) => devices.write(waiting, &mut self.taken),
            None => Ok(()),
        }
    }

    /// Records the request as one that is refused, unless it is on record already.
    pub fn refuse(&mut self, error: &Error) -> Result<(), Error> {
        if !self.begun {
            self.record(self.core.seal.now(), Stage::Refused(error));
            self.begun = true;
        }
        self.write()
    }

    /// Records a login, once: whoever asks may, and who it is will be told by the answer.
    pub fn begin_login(&mut self, operation: Operation) -> Result<(), Error> {
        self.decided(true, &[]);
        self.begin(operation)?;
        self.decided = None;
        Ok(())
    }

    /// Something was done that cannot be taken back.
    pub fn changed(&mut self) {
        self.changed = true;
    }

    /// Records the outcome and hands it back once it may leave.
    pub async fn end<T>(
        mut self,
        outcome: Result<T, Error>,
        answer: impl Fn(&T) -> &Answer,
    ) -> Result<T, Error> {
        // Sealed answers are no requests: there is no key to record them with.
        if matches!(
            outcome,
            Err(Error::AuditRefused
                | Error::Sealed
                | Error::NotInitialized
                | Error::RateLimited { recorded: false, .. })
        ) {
            return outcome;
        }
        let ended = self.end_records(outcome.as_ref().map(answer)).await;
        match (ended, &outcome) {
            (Ok(()), _) | (Err(_), Err(Error::OutcomeUnknown)) => outcome,
            (Err(_), _) if self.changed => Err(Error::CommittedUnaudited),
            (Err(error), _) => Err(error),
        }
    }

    async fn end_records(&mut self, outcome: Result<&Answer, &Error>) -> Result<(), Error> {
        // A request that failed before its record was due (a denial) is recorded now.
        match outcome {
            Err(error) => self.refuse(error)?,
            Ok(_) => self.intend(self.operation),
        }
        self.record(self.core.seal.now(), Stage::Ended(outcome));
        let Some(devices) = &self.devices else {
            return Ok(());
        };
        let (waiting, taken) = (std::mem::take(&mut self.waiting), std::mem::take(&mut self.taken));
        devices.finish(waiting, taken).await
    }

    fn record(&mut self, now: Millis, stage: Stage<'_>) {
        let devices = self.devices.get_or_insert_with(|| self.core.audit.current());
        if devices.is_empty() {
            self.intended = None;
            return;
        }
        let data = &self.request.data;
        if mutant::is("told-in-log") {
            tracing::info!(?data, "a request");
        }
        if mutant::is("lost-record") && mutant::sometimes() && matches!(stage, Stage::Ended(_)) {
            return;
        }
        let head = Head {
            caller: self.caller.as_deref(),
            token: self
                .request
                .token
                .as_deref()
                .map(String::as_str)
                .filter(|token| !token.is_empty()),
            operation: self.operation,
            mount: self.mount.as_deref(),
            namespace: self.namespace.as_deref(),
            decided: self
                .decided
                .as_ref()
                .map(|(allowed, granted)| (*allowed, granted.as_slice())),
            version: &self.core.settings.vault_version,
            headers: &self.headers,
            ..Head::step(&self.request_id, now, self.path.as_str(), self.request.remote)
        };
        let record = match stage {
            Stage::Asked => Record::request(head, data),
            Stage::Refused(error) => Record::refused(head, data, error),
            Stage::Ended(outcome) => Record::response(head, data, outcome),
        };
        match self.intended.take() {
            Some(now) => {
                let asked = Record::request(Head { now, ..head }, data);
                devices.add_both(&asked, &record, &mut self.waiting);
            }
            None => devices.add(&record, &mut self.waiting),
        }
    }
}

/// A step that needs no token: founding, joining, giving a share. Recorded without values, for there may be no key yet.
pub struct Step<'q> {
    core: &'q Core,
    path: &'q str,
    remote: Option<std::net::IpAddr>,
    request_id: String,
    devices: Arc<DeviceSet>,
    taken: Taken,
}

impl<'q> Step<'q> {
    /// Records that it was asked for. If no device takes it, nothing may run.
    pub fn begin(core: &'q Core, path: &'q str, remote: Option<std::net::IpAddr>) -> Result<Self, Error> {
        let mut step = Self {
            core,
            path,
            remote,
            request_id: Env::new(0, &mut OsEntropy).uuid(),
            devices: core.audit.current(),
            taken: Taken::default(),
        };
        if !step.devices.is_empty() {
            let head = Head::step(&step.request_id, core.seal.now(), path, remote);
            step.devices
                .record(&Record::request(head, &Map::new()), &mut step.taken)?;
        }
        Ok(step)
    }

    /// Records what came of it and how far things are, in `told`'s clear numbers and flags.
    pub async fn end<T>(mut self, outcome: Result<T, Error>, told: &Map<String, Value>) -> Result<T, Error> {
        if self.devices.is_empty() {
            return outcome;
        }
        let nothing = (Map::new(), Answer::default());
        let head = Head::step(&self.request_id, self.core.seal.now(), self.path, self.remote);
        let record = Record::response(head, &nothing.0, outcome.as_ref().map(|_| &nothing.1)).telling(told);
        let ended = match self.devices.record(&record, &mut self.taken) {
            Ok(()) => self.devices.settle(std::mem::take(&mut self.taken)).await,
            Err(error) => Err(error),
        };
        match (ended, &outcome) {
            (Ok(()), _) | (Err(_), Err(_)) => outcome,
            (Err(_), Ok(_)) => Err(Error::CommittedUnaudited),
        }
    }
}
