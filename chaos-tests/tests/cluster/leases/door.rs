//! A way to a target that keeps back what begins to make an account, as a socket's buffer does while nobody reads it: it arrives
//! when it is let go, whoever waited for it meanwhile.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// Everything passes.
    Open,
    /// The first that makes an account is kept back.
    Armed,
    /// It is.
    Holds,
    /// It was let go, and has arrived, or nobody is there for it any more.
    Passed,
}

/// A way to a port of this machine.
pub struct Door {
    pub port: u16,
    state: watch::Sender<State>,
    task: JoinHandle<()>,
}

impl Door {
    /// Opens one; what holds `makes` makes an account.
    pub async fn before(port: u16, makes: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (state, _) = watch::channel(State::Open);
        let own = listener.local_addr().expect("an address").port();
        let passed = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((outer, _)) = listener.accept().await {
                let Ok(inner) = TcpStream::connect(("127.0.0.1", port)).await else {
                    continue;
                };
                let (from, to) = outer.into_split();
                let (answers, asks) = inner.into_split();
                tokio::spawn(carry(from, asks, Some((passed.clone(), makes))));
                tokio::spawn(carry(answers, to, None));
            }
        });
        Self {
            port: own,
            state,
            task,
        }
    }

    /// Keeps back what next begins to make an account.
    pub fn arm(&self) {
        self.state.send_replace(State::Armed);
    }

    /// Whether it keeps something back.
    pub fn holds(&self) -> bool {
        *self.state.borrow() == State::Holds
    }

    /// Lets it go.
    pub fn open(&self) {
        self.state.send_replace(State::Open);
    }

    /// Whether what it kept back is where it was to be, or cannot get there.
    pub fn passed(&self) -> bool {
        *self.state.borrow() == State::Passed
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Carries bytes until one side ends.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    keeps: Option<(watch::Sender<State>, &'static [u8])>,
) {
    let mut bytes = vec![0; 64 * 1024];
    let mut kept = false;
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let part = &bytes[..count];
        if let Some((state, makes)) = &keeps
            && part.windows(makes.len()).any(|part| part == *makes)
            && state.send_if_modified(|state| {
                let armed = *state == State::Armed;
                if armed {
                    *state = State::Holds;
                }
                armed
            })
        {
            let _ = state.subscribe().wait_for(|state| *state == State::Open).await;
            kept = true;
        }
        let written = to.write_all(part).await;
        if let (true, Some((state, _))) = (std::mem::take(&mut kept), &keeps) {
            state.send_replace(State::Passed);
        }
        if written.is_err() {
            return;
        }
    }
}
