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

use std::collections::BTreeMap;
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
    outputs: Mutex<Outputs>,
    numbers: Numbers,
}

/// The outputs that are open, whether their devices can be told of now or not: a chain goes on in the output that it began in,
/// over a change of configuration and over a seal. No key is in one.
#[derive(Default)]
struct Outputs {
    /// By whether the configuration declares the device, and its path.
    sinks: BTreeMap<(bool, String), Arc<Sink>>,
    /// The node is sealed: a request that began before must not bring keys back.
    sealed: bool,
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
            outputs: Mutex::default(),
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
        let mut outputs = self.outputs.lock();
        let mut devices = Vec::with_capacity(declared.len());
        for device in declared {
            let options = DeviceOptions::read(&device.kind, &device.options)?;
            let sink = self.sink(&outputs, (&device.path, None), options)?;
            devices.push((
                device.clone(),
                Device {
                    path: device.path.clone(),
                    sink,
                    key: None,
                },
            ));
        }
        let before = self.declared.swap(Arc::new(devices));
        let enabled = self.current();
        let enabled = enabled.devices().iter().filter(|device| {
            let declared = before.iter().any(|(_, before)| before.path == device.path);
            !declared && !self.is_declared(&device.path)
        });
        // Those that are enabled are there without a break; keys of the new ones come with the next request.
        let mut all = self.declared_devices();
        all.extend(enabled.cloned());
        outputs.replace(true, &self.declared_devices());
        self.start(&self.declared_devices());
        let set = self.numbers.set(all);
        self.open.store(Arc::new(Open { epoch: 0, set }));
        Ok(())
    }

    /// The devices of a view, with their keys. Opens and closes what that takes; a device that cannot be opened stays and
    /// refuses every record until it can.
    pub fn follow(&self, derived: &Derived) -> Result<Arc<DeviceSet>, Error> {
        let open = self.open.load();
        if open.epoch >= derived.epoch {
            return Ok(open.set.clone());
        }
        let mut outputs = self.outputs.lock();
        let open = self.open.load_full();
        if open.epoch >= derived.epoch {
            return Ok(open.set.clone());
        }
        let mut enabled = Vec::new();
        for (path, record) in derived.catalog.audit() {
            let options = DeviceOptions::read(&record.kind, &record.options)?;
            let tag = chain::tag(&record.salt);
            enabled.push(Device {
                path: path.clone(),
                sink: self.sink(&outputs, (path, Some(&tag)), options)?,
                key: Some(Arc::new(Hasher::new(record.salt.as_bytes()))),
            });
        }
        let mut devices = self.declared_devices();
        for device in &mut devices {
            let key = derived.audit_key(&device.path);
            device.key = Some(Arc::new(Hasher::new(&key)));
        }
        devices.extend(enabled.iter().cloned());
        if outputs.sealed {
            return Ok(self.numbers.set(devices));
        }
        outputs.replace(false, &enabled);
        self.start(&enabled);
        let set = self.numbers.set(devices);
        self.open.store(Arc::new(Open {
            epoch: derived.epoch,
            set: set.clone(),
        }));
        Ok(set)
    }

    /// The node's name, as chains have it.
    pub fn node(&self) -> &str {
        &self.around.node
    }

    /// The devices there are, of the last view that was followed.
    pub fn current(&self) -> Arc<DeviceSet> {
        self.open.load().set.clone()
    }

    /// Drops the keys, and the devices that only keys tell of. Part of sealing the node; requests under way keep theirs.
    pub fn forget_keys(&self) {
        let mut outputs = self.outputs.lock();
        outputs.sealed = true;
        for ((declared, _), sink) in &outputs.sinks {
            if !declared {
                sink.stop();
            }
        }
        let set = self.numbers.set(self.declared_devices());
        self.open.store(Arc::new(Open { epoch: 0, set }));
    }

    /// Keys are there from now on. Part of unsealing the node, before anything is done with them.
    pub fn take_keys(&self) {
        self.outputs.lock().sealed = false;
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
        let sinks = self.outputs.lock().sinks.clone();
        for ((_, path), sink) in sinks {
            if let Err(error) = sink.reopen() {
                tracing::error!(device = path, %error, "audit file is not opened again; the old one stays");
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
        Sink::new((&record.path, None), options, &self.around)?
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

    fn start(&self, devices: &[Device]) {
        for device in devices {
            device.sink.start(&self.around);
        }
    }

    /// The declared devices, without keys.
    fn declared_devices(&self) -> Vec<Device> {
        let declared = self.declared.load();
        declared.iter().map(|(_, device)| device.clone()).collect()
    }

    /// The same output for the same device: what waits in it must find it, and its chain goes on there.
    fn sink(
        &self,
        outputs: &Outputs,
        (path, tag): (&str, Option<&str>),
        options: DeviceOptions,
    ) -> Result<Arc<Sink>, Error> {
        let known = outputs.sinks.get(&(tag.is_none(), path.to_owned()));
        match known.filter(|sink| sink.is(tag, &options)) {
            Some(sink) => Ok(sink.clone()),
            None => Sink::new((path, tag), options, &self.around),
        }
    }
}

impl Outputs {
    /// These are all devices there are now that are declared, or all that are not.
    fn replace(&mut self, declared: bool, devices: &[Device]) {
        self.sinks.retain(|(is, _), _| *is != declared);
        let devices = devices.iter();
        self.sinks
            .extend(devices.map(|device| ((declared, device.path.clone()), device.sink.clone())));
    }
}
