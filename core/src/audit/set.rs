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
    /// Whether some devices pass over records.
    filtered: bool,
    failures: IntCounter,
}

/// The places of a request's records in the devices that took them, one entry for each time something was written: one
/// device must have it, each time.
#[derive(Default)]
pub struct Taken(Vec<Vec<Held>>);

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
    /// Whether there is a record that every device passed over.
    unheard: bool,
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
        let filtered = |device: &Device| {
            let options = device.sink.options();
            options.filter.is_some() || options.fallback
        };
        Self {
            filtered: devices.iter().any(filtered),
            devices,
            failures,
        }
    }

    /// Each of them.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// Whether there is no device.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// Whether each of them hashes values; while the node is sealed none does, and values are left out.
    pub fn has_keys(&self) -> bool {
        self.devices.iter().all(|device| device.key.is_some())
    }

    /// Whether records may go to some devices only.
    pub fn is_filtered(&self) -> bool {
        self.filtered
    }

    /// Adds a record to what is written next.
    pub fn add(&self, record: &Record<'_>, lines: &mut Lines) {
        for (device, waiting) in self.takers(record, lines) {
            let text = record.encode(device.key.as_deref());
            waiting.push(Line::new(text, device.sink.is_chained()));
        }
    }

    /// Adds both records of a request.
    pub fn add_both(&self, asked: &Record<'_>, ended: &Record<'_>, lines: &mut Lines) {
        for (device, waiting) in self.takers(ended, lines) {
            let both = Record::encode_both(asked, ended, device.key.as_deref());
            let chained = device.sink.is_chained();
            waiting.extend(both.map(|text| Line::new(text, chained)));
        }
    }

    /// The devices that take a record, and where its lines wait. Both records of a request have the same.
    fn takers<'l>(
        &'l self,
        record: &Record<'_>,
        lines: &'l mut Lines,
    ) -> impl Iterator<Item = (&'l Device, &'l mut Vec<Line>)> {
        lines.now = lines.now.max(record.now());
        lines.devices.resize_with(self.devices.len(), Vec::new);
        let take = self.filtered.then(|| self.taking(record));
        lines.unheard |= take.as_ref().is_some_and(|take| !take.contains(&true));
        let each = self.devices.iter().zip(&mut lines.devices).enumerate();
        each.filter_map(move |(at, taker)| {
            let takes = take.as_ref().is_none_or(|take| take.get(at) == Some(&true));
            takes.then_some(taker)
        })
    }

    /// For each device whether it takes a record: by its filter, and as the fallback if no other does.
    fn taking(&self, record: &Record<'_>) -> Vec<bool> {
        let subject = record.subject();
        let by_filter = self.devices.iter().map(|device| {
            let options = device.sink.options();
            let mut filter = options.filter.iter();
            !options.fallback && filter.all(|filter| filter.takes(&subject))
        });
        let by_filter: Vec<bool> = by_filter.collect();
        if by_filter.contains(&true) {
            return by_filter;
        }
        let fallbacks = self.devices.iter().map(|device| device.sink.options().fallback);
        fallbacks.collect()
    }

    /// Writes one record, as [`DeviceSet::write`] does.
    pub fn record(&self, record: &Record<'_>, taken: &mut Taken) -> Result<(), Error> {
        let mut lines = Lines::default();
        self.add(record, &mut lines);
        self.write(lines, taken)
    }

    /// Writes records to the devices that take them, at once. Each that must take them has to, and one at least, else it is
    /// [`Error::AuditRefused`]. Without any device there is nothing to do.
    pub fn write(&self, lines: Lines, taken: &mut Taken) -> Result<(), Error> {
        let queued = self.queue(lines)?;
        self.flush(queued, taken, |_| false)
    }

    /// Writes the last records of a request, together with those of others that end now, and waits as [`DeviceSet::settle`]
    /// does.
    pub async fn finish(&self, lines: Lines, mut taken: Taken) -> Result<(), Error> {
        let queued = self.queue(lines)?;
        let unsynced = || queued.iter().filter(|held| !held.sink.options().sync);
        if unsynced().next().is_some() && !unsynced().any(|held| held.sink.is_pressed()) {
            // Who is ready to run now comes before this goes on, and may leave its records for the same write.
            tokio::task::yield_now().await;
        }
        // What is synced is written by whoever syncs for all.
        self.flush(queued, &mut taken, |held| held.sink.options().sync)?;
        self.settle(taken).await
    }

    /// Waits until the devices keep the records as durably as they are told to: each that must, and one at least.
    pub async fn settle(&self, taken: Taken) -> Result<(), Error> {
        for written in taken.0 {
            let settled = match written.as_slice() {
                [one] => vec![one.sink.settle(&one.ticket).await.is_ok()],
                many => {
                    let settled = many.iter().map(|held| held.sink.settle(&held.ticket));
                    join_all(settled).await.iter().map(Result::is_ok).collect()
                }
            };
            self.judge(written.iter().zip(settled))?;
        }
        Ok(())
    }

    /// Writes what is in queues, but for what is left to [`DeviceSet::settle`].
    fn flush(&self, queued: Vec<Held>, taken: &mut Taken, left: impl Fn(&Held) -> bool) -> Result<(), Error> {
        if queued.is_empty() {
            return Ok(());
        }
        let written: Vec<bool> = queued
            .iter()
            .map(|held| left(held) || held.sink.write(&held.ticket).is_ok())
            .collect();
        let judged = self.judge(queued.iter().zip(written.iter().copied()));
        let kept = queued.into_iter().zip(written).filter(|(_, written)| *written);
        taken.0.push(kept.map(|(held, _)| held).collect());
        judged
    }

    /// Whether every device that must took something, and one at least.
    fn judge<'h>(&self, took: impl Iterator<Item = (&'h Held, bool)>) -> Result<(), Error> {
        let (mut any, mut all) = (false, true);
        for (held, took) in took {
            any |= took;
            if !took {
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

    fn queue(&self, lines: Lines) -> Result<Vec<Held>, Error> {
        if lines.unheard {
            return Err(Error::AuditRefused);
        }
        let now = lines.now;
        let each = self.devices.iter().zip(lines.devices);
        let queued = each.filter(|(_, lines)| !lines.is_empty());
        let queued = queued.map(|(device, lines)| Held {
            sink: device.sink.clone(),
            ticket: device.sink.queue(lines, now),
        });
        Ok(queued.collect())
    }
}
