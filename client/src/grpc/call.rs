//! One call over as many attempts as its deadline allows: which node, how long, whether to go on. Knows no services.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
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
        let mut refusals = Refusals::default();
        loop {
            let mut round = Vec::with_capacity(endpoints.len());
            refusals.next_round();
            while let Some((at, endpoint)) = endpoints.next(&mut round) {
                let left = deadline.saturating_duration_since(Instant::now());
                let limit = if repeat == Repeat::Never {
                    left
                } else {
                    left.min(limits.attempt)
                };
                let request = self.request(message.clone(), (token, key.as_ref()), limit);
                let sent = AtomicBool::new(false);
                let attempt = async {
                    let link = endpoint.link().await.map_err(Verdict::unreached)?;
                    sent.store(true, Ordering::Relaxed);
                    send(link, request).await.map_err(|status| Verdict::of(&status))
                };
                let answered = timeout(limit, attempt).await;
                match answered.unwrap_or_else(|_| Err(Verdict::late(sent.into_inner()))) {
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
                    Err(Verdict::CutShort) => {
                        endpoint.failed();
                        refusals.cut_short();
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

/// What the nodes said: the last of it, and whether those of this round agree.
#[derive(Default)]
struct Refusals {
    last: Option<Error>,
    any: bool,
    others: bool,
}

impl Refusals {
    fn next_round(&mut self) {
        (self.any, self.others) = (false, false);
    }

    fn add(&mut self, error: Error) {
        self.others |= self.any && self.last.as_ref().is_some_and(|last| *last != error);
        self.any = true;
        self.last = Some(error);
    }

    /// A node was not reached in the time there was: what was heard before says more.
    fn cut_short(&mut self) {
        self.others = true;
        self.last
            .get_or_insert_with(|| Error::Unavailable("no connection in time".to_owned()));
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
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

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

    /// A node that answers the first connection with nonsense, and those after it with nothing.
    async fn nonsense_then_silence() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut first, _) = listener.accept().await.unwrap();
            first.write_all(b"this is not TLS").await.unwrap();
            let mut held = vec![first];
            while let Ok((stream, _)) = listener.accept().await {
                held.push(stream);
            }
        });
        url
    }

    #[tokio::test]
    async fn a_call_whose_time_ends_while_it_connects_was_not_done_and_tells_what_it_heard_before() {
        // Shorter than a connection may take, or that would say by itself that it took too long.
        let conclave = Conclave::connect([nonsense_then_silence().await])
            .danger_accept_any_certificate(true)
            .deadline(Duration::from_millis(1_800));
        let kv = conclave.build().unwrap().kv("secret");
        let refused = kv.put("a", &serde_json::json!({})).await.err();
        let Some(Error::Unavailable(text)) = refused else {
            panic!("{refused:?}")
        };
        assert!(text.contains("TLS: "), "{text}");
    }
}
