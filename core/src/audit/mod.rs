//! Audit devices: who asked for what, and what was answered. A request is answered only after a device took its record.
//! Values are keyed hashes unless the schema lists them; the schema is an allow list. Devices come from replicated rows,
//! and from this node's configuration: those are there while the node is sealed, and then record no values at all.

pub mod chain;
mod courier;
mod filter;
mod hashed;
mod headers;
mod journal;
mod numbers;
mod opening;
mod options;
mod place;
mod quoted;
mod record;
mod round;
mod schema;
mod set;
mod shipping;
mod sink;
mod spool;
mod target;
#[cfg(test)]
mod tests;
pub mod verify;

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus::Registry;

use crate::catalog::AuditRecord;
use crate::core::Settings;
use crate::error::Error;
use crate::launcher::Launcher;
use crate::session::Derived;

pub use courier::{Courier, Couriers, NoCouriers};
use hashed::Hasher;
pub use headers::{Header, chosen};
use numbers::Numbers;
pub use options::{Declared, DeviceOptions, FileOptions, Output, RemoteOptions, take_everything};
pub use record::{Head, Record};
pub use set::{DeviceSet, Lines, Taken};
pub use sink::State;
use sink::{Sink, Surroundings};
pub use target::{Address, Protocol, Target};

use set::Device;

/// The devices of one node.
pub struct Devices {
    around: Surroundings,
    declared: ArcSwap<Vec<(Declared, Device)>>,
    open: ArcSwap<Open>,
    opening: Mutex<()>,
    numbers: Numbers,
}

/// What is written to now.
struct Open {
    /// Epoch of the rows it was made from; 0 without any.
    epoch: u64,
    set: Arc<DeviceSet>,
}

impl Devices {
    /// The devices that the configuration declares.
    ///
    /// # Errors
    /// An option that is refused, or a number that is registered already.
    pub fn new(settings: &Settings, launcher: &dyn Launcher, registry: &Registry) -> Result<Self, Error> {
        let numbers = Numbers::new(registry).map_err(|error| Error::internal(error.to_string()))?;
        let devices = Self {
            declared: ArcSwap::default(),
            open: ArcSwap::from_pointee(Open {
                epoch: 0,
                set: numbers.set(Vec::new()),
            }),
            opening: Mutex::new(()),
            around: Surroundings {
                directories: settings.audit_directories.clone().into(),
                targets: settings.audit_targets.clone(),
                node: launcher.record().name,
                couriers: launcher.couriers(),
                sent: numbers.sent.clone(),
            },
            numbers,
        };
        devices.declare(&settings.audit_devices)?;
        for (_, device) in devices.declared.load().iter() {
            if let Err(error) = device.sink.check() {
                tracing::error!(device = device.path, %error, "audit device cannot be opened; it is tried again with each record");
            }
        }
        Ok(devices)
    }

    /// Takes over what the configuration declares now.
    ///
    /// # Errors
    /// An option that is refused: then everything stays.
    pub fn declare(&self, declared: &[Declared]) -> Result<(), Error> {
        let _alone = self.opening.lock();
        let known = self.declared.load_full();
        let mut devices = Vec::with_capacity(declared.len());
        for device in declared {
            let options = DeviceOptions::read(&device.kind, &device.options)?;
            let same = known.iter().map(|(_, device)| device);
            let sink = self.sink(same, &device.path, options)?;
            devices.push((
                device.clone(),
                Device {
                    path: device.path.clone(),
                    sink,
                    key: None,
                },
            ));
        }
        self.declared.store(Arc::new(devices));
        self.forget_unless_alone();
        Ok(())
    }

    /// The devices of a view, with their keys. Opens and closes what that takes; a device that cannot be opened stays and
    /// refuses every record until it can.
    pub fn follow(&self, derived: &Derived) -> Result<Arc<DeviceSet>, Error> {
        let open = self.open.load();
        if open.epoch >= derived.epoch {
            return Ok(open.set.clone());
        }
        let _alone = self.opening.lock();
        let open = self.open.load_full();
        if open.epoch >= derived.epoch {
            return Ok(open.set.clone());
        }
        let mut devices = Vec::new();
        for (_, device) in self.declared.load().iter() {
            let key = derived.audit_key(&device.path);
            devices.push(Device {
                key: Some(Arc::new(Hasher::new(&key))),
                ..device.clone()
            });
        }
        for (path, record) in derived.catalog.audit() {
            let options = DeviceOptions::read(&record.kind, &record.options)?;
            devices.push(Device {
                path: path.clone(),
                sink: self.sink(open.set.devices().iter(), path, options)?,
                key: Some(Arc::new(Hasher::new(record.salt.as_bytes()))),
            });
        }
        let set = self.numbers.set(devices);
        self.open.store(Arc::new(Open {
            epoch: derived.epoch,
            set: set.clone(),
        }));
        Ok(set)
    }

