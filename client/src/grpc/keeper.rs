//! A credential that is kept alive: its lease is renewed while it may be, and another credential is read when it may not. The
//! application hears of each through a watch channel. Knows no engine.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::logical::Answer;
use super::pace::{Pauses, is_near_its_end, two_thirds};
use super::secret::SecretData;
use super::{Conclave, Error};

/// Pauses after failures.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// What a path hands out, kept alive. Dropped, it leaves the lease to its time; [`Keeper::end`] revokes it.
pub struct Keeper {
    cluster: Conclave,
    leased: watch::Receiver<Arc<Leased>>,
    standing: watch::Receiver<Standing>,
    task: JoinHandle<()>,
}

/// What was handed out.
pub struct Leased {
    /// The credential.
    pub data: SecretData,
    /// Names its lease; empty if it has none.
    pub lease_id: String,
    /// How long it lived when it was handed out; zero for ever.
    pub life: Duration,
    /// Counts credentials, from 1.
    pub number: u64,
    renewable: bool,
}

/// How the credential at hand stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// Which credential this is about.
    pub number: u64,
    /// Counts its renewals.
    pub renewals: u64,
    /// When it ends unless it is renewed; `None`: never.
    pub ends: Option<Instant>,
    /// Why the last attempt to renew it, or to read another, failed; another follows by itself.
    pub trouble: Option<Error>,
}

impl Conclave {
    /// Reads a path that hands out a credential, for example `database/creds/app`, and keeps what it answers alive: renewed
    /// after two thirds of its life, and read anew when it cannot be renewed, or only by less than half. The credential before
    /// is left to its time, so that whoever still uses it has a third of its life to take the next.
    ///
    /// # Errors
    /// As [`super::Logical::read`], for the first read; later ones are tried again, and [`Keeper::standing`] tells.
    pub async fn keep(&self, path: &str) -> Result<Keeper, Error> {
        let leased = Arc::new(Leased::new(self.logical().read(path).await?, 1));
        let life = Life::new(&leased);
        let (hand_out, receiver) = watch::channel(Arc::clone(&leased));
        let (tell, standing) = watch::channel(life.standing(&leased));
        let work = Work {
            cluster: self.clone(),
            path: path.to_owned(),
            leased,
            life,
            hand_out,
            tell,
        };
        Ok(Keeper {
            cluster: self.clone(),
            leased: receiver,
            standing,
            task: tokio::spawn(work.run()),
        })
    }
}

impl Keeper {
    /// The credential, and each that takes its place.
    #[must_use]
    pub fn leased(&self) -> watch::Receiver<Arc<Leased>> {
        self.leased.clone()
    }

    /// How it stands, and each change of that.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Revokes the credential at hand and keeps no other.
    ///
    /// # Errors
    /// As [`super::Leases::revoke`]: it ends with its time at the latest.
    pub async fn end(self) -> Result<(), Error> {
        self.task.abort();
        let leased = Arc::clone(&self.leased.borrow());
        if leased.lease_id.is_empty() {
            return Ok(());
        }
        self.cluster.leases().revoke(&leased.lease_id, false).await
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Leased {
    fn new(answer: Answer, number: u64) -> Self {
        Self {
            data: answer.data,
            renewable: answer.renewable && !answer.lease_id.is_empty(),
            lease_id: answer.lease_id,
            life: answer.lease_duration,
            number,
        }
    }
}

/// The time that the credential at hand has.
struct Life {
    renewable: bool,
    renewals: u64,
    /// When to do something about it; `None`: never.
    due: Option<Instant>,
    ends: Option<Instant>,
}

impl Life {
    fn new(leased: &Leased) -> Self {
        let mut life = Self {
            renewable: leased.renewable,
            renewals: 0,
            due: None,
            ends: None,
        };
        life.goes_on(leased.life);
        life
    }

    fn goes_on(&mut self, for_another: Duration) {
        let now = Instant::now();
        let ends = !for_another.is_zero();
        self.due = ends.then(|| now + two_thirds(for_another));
        self.ends = ends.then(|| now + for_another);
    }

    fn standing(&self, leased: &Leased) -> Standing {
        Standing {
            number: leased.number,
            renewals: self.renewals,
            ends: self.ends,
            trouble: None,
        }
    }
}

struct Work {
    cluster: Conclave,
    path: String,
    leased: Arc<Leased>,
    life: Life,
    hand_out: watch::Sender<Arc<Leased>>,
    tell: watch::Sender<Standing>,
}

impl Work {
    /// Ends with what never ends.
    async fn run(mut self) {
        while let Some(due) = self.life.due {
            sleep_until(due).await;
            if !(self.life.renewable && self.renewed().await) {
                self.read().await;
            }
        }
        // The application goes on listening to what it has.
        std::future::pending::<()>().await;
    }

    /// Renews the lease, as long as it lives; whether it goes on living.
    async fn renewed(&mut self) -> bool {
        let mut pauses = Pauses::new(PAUSES.0, PAUSES.1);
        loop {
            let (id, life) = (&self.leased.lease_id, self.leased.life);
            match self.cluster.leases().renew(id, life).await {
                Ok(given) => {
                    self.life.renewable = !is_near_its_end(life, given);
                    self.life.renewals += 1;
                    self.life.goes_on(given);
                    self.tell.send_replace(self.life.standing(&self.leased));
                    return !given.is_zero();
                }
                Err(error) if error.is_passing() => self.admit(error),
                Err(error) => {
                    self.admit(error);
                    return false;
                }
            }
            let pause = pauses.next();
            if self.life.ends.is_some_and(|ends| Instant::now() + pause >= ends) {
                return false;
            }
            sleep(pause).await;
        }
    }

    /// Reads another credential, however long that takes.
    async fn read(&mut self) {
        let mut pauses = Pauses::new(PAUSES.0, PAUSES.1);
        loop {
            match self.cluster.logical().read(&self.path).await {
                Ok(answer) => {
                    self.leased = Arc::new(Leased::new(answer, self.leased.number + 1));
                    self.life = Life::new(&self.leased);
                    self.hand_out.send_replace(Arc::clone(&self.leased));
                    self.tell.send_replace(self.life.standing(&self.leased));
                    return;
                }
                Err(error) => self.admit(error),
            }
            sleep(pauses.next()).await;
        }
    }

    fn admit(&self, error: Error) {
        self.tell.send_modify(|told| told.trouble = Some(error));
    }
}
