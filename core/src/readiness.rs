//! What a supervisor asks: can this node serve right now? The numbers that are read rather than counted. And what a node
//! does when it is told to read its files again.

use crate::audit::Declared;
use crate::core::Core;
use crate::error::Error;
use crate::leases::Tried;

impl Core {
    /// Whether requests can be served here; otherwise why not, as one line.
    pub fn readiness(&self) -> Result<(), &'static str> {
        let Ok(replica) = self.seal.replica() else {
            return Err("not initialized\n");
        };
        if self.divergence.check().is_err() {
            return Err("its state differs from the other members'\n");
        }
        if self.seal.is_sealed() {
            return Err("sealed\n");
        }
        let status = replica.status();
        let led = status.borrow().leader.is_some();
        if led { Ok(()) } else { Err("no leader\n") }
    }

    /// Brings the gauges up to date before they are read.
    pub fn observe(&self) {
        let status = self
            .seal
            .replica()
            .map(|replica| replica.status().borrow().clone());
        let (given, _) = self.share_progress();
        let keys = self.seal.session().and_then(|session| session.data_keys());
        self.metrics.keyring(keys.unwrap_or_default());
        self.metrics.ready(self.readiness().is_ok());
        if let Ok(replica) = self.seal.replica() {
            self.metrics.worked(replica.work());
            let leads = replica.status().borrow().is_leader;
            let failing = |what| if leads { self.outside.failing(what) } else { 0 };
            self.metrics.overdue(failing(Tried::Rotation));
            self.metrics.expiry_stuck(failing(Tried::End));
        }
        if let Some(free) = self.room.free() {
            self.metrics.room(free, self.room.is_low());
        }
        self.audit.observe();
        self.metrics
            .observe(self.seal.is_sealed(), given, status.ok().as_ref());
    }

    /// Opens every audit file again under its name, for whoever moved it away.
    pub fn reopen_audit_files(&self) {
        self.audit.reopen();
    }

    /// Takes over the audit devices that the configuration of this node declares now.
    ///
    /// # Errors
    /// An option that is refused: then everything stays.
    pub fn declare_audit_devices(&self, declared: &[Declared]) -> Result<(), Error> {
        self.audit.declare(declared)
    }
}
