//! What holds for every call before its service sees it: a time limit, memory for large messages, and a precise answer to
//! messages beyond the limit. Knows bytes and headers, no service.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tonic::Status;
use tower::{Layer, Service};

use super::status;

/// Longest a call may take, its message included; as HTTP's requests.
const LIMIT: Duration = Duration::from_secs(90);
/// Messages up to this size are bounded by the number of streams; above, memory is shared out in pieces of it.
const PIECE_BYTES: usize = 64 * 1024;
/// Bytes that all larger messages together may hold.
const MAX_HELD_BYTES: usize = 256 * 1024 * 1024;

/// Puts the gate before services.
#[derive(Clone)]
pub struct Gate {
    memory: Arc<Semaphore>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            memory: Arc::new(Semaphore::new(MAX_HELD_BYTES / PIECE_BYTES)),
        }
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated {
            inner,
            memory: Arc::clone(&self.memory),
        }
    }
}

/// Services behind the gate.
#[derive(Clone)]
pub struct Gated<S> {
    inner: S,
    memory: Arc<Semaphore>,
}

impl<S, B, R> Service<Request<B>> for Gated<S>
where
    S: Service<Request<Metered<B>>, Response = Response<R>>,
    S::Future: Send + 'static,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<R>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let limit = asked_limit(request.headers()).map_or(LIMIT, |asked| asked.min(LIMIT));
        let held = Held::default();
        let mut request = request.map(|inner| Metered {
            inner,
            seen: 0,
            held: held.clone(),
            memory: Arc::clone(&self.memory),
        });
        // What the message holds, it holds until the call is answered.
        request.extensions_mut().insert(held);
        let answering = self.inner.call(request);
        Box::pin(async move {
            match timeout(limit, answering).await {
                Ok(answered) => answered.map(precise),
                Err(_) => Ok(status::overdue().into_http()),
            }
        })
    }
}

/// Answers a message beyond the limit as this API says it.
fn precise<R: Default>(response: Response<R>) -> Response<R> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status::is_over_limit(&status) => status::too_large().into_http(),
        _ => response,
    }
}

/// The caller's own limit, `grpc-timeout`: up to eight digits and a unit. Others are ignored, as absent.
fn asked_limit(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number.saturating_mul(3600))),
        "M" => Some(Duration::from_secs(number.saturating_mul(60))),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// A call's share of the memory for large messages.
#[derive(Clone, Default)]
struct Held(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

/// A message on its way in.
pub struct Metered<B> {
    inner: B,
    seen: usize,
    held: Held,
    memory: Arc<Semaphore>,
}

impl<B> Metered<B> {
    /// Takes as much of the shared memory as what was seen needs.
    fn grow(&mut self, more: usize) -> Result<(), Status> {
        self.seen = self.seen.saturating_add(more);
        if self.seen < PIECE_BYTES {
            return Ok(());
        }
        let mut held = self.held.0.lock();
        let has = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let wants =
            u32::try_from((self.seen / PIECE_BYTES).saturating_sub(has)).map_err(|_| status::busy())?;
        if wants == 0 {
            return Ok(());
        }
        let permit = Arc::clone(&self.memory)
            .try_acquire_many_owned(wants)
            .map_err(|_| status::busy())?;
        match &mut *held {
            Some(held) => held.merge(permit),
            None => *held = Some(permit),
        }
        Ok(())
    }
}

impl<B> Body for Metered<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        Poll::Ready(match frame {
            None => None,
            Some(Err(error)) => Some(Err(error.into())),
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                Some(self.grow(length).map(|()| frame).map_err(Into::into))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_grpc_writes_them() {
        let rows = [
            ("5S", Some(5_000_000_000)),
            ("1500m", Some(1_500_000_000)),
            ("2M", Some(120_000_000_000)),
            ("1H", Some(3_600_000_000_000)),
            ("10u", Some(10_000)),
            ("99999999n", Some(99_999_999)),
            ("100000000n", None),
            ("S", None),
            ("", None),
            ("5", None),
            ("-5S", None),
            ("5s", None),
            ("5é", None),
        ];
        for (text, nanos) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(
                "grpc-timeout",
                http::HeaderValue::from_bytes(text.as_bytes()).unwrap(),
            );
            assert_eq!(
                asked_limit(&headers).map(|limit| limit.as_nanos()),
                nanos,
                "{text}"
            );
        }
    }

    #[test]
    fn large_messages_share_what_memory_there_is_and_give_it_back() {
        let memory = Arc::new(Semaphore::new(2));
        let message = || Metered {
            inner: (),
            seen: 0,
            held: Held::default(),
            memory: Arc::clone(&memory),
        };
        let (mut small, mut first, mut second) = (message(), message(), message());
        small.grow(PIECE_BYTES - 1).unwrap();
        first.grow(PIECE_BYTES).unwrap();
        first.grow(PIECE_BYTES).unwrap();
        assert!(second.grow(PIECE_BYTES).is_err());
        small.grow(0).unwrap();
        drop(first);
        second.grow(PIECE_BYTES).unwrap();
        assert_eq!(
            memory.available_permits(),
            0,
            "two pieces were seen of the second"
        );
    }
}