    /// The devices there are, of the last view that was followed.
    pub fn current(&self) -> Arc<DeviceSet> {
        self.open.load().set.clone()
    }

    /// Drops the keys, and the devices that only keys tell of. Part of sealing the node; requests under way keep theirs.
    pub fn forget_keys(&self) {
        let _alone = self.opening.lock();
        self.forget_unless_alone();
    }

    /// Whether the configuration of this node declares a device here.
    pub fn is_declared(&self, path: &str) -> bool {
        self.declared.load().iter().any(|(_, device)| device.path == path)
    }

    /// The devices that the configuration of this node declares.
    pub fn declared(&self) -> Vec<Declared> {
        let declared = self.declared.load();
        declared.iter().map(|(declared, _)| declared.clone()).collect()
    }

    /// Opens every file again, for whoever moved them away.
    pub fn reopen(&self) {
        for device in self.current().devices() {
            if let Err(error) = device.sink.reopen() {
                tracing::error!(device = device.path, %error, "audit file is not opened again; the old one stays");
            }
        }
    }

    /// Checks that a device enabled over the API may be here and could be opened, before it is configured.
    pub fn probe(&self, record: &AuditRecord) -> Result<(), Error> {
        let options = DeviceOptions::read(&record.kind, &record.options)?;
        self.admit(&options)?;
        if matches!(options.output, Output::Remote(_)) {
            // Its spool is made with its first record.
            return Ok(());
        }
        Sink::new(&record.path, options, &self.around)?
            .check()
            .map_err(|error| Error::invalid(error.to_string()))
    }

    /// What the configuration of this node declares, and these beside it: whether each record has a device that takes it.
    pub fn take_everything(&self, beside: &[&DeviceOptions]) -> bool {
        let declared = self.declared.load();
        let declared = declared.iter().map(|(_, device)| device.sink.options());
        take_everything(declared.chain(beside.iter().copied()))
    }

    /// Whether no device is there: then requests pass unrecorded, as in Vault.
    pub fn is_empty(&self) -> bool {
        self.current().is_empty()
    }

    /// How each device is, by its name.
    pub fn states(&self) -> Vec<(String, State)> {
        let set = self.current();
        let states = set.devices().iter();
        states
            .map(|device| (device.path.clone(), device.sink.state()))
            .collect()
    }

    /// In one word: `none`, `enabled`, or `degraded` where one does not do what it should.
    pub fn summary(&self) -> &'static str {
        let states = self.states();
        match states.iter().any(|(_, state)| state.trouble.is_some()) {
            _ if states.is_empty() => "none",
            true => "degraded",
            false => "enabled",
        }
    }

    /// Brings the gauges up to date before they are read.
    pub fn observe(&self) {
        self.numbers.observe(&self.states());
    }

    /// A target that this node's configuration does not allow is nobody's to name over the API.
    fn admit(&self, options: &DeviceOptions) -> Result<(), Error> {
        match &options.output {
            Output::Remote(remote) if !remote.target.is_allowed(&self.around.targets) => {
                Err(Error::invalid(format!(
                    "this node sends audit records to no {:?}: audit_targets of its configuration does not name it",
                    remote.target.to_string()
                )))
            }
            _ => Ok(()),
        }
    }

    fn forget_unless_alone(&self) {
        let declared = self.declared.load();
        let devices = declared.iter().map(|(_, device)| device.clone()).collect();
        let set = self.numbers.set(devices);
        self.open.store(Arc::new(Open { epoch: 0, set }));
    }

    /// The same output for the same device: what waits in it must find it.
    fn sink<'d>(
        &self,
        mut known: impl Iterator<Item = &'d Device>,
        path: &str,
        options: DeviceOptions,
    ) -> Result<Arc<Sink>, Error> {
        let same = known.find(|device| device.path == path && *device.sink.options() == options);
        match same {
            Some(device) => Ok(device.sink.clone()),
            None => Sink::new(path, options, &self.around),
        }
    }
}
