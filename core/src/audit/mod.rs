//! Audit devices: who asked for what, and what was answered. A request is answered only after a device took its record.
//! Values are keyed hashes unless the schema lists them; the schema is an allow list.

mod file;
mod record;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::catalog::AuditRecord;
use crate::error::Error;

use file::FileDevice;
pub use record::{Head, Record};

/// The devices of one node.
pub struct Devices {
    directories: Vec<PathBuf>,
    /// Epoch of the configuration the open devices were made from.
    epoch: AtomicU64,
    open: ArcSwap<Vec<Arc<FileDevice>>>,
    opening: Mutex<()>,
}

impl Devices {
    /// No device yet; files may be made in these directories only.
    pub fn new(directories: Vec<PathBuf>) -> Self {
        Self {
            directories,
            epoch: AtomicU64::new(0),
            open: ArcSwap::default(),
            opening: Mutex::new(()),
        }
    }

    /// Opens and closes devices so that they are those of the configuration. A device that cannot be opened stays in the
    /// list and refuses every record.
    pub fn follow(&self, epoch: u64, wanted: &BTreeMap<String, AuditRecord>) {
        if self.epoch.load(Ordering::Acquire) >= epoch {
            return;
        }
        let _alone = self.opening.lock();
        if self.epoch.load(Ordering::Acquire) >= epoch {
            return;
        }
        let known = self.open.load_full();
        let devices = wanted.values().map(|record| {
            let same = known.iter().find(|device| device.record() == record).cloned();
            same.unwrap_or_else(|| Arc::new(FileDevice::open(record.clone(), &self.directories)))
        });
        let devices = devices.collect::<Vec<_>>();
        self.open.store(Arc::new(devices));
        self.epoch.store(epoch, Ordering::Release);
    }

    /// Whether no device is configured: then requests pass unrecorded, as in Vault.
    pub fn is_empty(&self) -> bool {
        self.open.load().is_empty()
    }

    /// Writes a record to all devices; one that takes it is enough, else it is [`Error::AuditRefused`].
    pub fn write(&self, record: &Record<'_>) -> Result<(), Error> {
        let mut taken = false;
        for device in self.open.load().iter() {
            match device.write(record) {
                Ok(()) => taken = true,
                Err(error) => {
                    tracing::error!(device = device.record().path, %error, "audit device refused a record")
                }
            }
        }
        if taken { Ok(()) } else { Err(Error::AuditRefused) }
    }

    /// Checks that a device could be opened here, before it is configured.
    pub fn probe(&self, record: &AuditRecord) -> Result<(), Error> {
        FileDevice::open(record.clone(), &self.directories).check()
    }
}
