//! A TCP relay before a server, whose link can be made to fail in each of the ways links fail.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the link does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Its work.
    Pass,
    /// Requests arrive, answers are lost.
    LoseAnswers,
    /// Nothing arrives and nothing is refused: the host lost its power.
    Hole,
    /// Connections are closed and refused: the process was killed.
    Dead,
}

/// A relay. Ends when dropped.
pub struct Relay {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
}

impl Relay {
    /// A relay to the server at this URL.
    pub async fn to(url: &str) -> Self {
        let server: SocketAddr = url.split_once("://").unwrap().1.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, modes) = watch::channel(Mode::Pass);
        tokio::spawn(accept(listener, server, modes));
        Self { address, mode }
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes the link behave so from now on.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, mut modes: watch::Receiver<Mode>) {
    loop {
        let accepted = tokio::select! {
            over = dead(&mut modes) => return over,
            accepted = listener.accept() => accepted,
        };
        let client = accepted.unwrap().0;
        tokio::spawn(relay(client, server, modes.clone()));
    }
}

/// Returns once the relay is dead or dropped.
async fn dead(modes: &mut watch::Receiver<Mode>) {
    let _ = modes.wait_for(|mode| *mode == Mode::Dead).await;
}

async fn relay(client: TcpStream, server: SocketAddr, modes: watch::Receiver<Mode>) {
    let server = TcpStream::connect(server).await.unwrap();
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    // Whichever direction ends first ends the connection.
    tokio::select! {
        () = pump(from_client, to_server, modes.clone(), false) => {}
        () = pump(from_server, to_client, modes, true) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut modes: watch::Receiver<Mode>,
    answers: bool,
) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let mode = *modes.borrow_and_update();
        if mode == Mode::Dead {
            return;
        }
        if mode == Mode::Hole {
            if modes.changed().await.is_err() {
                return;
            }
            continue;
        }
        let read = tokio::select! {
            changed = modes.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            read = from.read(&mut bytes) => read,
        };
        let Ok(count @ 1..) = read else { return };
        if answers && mode == Mode::LoseAnswers {
            continue;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
