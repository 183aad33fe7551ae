//! What nodes tell the leader: so many requests of one kind, by one identity, of one path, from one network.

use crate::Millis;
use crate::act::Act;
use crate::error::Error;
use crate::key::Key;
use crate::wire::{Reader, Writer};

/// Requests that are alike in all that rules look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fact {
    /// What they did.
    pub act: Act,
    /// Whose; 0 for nobody's. For a login that failed: the name that was tried.
    pub who: Key,
    /// Of which path; 0 if a busy node counted paths together.
    pub what: Key,
    /// From which network; 0 if that is not known.
    pub source: Key,
    /// By which token, the last of them; 0 for none.
    pub token: Key,
    /// Number of the namespace.
    pub namespace: u32,
    /// Number of the mount; 0 for none.
    pub mount: u32,
    /// How many requests.
    pub count: u32,
    /// Names that lists told.
    pub listed: u32,
    /// When the first of them was answered, on the cluster's clock.
    pub at: Millis,
}

impl Fact {
    /// One request of this kind; the rest is filled in by who knows it.
    pub fn new(act: Act, at: Millis) -> Self {
        Self {
            act,
            who: 0,
            what: 0,
            source: 0,
            token: 0,
            namespace: 0,
            mount: 0,
            count: 1,
            listed: 0,
            at,
        }
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.u8(self.act as u8);
        for key in [self.who, self.what, self.source, self.token, self.at] {
            out.u64(key);
        }
        for number in [self.namespace, self.mount, self.count, self.listed] {
            out.u32(number);
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let act = Act::from_number(reader.u8()?).ok_or(Error::Damaged("an unknown act"))?;
        let (who, what, source, token, at) = (
            reader.u64()?,
            reader.u64()?,
            reader.u64()?,
            reader.u64()?,
            reader.u64()?,
        );
        Ok(Self {
            act,
            who,
            what,
            source,
            token,
            at,
            namespace: reader.u32()?,
            mount: reader.u32()?,
            count: reader.u32()?,
            listed: reader.u32()?,
        })
    }
}
