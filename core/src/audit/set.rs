//! The devices that take the records of one request, and what it takes for the request to go on: every device that must,
//! and at least one.

use std::sync::Arc;

use futures::future::join_all;
use prometheus::IntCounter;

use conclave_engine_api::Millis;

use crate::audit::chain::Tip;
use crate::audit::hashed::Hasher;
use crate::audit::journal::{Line, Ticket};
use crate::audit::record::Record;
use crate::audit::sink::Sink;
use crate::error::Error;

/// One device.
#[derive(Clone)]
pub struct Device {
    /// Its name, with trailing slash.
    pub path: String,
    /// Where its records go.
    pub sink: Arc<Sink>,
    /// With what values are hashed; `None` while the node is sealed.
    pub key: Option<Arc<Hasher>>,
}

/// The devices that take the records of one request.
pub struct DeviceSet {
    devices: Vec<Device>,
    failures: IntCounter,
}

/// The places of a request's records in the devices that took them.
#[derive(Default)]
pub struct Taken(Vec<Held>);

/// Records of one request in one device's queue, or beyond.
struct Held {
    sink: Arc<Sink>,
    ticket: Ticket,
}

impl Drop for Held {
    fn drop(&mut self) {
        // Whoever asked is gone: what was put into the queue is written all the same.
        if !self.ticket.is_done() {
            self.sink.write(&self.ticket).ok();
        }
    }
}

/// Records that wait to be written in one piece, as each device writes them.
#[derive(Default)]
pub struct Lines {
    devices: Vec<Vec<Line>>,
    now: Millis,
}

impl Lines {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }
}

impl DeviceSet {
    /// These devices.
    pub fn new(devices: Vec<Device>, failures: IntCounter) -> Self {
        Self { devices, failures }
    }

    /// Each of them.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// Whether there is no device.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// Adds a record to what is written next.
    pub fn add(&self, record: &Record<'_>, lines: &mut Lines) {
        lines.now = lines.now.max(record.now());
        lines.devices.resize_with(self.devices.len(), Vec::new);
        for (device, waiting) in self.devices.iter().zip(&mut lines.devices) {
            let text = record.encode(device.key.as_deref());
            waiting.push(Line::new(text, device.sink.is_chained()));
        }
    }

    /// Adds both records of a request.
    pub fn add_both(&self, asked: &Record<'_>, ended: &Record<'_>, lines: &mut Lines) {
        lines.now = lines.now.max(ended.now());
        lines.devices.resize_with(self.devices.len(), Vec::new);
        for (device, waiting) in self.devices.iter().zip(&mut lines.devices) {
            let mut first = Record::encode_both(asked, ended, device.key.as_deref());
            let end = first
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(first.len(), |at| at + 1);
            let second = first.split_off(end);
            let chained = device.sink.is_chained();
            waiting.extend([first, second].map(|text| Line::new(text, chained)));
        }
    }

    /// Writes one record, as [`DeviceSet::write`] does.
    pub fn record(&self, record: &Record<'_>, taken: &mut Taken) -> Result<(), Error> {
        let mut lines = Lines::default();
        self.add(record, &mut lines);
        self.write(lines, taken)
    }

    /// Writes records to all devices, at once. Each that must take them has to, and one at least, else it is
    /// [`Error::AuditRefused`]. Without any device there is nothing to do.
    pub fn write(&self, lines: Lines, taken: &mut Taken) -> Result<(), Error> {
        if lines.is_empty() {
            return Ok(());
        }
        let (mut any, mut all) = (false, true);
        for held in self.queue(lines) {
            if held.sink.write(&held.ticket).is_ok() {
                any = true;
                taken.0.push(held);
            } else {
                self.failures.inc();
                all &= !held.sink.options().must;
            }
        }
        if any && all {
            Ok(())
        } else {
            Err(Error::AuditRefused)
        }
    }

    /// Writes the last records of a request, together with those of others that end now, and waits as [`DeviceSet::settle`]
    /// does.
    pub async fn finish(&self, lines: Lines, mut taken: Taken) -> Result<(), Error> {
        if !lines.is_empty() {
            let queued = self.queue(lines);
            let pressed = queued.iter().any(|held| held.sink.is_pressed());
            taken.0.extend(queued);
            if !pressed {
                // Who is ready to run now comes before this goes on, and may leave its records for the same write.
                tokio::task::yield_now().await;
            }
        }
        self.settle(taken).await
    }

    /// Waits until the devices keep the records as durably as they are told to: each that must, and one at least.
    pub async fn settle(&self, taken: Taken) -> Result<(), Error> {
        let settled = match taken.0.as_slice() {
            [] => return Ok(()),
            [one] => vec![one.sink.settle(&one.ticket).await.is_ok()],
            many => {
                let settled = many.iter().map(|held| held.sink.settle(&held.ticket));
                join_all(settled).await.iter().map(Result::is_ok).collect()
            }
        };
        let (mut any, mut all) = (false, true);
        for (held, kept) in taken.0.iter().zip(settled) {
            any |= kept;
            if !kept {
                self.failures.inc();
                all &= !held.sink.options().must;
            }
        }
        if any && all {
            Ok(())
        } else {
            Err(Error::AuditRefused)
        }
    }

    /// Whether every device of `other` is one of these.
    pub fn covers(&self, other: &Self) -> bool {
        let has = |sink| self.devices.iter().any(|device| Arc::ptr_eq(&device.sink, sink));
        other.devices.iter().all(|device| has(&device.sink))
    }

    /// The keyed hash of `text` as the device at `path` writes it; `None` without such a device.
    pub fn hash(&self, path: &str, text: &str) -> Option<String> {
        let device = self.devices.iter().find(|device| device.path == path)?;
        Some(device.key.as_ref()?.hash(text.as_bytes()).to_string())
    }

    /// Ends of the chains of all devices that have one: device, chain, end.
    pub fn heads(&self) -> Vec<(String, String, Tip)> {
        let heads = self.devices.iter().filter_map(|device| {
            let (chain, tip) = device.sink.head()?;
            Some((device.path.clone(), chain.to_owned(), tip))
        });
        heads.collect()
    }

    fn queue(&self, lines: Lines) -> Vec<Held> {
        let now = lines.now;
        let each = self.devices.iter().zip(lines.devices);
        each.map(|(device, lines)| Held {
            sink: device.sink.clone(),
            ticket: device.sink.queue(lines, now),
        })
        .collect()
    }
}
