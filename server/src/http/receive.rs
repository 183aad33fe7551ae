//! Takes request bodies within their limits: too large is known before anything is kept, slow ones end.

use std::path::Path;
use std::sync::Arc;

use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use tokio::io::AsyncWriteExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::Settings;
use super::status::Refusal;

/// Bodies up to this size are bounded by the number of connections; above, memory is shared out in pieces of it.
pub const SMALL_BYTES: usize = 64 * 1024;
/// Most that is read of a body that nobody wants.
const MAX_UNWANTED_BYTES: usize = 1024 * 1024;
/// Largest upload: nothing longer could be restored.
const MAX_UPLOAD_BYTES: u64 = conclave_core::backup::MAX_FILE;

/// A body in memory, with its share of the memory for large ones. Wiped when dropped.
pub struct Received {
    bytes: Zeroizing<Vec<u8>>,
    share: Option<OwnedSemaphorePermit>,
}

impl std::ops::Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads the whole body.
pub async fn whole(
    body: &mut Incoming,
    settings: &Settings,
    memory: &Arc<Semaphore>,
) -> Result<Received, Refusal> {
    let hint = body.size_hint();
    if hint.lower() > settings.max_body {
        return Err(Refusal::BodyTooLarge);
    }
    let mut received = Received {
        bytes: Zeroizing::new(Vec::new()),
        share: None,
    };
    if body.is_end_stream() {
        return Ok(received);
    }
    if let Some(length) = hint.exact().and_then(|length| usize::try_from(length).ok()) {
        received.grow(length, memory)?;
        // Growing later would leave unwiped copies behind.
        received.bytes.reserve_exact(length);
    }
    let all = async {
        while let Some(piece) = piece(body, settings).await? {
            let length = received.bytes.len().saturating_add(piece.len());
            if length as u64 > settings.max_body {
                return Err(Refusal::BodyTooLarge);
            }
            received.grow(length, memory)?;
            received.bytes.extend_from_slice(&piece);
        }
        Ok(())
    };
    timeout(settings.timeouts.request, all)
        .await
        .map_err(|_| Refusal::TooSlow)??;
    Ok(received)
}

impl Received {
    /// Takes as much of the shared memory as a body of `length` needs.
    fn grow(&mut self, length: usize, memory: &Arc<Semaphore>) -> Result<(), Refusal> {
        let held = self.share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more =
            u32::try_from((length / SMALL_BYTES).saturating_sub(held)).map_err(|_| Refusal::BodyTooLarge)?;
        if more == 0 {
            return Ok(());
        }
        let permit = Arc::clone(memory)
            .try_acquire_many_owned(more)
            .map_err(|_| Refusal::Busy)?;
        match &mut self.share {
            Some(share) => share.merge(permit),
            None => self.share = Some(permit),
        }
        Ok(())
    }
}

/// Writes the body into a new file that only we may read.
pub async fn into_file(body: &mut Incoming, settings: &Settings, path: &Path) -> Result<(), Refusal> {
    if body.size_hint().lower() > MAX_UPLOAD_BYTES {
        return Err(Refusal::BodyTooLarge);
    }
    let mut options = tokio::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .await?;
    let mut length = 0u64;
    while let Some(piece) = piece(body, settings).await? {
        length = length.saturating_add(piece.len() as u64);
        if length > MAX_UPLOAD_BYTES {
            return Err(Refusal::BodyTooLarge);
        }
        file.write_all(&piece).await?;
    }
    file.flush().await?;
    Ok(())
}

/// Reads what is left of a body that nobody wants, up to a bound. Over HTTP/2 clients take an answer that comes before
/// their body is read for a broken stream.
pub async fn rest(mut body: Incoming, settings: &Settings) {
    let mut left = MAX_UNWANTED_BYTES;
    let read = async {
        while let Ok(Some(piece)) = piece(&mut body, settings).await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                break;
            }
        }
    };
    // Whether it ended in time makes no difference to the answer.
    let _ = timeout(settings.timeouts.body, read).await;
}

async fn piece(body: &mut Incoming, settings: &Settings) -> Result<Option<Bytes>, Refusal> {
    loop {
        let frame = timeout(settings.timeouts.body, body.frame())
            .await
            .map_err(|_| Refusal::TooSlow)?;
        match frame {
            None => return Ok(None),
            Some(Ok(frame)) => {
                // Trailers carry nothing we read.
                if let Ok(piece) = frame.into_data() {
                    return Ok(Some(piece));
                }
            }
            Some(Err(_)) => {
                return Err(Refusal::Ambiguous(
                    "the request body is malformed or was cut short",
                ));
            }
        }
    }
}
