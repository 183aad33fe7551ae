//! Who must show a second factor because a rule found something: tokens of the entity are refused unless one was shown for them
//! since, and so are logins, until somebody lifts it. As stored, and ready to be asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use conclave_anomaly::{Finding, Subject};
use conclave_engine_api::{Millis, Page};
use conclave_raft::Replica;

use crate::anomaly::identity::entity_of;
use crate::anomaly::respond::{Came, responded};
use crate::catalog::{Catalog, decode_record, encode_record};
use crate::core::Core;
use crate::error::Error;
use crate::identity;
use crate::session::Session;
use crate::store::{CommitError, Opened, commit};
use crate::tokens::Caller;
use crate::work::{Readers, Work};

/// Where it is stored who is held, by the entity's id.
pub const HOLDS: &str = "anomaly/hold/";
/// Most of them; whoever would be one more is locked.
const MAX_HOLDS: usize = 1000;
/// Tries of a change that keeps losing to others.
const TRIES: u32 = 8;
/// Why a token is refused.
const HELD: &str = "multi-factor check required: log in again and show a second factor";

/// Somebody who is held, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldRecord {
    /// The entity.
    pub entity: String,
    /// Whom it is about, as people read it.
    pub subject: String,
    /// Second factors shown before this do not count.
    pub since: Millis,
    /// The rule that found something, ...
    pub rule: String,
    /// ... and the event that tells of it.
    pub event: String,
}

/// All of them, ready to be asked.
#[derive(Debug, Default)]
pub struct Holds {
    /// As stored, by entity.
    pub records: BTreeMap<String, HoldRecord>,
}

impl Holds {
    /// Reads those of a view.
    ///
    /// # Errors
    /// The store's own.
    pub fn load(opened: &Opened) -> Result<Self, Error> {
        let config = opened.space(crate::catalog::CONFIG);
        let mut holds = Self::default();
        for entity in config.names(HOLDS, &Page::default())? {
            if let Some(row) = config.row(&format!("{HOLDS}{entity}"))? {
                holds.records.insert(entity, decode_record(&row.value)?);
            }
        }
        Ok(holds)
    }

    /// Whether an entity is held.
    pub fn of(&self, entity: &str) -> Option<&HoldRecord> {
        self.records.get(entity)
    }

    /// Refuses a token of somebody who is held, unless a second factor was shown for it since.
    ///
    /// # Errors
    /// [`Error::SecondFactor`].
    pub fn check(&self, caller: &Caller) -> Result<(), Error> {
        if self.records.is_empty() {
            return Ok(());
        }
        // Of one that was merged into another, both count.
        let held = self
            .of(caller.entity())
            .or_else(|| self.of(&caller.record.entity));
        match held {
            Some(held) if caller.record.factor < held.since => Err(Error::SecondFactor(HELD.to_owned())),
            _ => Ok(()),
        }
    }
}

/// What came of one try.
enum Tried {
    /// It is held.
    Held,
    /// It has no second factor, or too many are held already: it is disabled.
    Locked,
    /// There was nothing to do.
    Nothing(&'static str),
}

impl Core {
    /// Holds whom a finding is about. Who has no second factor to show is locked; without an entity the token is revoked.
    pub(super) async fn require_factor(
        &self,
        session: &Arc<Session>,
        replica: &dyn Replica,
        (finding, event, told): (&Finding, &str, &str),
    ) -> Result<Came, Error> {
        let Some(entity) = entity_of(&finding.name).filter(|_| finding.subject == Subject::Identity) else {
            if finding.subject != Subject::Identity {
                return Ok(Came::Nothing("no identity stands behind it"));
            }
            let came = self.revoke_token_of(session, replica, finding, told).await?;
            return Ok(match came {
                Came::Done(_) => Came::Done("revoked the token: no entity stands behind it".to_owned()),
                nothing => nothing,
            });
        };
        for _ in 0..TRIES {
            let (opened, derived) = session.view(replica.read().await?)?;
            let asked_in = derived.catalog.of(finding.namespace)?;
            let Some(catalog) = identity::home_of(&opened, &asked_in, entity)? else {
                return Ok(Came::Nothing("the entity is gone"));
            };
            let record = HoldRecord {
                entity: entity.to_owned(),
                subject: finding.name.clone(),
                since: replica.now(),
                rule: finding.kind.name().to_owned(),
                event: event.to_owned(),
            };
            let (proposal, noted, tried) = {
                let readers = Readers::within(&opened, catalog.namespace().number);
                let mut work = Work::new(&readers, &catalog);
                let tried = hold(&mut work, &catalog, &record)?;
                if let Tried::Nothing(why) = tried {
                    return Ok(Came::Nothing(why));
                }
                let act = responded(told, Some(("entity_id", entity)));
                let noted = self.note(&opened, replica, vec![act])?;
                noted.add_to(&mut work.draft);
                (work.finish()?, noted, tried)
            };
            match commit(replica, proposal).await {
                Ok(_) => {
                    self.record_noted(noted).await;
                    return Ok(Came::Done(match tried {
                        Tried::Held => "holds the entity until it shows a second factor".to_owned(),
                        _ => "disabled the entity: it has no second factor to show".to_owned(),
                    }));
                }
                Err(CommitError::Failed(error)) => return Err(error),
                Err(CommitError::Retry | CommitError::Refused) => {}
            }
        }
        Err(Error::Contention)
    }
}

fn hold(work: &mut Work<'_>, catalog: &Catalog, record: &HoldRecord) -> Result<Tried, Error> {
    let held = &catalog.watched.holds;
    let can_show = identity::has_factor(work, &record.entity)?;
    if !can_show || (held.of(&record.entity).is_none() && held.records.len() >= MAX_HOLDS) {
        return Ok(match identity::disable(work, &record.entity, record.since)? {
            true => Tried::Locked,
            false => Tried::Nothing("the entity is disabled already, or gone"),
        });
    }
    let row = format!("{HOLDS}{}", record.entity);
    work.cluster.get(&row)?;
    work.cluster.put(&row, encode_record(record)?)?;
    Ok(Tried::Held)
}

/// Lets an entity go; whether it was held.
///
/// # Errors
/// The store's own.
pub fn release(work: &mut Work<'_>, entity: &str) -> Result<bool, Error> {
    let row = format!("{HOLDS}{entity}");
    let held = work.cluster.get(&row)?.is_some();
    if held {
        work.cluster.delete(&row)?;
    }
    Ok(held)
}
