//! Counts of a node's audit devices. Nothing in a label is an operator's word: no device's name, no target.

use std::sync::Arc;

use prometheus::{IntCounter, IntGauge, Registry};

use crate::audit::set::{Device, DeviceSet};
use crate::audit::sink::State;

/// Counts of this node.
pub struct Numbers {
    devices: IntGauge,
    failing: IntGauge,
    spooled: IntGauge,
    filled: IntGauge,
    failures: IntCounter,
    /// Records that were handed on to targets.
    pub sent: IntCounter,
}

impl Numbers {
    /// Registers them.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let numbers = Self {
            devices: IntGauge::new(
                "conclave_audit_devices",
                "Audit devices that take records; with 0, requests pass unrecorded.",
            )?,
            failing: IntGauge::new(
                "conclave_audit_devices_failing",
                "Audit devices that refuse records, do not hand them on, or whose spool is nearly full.",
            )?,
            spooled: IntGauge::new(
                "conclave_audit_spool_bytes",
                "Audit records that wait in spools to be handed on.",
            )?,
            filled: IntGauge::new(
                "conclave_audit_spool_filled_percent",
                "How full the fullest spool is; at 100 its device refuses records.",
            )?,
            failures: IntCounter::new(
                "conclave_audit_write_failures_total",
                "Records that an audit device did not take, or could not sync.",
            )?,
            sent: IntCounter::new(
                "conclave_audit_sent_records_total",
                "Audit records that targets took from spools.",
            )?,
        };
        for gauge in [
            &numbers.devices,
            &numbers.failing,
            &numbers.spooled,
            &numbers.filled,
        ] {
            registry.register(Box::new(gauge.clone()))?;
        }
        registry.register(Box::new(numbers.failures.clone()))?;
        registry.register(Box::new(numbers.sent.clone()))?;
        Ok(numbers)
    }

    /// A set that counts here.
    pub fn set(&self, devices: Vec<Device>) -> Arc<DeviceSet> {
        Arc::new(DeviceSet::new(devices, self.failures.clone()))
    }

    /// Takes over how devices are.
    pub fn observe(&self, states: &[(String, State)]) {
        self.devices.set(whole(states.len() as u64));
        let failing = states.iter().filter(|(_, state)| state.trouble.is_some());
        self.failing.set(whole(failing.count() as u64));
        let spools = || states.iter().filter_map(|(_, state)| state.spool);
        self.spooled
            .set(whole(spools().map(|(waiting, _)| waiting).sum()));
        let filled = spools().map(|(waiting, room)| waiting.saturating_mul(100) / room.max(1));
        self.filled.set(whole(filled.max().unwrap_or(0)));
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
