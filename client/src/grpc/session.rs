//! A session: a login whose token is renewed while it may be, and replaced by another login when it may not. Knows nothing
//! of what the token is used for.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::builder::token_value;
use super::login::Login;
use super::pace::{Pauses, is_near_its_end, two_thirds};
use super::shown::{Door, Shown};
use super::{Conclave, Error, Token};

/// Pauses while the cluster cannot be reached.
const AWAY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// Pauses after a login that was refused: a name is locked after a few of them.
const REFUSED: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(300));

/// A login that is kept alive. Clients made from it show its token, whichever it is at the time. Dropped, it leaves the token
/// to its time; [`Session::sign_out`] ends it.
pub struct Session {
    conclave: Conclave,
    standing: watch::Receiver<SignedIn>,
    task: JoinHandle<()>,
}

/// How a session stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignedIn {
    /// Names the token without giving its power.
    pub accessor: String,
    /// Counts logins, from 1.
    pub logins: u64,
    /// Counts renewals of this token.
    pub renewals: u64,
    /// When the token ends unless it is renewed; `None`: never.
    pub ends: Option<Instant>,
    /// Why the last attempt to renew it, or to log in again, failed; another follows by itself.
    pub trouble: Option<Error>,
}

impl Conclave {
    /// Logs in and keeps the token alive: it is renewed after two thirds of its life, and another login takes its place when
    /// it cannot be, or when the cluster says that it is none any more. What this client's own token is does not matter.
    ///
    /// # Errors
    /// As [`Conclave::login`], for the first login; later ones are tried again, and [`Session::standing`] tells.
    pub async fn sign_in(&self, login: Login) -> Result<Session, Error> {
        let stranger = Self {
            token: Door::Fixed(None),
            ..self.clone()
        };
        let token = stranger.login(&login).await?;
        let (show, current) = watch::channel(Shown::new(token_value(token.token.expose())?, 1));
        let (refused, refusals) = mpsc::channel(1);
        let conclave = Self {
            token: Door::Session { current, refused },
            ..self.clone()
        };
        let held = Held::new(&token);
        let (tell, standing) = watch::channel(SignedIn {
            accessor: token.accessor,
            logins: 1,
            renewals: 0,
            ends: held.ends,
            trouble: None,
        });
        let keeper = Keeper {
            stranger,
            login,
            held,
            show,
            tell,
            refusals,
        };
        Ok(Session {
            conclave,
            standing,
            task: tokio::spawn(keeper.run()),
        })
    }
}

impl Session {
    /// The cluster seen with the session's token. Clones follow the session as long as it lives.
    #[must_use]
    pub fn conclave(&self) -> Conclave {
        self.conclave.clone()
    }

    /// How the session stands, and each change of that.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<SignedIn> {
        self.standing.clone()
    }

    /// Ends the session and its token.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] if the answer was lost: the token ends with its time at the latest.
    pub async fn sign_out(self) -> Result<(), Error> {
        self.task.abort();
        self.conclave.tokens().revoke(None).await
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The life of the token at hand.
struct Held {
    /// As it was handed out: what renewals ask for.
    life: Duration,
    renewable: bool,
    /// When to do something about it; `None`: never.
    due: Option<Instant>,
    ends: Option<Instant>,
}

impl Held {
    fn new(token: &Token) -> Self {
        let mut held = Self {
            life: token.ttl,
            renewable: token.renewable,
            due: None,
            ends: None,
        };
        held.lives(token.ttl);
        held
    }

    fn lives(&mut self, life: Duration) {
        let now = Instant::now();
        let ends = !life.is_zero();
        self.due = ends.then(|| now + two_thirds(life));
        self.ends = ends.then(|| now + life);
    }
}

struct Keeper {
    /// The cluster seen without a token.
    stranger: Conclave,
    login: Login,
    held: Held,
    show: watch::Sender<Shown>,
    tell: watch::Sender<SignedIn>,
    refusals: mpsc::Receiver<u64>,
}

impl Keeper {
    async fn run(mut self) {
        loop {
            let due = self.held.due;
            let renew = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                refused = self.refusals.recv() => match refused {
                    Some(number) if number == self.show.borrow().number() => self.log_in().await,
                    // Said of a token that was replaced meanwhile.
                    Some(_) => {}
                    // Nobody holds a client of the session any more.
                    None => return,
                },
                () = renew => {
                    if !(self.held.renewable && self.renewed().await) {
                        self.log_in().await;
                    }
                }
            }
        }
    }

    /// Renews the token, as long as its life lasts; whether it goes on living.
    async fn renewed(&mut self) -> bool {
        let mut pauses = Pauses::new(AWAY.0, AWAY.1);
        loop {
            let holder = Conclave {
                token: Door::Fixed(self.show.borrow().value().cloned()),
                ..self.stranger.clone()
            };
            match holder.tokens().renew(None, self.held.life).await {
                Ok(renewed) => {
                    self.held.renewable = !is_near_its_end(self.held.life, renewed.ttl);
                    self.held.lives(renewed.ttl);
                    let ends = self.held.ends;
                    self.tell.send_modify(|told| {
                        told.renewals += 1;
                        told.ends = ends;
                        told.trouble = None;
                    });
                    return true;
                }
                Err(error) if error.is_passing() => self.admit(error),
                Err(error) => {
                    self.admit(error);
                    return false;
                }
            }
            let pause = pauses.next();
            if self.held.ends.is_some_and(|ends| Instant::now() + pause >= ends) {
                return false;
            }
            sleep(pause).await;
        }
    }

    /// Logs in again, however long that takes.
    async fn log_in(&mut self) {
        let mut away = Pauses::new(AWAY.0, AWAY.1);
        let mut refused = Pauses::new(REFUSED.0, REFUSED.1);
        loop {
            let logged_in = self.stranger.login(&self.login).await;
            let error = match logged_in {
                Ok(token) => match token_value(token.token.expose()) {
                    Ok(value) => return self.take(&token, value),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            let pause = if error.is_passing() {
                away.next()
            } else {
                self.show.send_modify(Shown::follows_none);
                refused.next()
            };
            self.admit(error);
            sleep(pause).await;
        }
    }

    fn take(&mut self, token: &Token, value: tonic::metadata::MetadataValue<tonic::metadata::Ascii>) {
        self.held = Held::new(token);
        let number = self.show.borrow().number() + 1;
        self.show.send_replace(Shown::new(value, number));
        self.tell.send_replace(SignedIn {
            accessor: token.accessor.clone(),
            logins: number,
            renewals: 0,
            ends: self.held.ends,
            trouble: None,
        });
    }

    fn admit(&self, error: Error) {
        self.tell.send_modify(|told| told.trouble = Some(error));
    }
}
