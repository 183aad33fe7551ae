//! One call over as many attempts as its deadline allows: which node, how long, whether to go on. Knows no services.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Response, Status};

use super::endpoints::Endpoints;
use super::error::Verdict;
use super::link::Link;
use super::pace::Pauses;
use super::shown::Shown;
use super::{Conclave, Error};
use crate::entropy;

/// Pause after every node was asked in vain; doubles each time ...
const PAUSE: Duration = Duration::from_millis(25);
/// ... up to this.
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// How often a call may arrive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It changes nothing, or the same each time.
    Freely,
    /// It carries a key, by which the cluster does it once.
    ByKey,
    /// Nothing tells a repetition apart: it goes out again only if it was certainly not done.
    Never,
}

/// Limits of time.
#[derive(Clone, Copy)]
pub struct Limits {
    /// For a call with all its attempts.
    pub deadline: Duration,
    /// For one attempt.
    pub attempt: Duration,
}

/// What clients of one cluster share.
pub struct Calls {
    endpoints: Endpoints,
    limits: Limits,
}

impl Calls {
    /// Calls to `endpoints`.
    pub fn new(endpoints: Endpoints, limits: Limits) -> Self {
        Self { endpoints, limits }
    }
}

impl Conclave {
    /// Sends `message` by `send` until a node has answered or the time is over.
    pub(super) async fn call<M, R, F, A>(&self, repeat: Repeat, message: M, send: F) -> Result<R, Error>
    where
        M: Clone,
        F: Fn(Link, Request<M>) -> A,
        A: Future<Output = Result<Response<R>, Status>>,
    {
        self.exchange(repeat, message, send)
            .await
            .map(Response::into_inner)
    }

    /// The same, with what the answer says beside its message. All attempts show one token: the key of a repetition is
    /// known by it. Only if that token was certainly refused, and its session has another, the call begins anew with that.
    pub(super) async fn exchange<M, R, F, A>(
        &self,
        repeat: Repeat,
        message: M,
        send: F,
    ) -> Result<Response<R>, Error>
    where
        M: Clone,
        F: Fn(Link, Request<M>) -> A,
        A: Future<Output = Result<Response<R>, Status>>,
    {
        let deadline = Instant::now() + self.calls.limits.deadline;
        let token = self.token.current();
        let answered = self.attempts((repeat, deadline), &token, &message, &send).await;
        if answered.as_ref().err() != Some(&Error::Unauthenticated) {
            return answered;
        }
        match self.token.after(&token, deadline).await {
            Some(another) => self.attempts((repeat, deadline), &another, &message, &send).await,
            None => answered,
        }
    }

    async fn attempts<M, R, F, A>(
        &self,
        (repeat, deadline): (Repeat, Instant),
        token: &Shown,
        message: &M,
        send: &F,
    ) -> Result<Response<R>, Error>
    where
        M: Clone,
        F: Fn(Link, Request<M>) -> A,
        A: Future<Output = Result<Response<R>, Status>>,
    {
        let Calls { endpoints, limits } = &*self.calls;
        let key = key_for(repeat)?;
        let mut pauses = Pauses::new(PAUSE, MAX_PAUSE);
        let mut doubt = false;
        loop {
            let mut round = Vec::with_capacity(endpoints.len());
            let mut refusals = Refusals::default();
            while let Some((at, endpoint)) = endpoints.next(&mut round) {
                let left = deadline.saturating_duration_since(Instant::now());
                let limit = if repeat == Repeat::Never {
                    left
                } else {
                    left.min(limits.attempt)
                };
                let request = self.request(message.clone(), (token, key.as_ref()), limit);
                let attempt = async {
                    let link = endpoint.link().await.map_err(Verdict::unreached)?;
                    send(link, request).await.map_err(|status| Verdict::of(&status))
                };
                match timeout(limit, attempt)
                    .await
                    .unwrap_or_else(|_| Err(Verdict::late()))
                {
                    Ok(response) => {
                        endpoints.answered(at);
                        return Ok(response);
                    }
                    Err(Verdict::Final(error)) => {
                        endpoints.answered(at);
                        // A token that ended meanwhile says nothing of what an earlier attempt did with it.
                        return Err(match error {
                            Error::Unauthenticated if doubt => Error::OutcomeUnknown,
                            error => error,
                        });
                    }
                    Err(Verdict::Again {
                        error,
                        doubt: may_be_done,
                    }) => {
                        endpoint.failed();
                        doubt |= may_be_done && repeat != Repeat::Freely;
                        refusals.add(error);
                    }
                }
                if doubt && repeat == Repeat::Never {
                    return Err(Error::OutcomeUnknown);
                }
                if Instant::now() >= deadline {
                    return Err(refusals.end(doubt));
                }
            }
            let pause = pauses.next();
            if refusals.settled() || Instant::now() + pause >= deadline {
                return Err(refusals.end(doubt));
            }
            sleep(pause).await;
        }
    }

    fn request<M>(
        &self,
        message: M,
        (token, key): (&Shown, Option<&MetadataValue<Ascii>>),
        limit: Duration,
    ) -> Request<M> {
        let mut request = Request::new(message);
        request.set_timeout(limit);
        let metadata = request.metadata_mut();
        for (name, value) in [
            ("x-conclave-token", token.value()),
            ("x-conclave-namespace", self.namespace.as_ref()),
            ("x-conclave-wrap-ttl", self.wrap_ttl.as_ref()),
            ("idempotency-key", key),
        ] {
            if let Some(value) = value {
                metadata.insert(name, value.clone());
            }
        }
        request
    }
}

fn key_for(repeat: Repeat) -> Result<Option<MetadataValue<Ascii>>, Error> {
    if repeat != Repeat::ByKey {
        return Ok(None);
    }
    let key =
        entropy::key().map_err(|error| Error::Config(format!("no randomness from the system: {error}")))?;
    Ok(MetadataValue::try_from(key).ok())
}

/// What the nodes said in one round.
#[derive(Default)]
struct Refusals {
    last: Option<Error>,
    others: bool,
}

impl Refusals {
    fn add(&mut self, error: Error) {
        self.others |= self.last.as_ref().is_some_and(|last| *last != error);
        self.last = Some(error);
    }

    /// Whether waiting would not help: every node says that an operator must act.
    fn settled(&self) -> bool {
        !self.others && matches!(self.last, Some(Error::Sealed | Error::NotInitialized))
    }

    /// The call's error.
    fn end(self, doubt: bool) -> Error {
        if doubt {
            return Error::OutcomeUnknown;
        }
        self.last
            .unwrap_or_else(|| Error::Unavailable("no node was asked".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_round_of_one_kind_of_refusal_is_settled() {
        let refusals = |errors: &[Error]| {
            let mut refusals = Refusals::default();
            errors.iter().cloned().for_each(|error| refusals.add(error));
            refusals
        };
        let away = || Error::Unavailable("x".to_owned());
        assert!(refusals(&[Error::Sealed, Error::Sealed]).settled());
        assert!(refusals(&[Error::NotInitialized]).settled());
        assert!(!refusals(&[Error::Sealed, away()]).settled());
        assert!(!refusals(&[away(), Error::Sealed]).settled());
        assert!(!refusals(&[away()]).settled());
        assert_eq!(refusals(&[Error::Sealed]).end(true), Error::OutcomeUnknown);
    }
}
