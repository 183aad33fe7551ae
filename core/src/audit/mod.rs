//! Audit devices: who asked for what, and what was answered. A request is answered only after a device took its record.
//! Values are keyed hashes unless the schema lists them; the schema is an allow list. Devices come from replicated rows,
//! and from this node's configuration: those are there while the node is sealed, and then record no values at all.

mod file;
mod hashed;
mod options;
mod quoted;
mod record;
mod schema;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus::{IntCounter, IntGauge, Registry};

use crate::catalog::AuditRecord;
use crate::error::Error;
use crate::session::Derived;

use file::{FileDevice, Mark, Place};
use hashed::Hasher;
pub use options::{Declared, FileOptions};
pub use record::{Head, Record};

/// The devices of one node.
pub struct Devices {
    directories: Arc<[PathBuf]>,
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

/// One device.
#[derive(Clone)]
struct Device {
    path: String,
    file: Arc<FileDevice>,
    key: Option<Arc<Hasher>>,
}

/// The devices that take the records of one request.
pub struct DeviceSet {
    devices: Vec<Device>,
    failures: IntCounter,
}

/// The places of a request's records in the devices that took them.
#[derive(Default)]
pub struct Taken(Vec<(Arc<FileDevice>, Mark)>);

/// Records that wait to be written in one piece, as each device writes them.
#[derive(Default)]
pub struct Lines(Vec<Vec<u8>>);

/// Counts of this node.
struct Numbers {
    devices: IntGauge,
    failures: IntCounter,
}

impl Devices {
    /// The devices that the configuration declares; files may be made in these directories only.
    ///
    /// # Errors
    /// An option that is refused, or a number that is registered already.
    pub fn new(directories: Vec<PathBuf>, declared: &[Declared], registry: &Registry) -> Result<Self, Error> {
        let directories: Arc<[PathBuf]> = directories.into();
        let numbers = Numbers::new(registry).map_err(|error| Error::internal(error.to_string()))?;
        let devices = Self {
            declared: ArcSwap::default(),
            open: ArcSwap::from_pointee(Open {
                epoch: 0,
                set: numbers.set(Vec::new()),
            }),
            opening: Mutex::new(()),
            directories,
            numbers,
        };
        devices.declare(declared)?;
        for (_, device) in devices.declared.load().iter() {
            if let Err(error) = device.file.check() {
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
            let options = FileOptions::read(&device.options)?;
            let same = known.iter().map(|(_, device)| device);
            let file = self.file(same, &device.path, options);
            devices.push((
                device.clone(),
                Device {
                    path: device.path.clone(),
                    file,
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
            let options = FileOptions::read(&record.options)?;
            devices.push(Device {
                path: path.clone(),
                file: self.file(open.set.devices.iter(), path, options),
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
        for device in &self.current().devices {
            if let Err(error) = device.file.reopen() {
                tracing::error!(device = device.path, %error, "audit file is not opened again; the old one stays");
            }
        }
    }

    /// Checks that a device could be opened here, before it is configured.
    pub fn probe(&self, record: &AuditRecord) -> Result<(), Error> {
        let options = FileOptions::read(&record.options)?;
        FileDevice::new(options, self.directories.clone())
            .check()
            .map_err(|error| Error::invalid(error.to_string()))
    }

    /// Whether no device is there: then requests pass unrecorded, as in Vault.
    pub fn is_empty(&self) -> bool {
        self.current().is_empty()
    }

    fn forget_unless_alone(&self) {
        let declared = self.declared.load();
        let devices = declared.iter().map(|(_, device)| device.clone()).collect();
        let set = self.numbers.set(devices);
        self.open.store(Arc::new(Open { epoch: 0, set }));
    }

    /// The same file object for the same device: what waits for its sync must find it.
    fn file<'d>(
        &self,
        mut known: impl Iterator<Item = &'d Device>,
        path: &str,
        options: FileOptions,
    ) -> Arc<FileDevice> {
        let same = known.find(|device| device.path == path && *device.file.options() == options);
        match same {
            Some(device) => device.file.clone(),
            None => Arc::new(FileDevice::new(options, self.directories.clone())),
        }
    }
}

impl DeviceSet {
    /// Whether there is no device.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// Adds a record to what is written next.
    pub fn add(&self, record: &Record<'_>, lines: &mut Lines) {
        lines.0.resize_with(self.devices.len(), Vec::new);
        for (device, line) in self.devices.iter().zip(&mut lines.0) {
            line.append(&mut record.encode(device.key.as_deref()));
        }
    }

    /// Adds both records of a request.
    pub fn add_both(&self, asked: &Record<'_>, ended: &Record<'_>, lines: &mut Lines) {
        lines.0.resize_with(self.devices.len(), Vec::new);
        for (device, line) in self.devices.iter().zip(&mut lines.0) {
            line.append(&mut Record::encode_both(asked, ended, device.key.as_deref()));
        }
    }

    /// Writes one record, as [`DeviceSet::write`] does.
    pub fn record(&self, record: &Record<'_>, taken: &mut Taken) -> Result<(), Error> {
        let mut lines = Lines::default();
        self.add(record, &mut lines);
        self.write(&lines, taken)
    }

    /// Writes records to all devices; one that takes them is enough, else it is [`Error::AuditRefused`]. Without any device
    /// there is nothing to do.
    pub fn write(&self, lines: &Lines, taken: &mut Taken) -> Result<(), Error> {
        self.flush(&self.hand_in(lines), taken)
    }

    /// As [`DeviceSet::write`], in one piece with the records of other requests that end now: a write costs as much for one
    /// record as for twenty.
    pub async fn write_together(&self, lines: &Lines, taken: &mut Taken) -> Result<(), Error> {
        let places = self.hand_in(lines);
        if !places.is_empty() {
            // Whatever else this thread has to do comes first.
            tokio::task::yield_now().await;
        }
        self.flush(&places, taken)
    }

    fn hand_in<'d>(&'d self, lines: &Lines) -> Vec<(&'d Device, Place)> {
        let devices = self.devices.iter().zip(&lines.0);
        devices
            .map(|(device, lines)| (device, device.file.hand_in(lines)))
            .collect()
    }

    fn flush(&self, places: &[(&Device, Place)], taken: &mut Taken) -> Result<(), Error> {
        let before = taken.0.len();
        for (device, place) in places {
            match device.file.flush(place) {
                Ok(mark) => taken.0.push((device.file.clone(), mark)),
                Err(error) => {
                    self.failures.inc();
                    tracing::error!(device = device.path, %error, "audit device refused a record");
                }
            }
        }
        if places.is_empty() || taken.0.len() > before {
            Ok(())
        } else {
            Err(Error::AuditRefused)
        }
    }

    /// Waits until one device, and every other that does not fail, keeps the records as durably as it is told to.
    pub async fn settle(&self, taken: Taken) -> Result<(), Error> {
        let mut kept = taken.0.is_empty();
        for (file, mark) in taken.0 {
            match file.settle(mark).await {
                Ok(()) => kept = true,
                Err(error) => {
                    self.failures.inc();
                    tracing::error!(file = ?file.options().file, %error, "audit records could not be synced");
                }
            }
        }
        if kept { Ok(()) } else { Err(Error::AuditRefused) }
    }

    /// Whether every device of `other` is one of these.
    pub fn covers(&self, other: &Self) -> bool {
        let has = |file| self.devices.iter().any(|device| Arc::ptr_eq(&device.file, file));
        other.devices.iter().all(|device| has(&device.file))
    }

    /// The keyed hash of `text` as the device at `path` writes it; `None` without such a device.
    pub fn hash(&self, path: &str, text: &str) -> Option<String> {
        let device = self.devices.iter().find(|device| device.path == path)?;
        Some(device.key.as_ref()?.hash(text.as_bytes()).to_string())
    }
}

impl Numbers {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let numbers = Self {
            devices: IntGauge::new(
                "conclave_audit_devices",
                "Audit devices that take records; with 0, requests pass unrecorded.",
            )?,
            failures: IntCounter::new(
                "conclave_audit_write_failures_total",
                "Records that an audit device did not take, or could not sync.",
            )?,
        };
        registry.register(Box::new(numbers.devices.clone()))?;
        registry.register(Box::new(numbers.failures.clone()))?;
        Ok(numbers)
    }

    fn set(&self, devices: Vec<Device>) -> Arc<DeviceSet> {
        self.devices.set(i64::try_from(devices.len()).unwrap_or(i64::MAX));
        Arc::new(DeviceSet {
            devices,
            failures: self.failures.clone(),
        })
    }
}
