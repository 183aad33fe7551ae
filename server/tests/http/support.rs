//! A server on a real socket with a scripted handler behind it, and a client that sends exactly the bytes it is given.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use conclave_core::{Body, Browsers, Envelope, Error, Health, Request, Response};
use conclave_server::Handler;
use conclave_server::http::{Service, Settings, Surroundings, listen};
use conclave_server::operations::HttpMetrics;
use conclave_server::tls::{Files, ServerTls, create_ca, create_cert};
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// No test waits longer than this for anything: a hang is a failure, not a stuck run.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Answers by path.
pub struct Script {
    /// `slow` waits for it.
    pub release: Notify,
    /// Told when `slow` begins.
    pub entered: Notify,
    /// Told when a `slow` request was done to its end.
    pub done: Notify,
    pub health: Health,
    pub browsers: Option<Arc<Browsers>>,
}

impl Handler for Script {
    fn admits<'h>(&'h self, request: &'h Request) -> BoxFuture<'h, Result<(), Error>> {
        Box::pin(async move {
            match &request.token {
                Some(_) => Ok(()),
                None => Err(Error::unauthenticated()),
            }
        })
    }

    fn handle(&self, request: Request) -> BoxFuture<'_, Result<Response, Error>> {
        Box::pin(async move {
            let body = match request.path.as_str() {
                "sys/storage/raft/snapshot" if request.upload.is_none() => return Err(Error::denied()),
                "echo" => Body::Envelope(Box::new(Envelope {
                    data: Some(echo(&request)),
                    ..Envelope::default()
                })),
                "empty" => Body::Empty,
                "sys/health" => Body::Health(self.health.clone()),
                "sys/metrics" if request.token.as_deref().map(String::as_str) == Some("root") => Body::Empty,
                "sys/metrics" => return Err(Error::unauthenticated()),
                "sys/storage/raft/snapshot" => {
                    let bytes = std::fs::read(request.upload.as_ref().unwrap()).unwrap();
                    let data = json!({"bytes": bytes.len()}).as_object().cloned();
                    Body::Envelope(Box::new(Envelope {
                        data,
                        ..Envelope::default()
                    }))
                }
                "slow" => {
                    self.entered.notify_one();
                    self.release.notified().await;
                    self.done.notify_one();
                    Body::Empty
                }
                "large" => Body::Raw {
                    status: 200,
                    content_type: "text/plain",
                    bytes: vec![b'x'; 64 << 20],
                },
                "mounts" => {
                    let data = json!({"secret/": {"type": "kv"}}).as_object().cloned();
                    Body::Envelope(Box::new(Envelope {
                        data,
                        at_top_level: true,
                        ..Envelope::default()
                    }))
                }
                "gone" => {
                    let data = json!({"data": null}).as_object().cloned();
                    Body::NotFound(Box::new(Envelope {
                        data,
                        ..Envelope::default()
                    }))
                }
                "error/denied" => return Err(Error::denied()),
                "error/unauthenticated" => return Err(Error::unauthenticated()),
                "error/sealed" => return Err(Error::Sealed),
                "error/contention" => return Err(Error::Contention),
                "error/operation" => return Err(Error::UnsupportedOperation),
                "error/notfound" => return Err(Error::NotFound { warnings: Vec::new() }),
                "error/warned" => {
                    return Err(Error::NotFound {
                        warnings: vec!["look elsewhere".to_owned()],
                    });
                }
                _ => return Err(Error::NoRoute(request.path.clone())),
            };
            Ok(Response {
                request_id: "id-1".to_owned(),
                revision: None,
                body,
            })
        })
    }

    fn browsers(&self) -> Option<Arc<Browsers>> {
        self.browsers.clone()
    }

    fn observe(&self) {}
}

fn echo(request: &Request) -> Map<String, Value> {
    let echo = json!({
        "verb": format!("{:?}", request.verb),
        "path": request.path,
        "namespace": request.namespace,
        "token": request.token.as_deref(),
        "data": request.data,
        "wrap_ttl": request.wrap_ttl,
        "remote": request.remote.map(|remote| remote.to_string()),
        "idempotency_key": request.idempotency_key,
    });
    echo.as_object().cloned().unwrap()
}

/// A running server. Stops when dropped.
pub struct Server {
    pub address: SocketAddr,
    pub script: Arc<Script>,
    pub seals: tokio::sync::watch::Sender<u64>,
    pub stop: CancellationToken,
    pub task: JoinHandle<()>,
    pub ca: Option<PathBuf>,
    _dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts one on a free port of 127.0.0.1.
pub async fn start(settings: Settings, tls: bool) -> Server {
    start_with(settings, tls, leader()).await
}

/// A node that leads.
pub fn leader() -> Health {
    let object = json!({"initialized": true, "sealed": false})
        .as_object()
        .cloned()
        .unwrap();
    Health {
        initialized: true,
        sealed: false,
        standby: false,
        has_leader: true,
        object,
    }
}

pub async fn start_with(settings: Settings, tls: bool, health: Health) -> Server {
    start_scripted(settings, tls, health, None).await
}

/// A node that has something to tell browsers.
pub async fn start_telling(browsers: Arc<Browsers>) -> Server {
    start_scripted(Settings::default(), false, leader(), Some(browsers)).await
}

async fn start_scripted(
    settings: Settings,
    tls: bool,
    health: Health,
    browsers: Option<Arc<Browsers>>,
) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let script = Arc::new(Script {
        release: Notify::new(),
        entered: Notify::new(),
        done: Notify::new(),
        health,
        browsers,
    });
    let tls = tls.then(|| {
        create_ca(dir.path()).unwrap();
        let issued = create_cert(dir.path(), dir.path(), "localhost", &[]).unwrap();
        ServerTls::load(Files {
            certificate: issued.certificate,
            key: issued.key,
            ..Files::default()
        })
        .unwrap()
    });
    let ca = tls.is_some().then(|| dir.path().join("ca.pem"));
    let listener = listen("127.0.0.1:0".parse().unwrap(), tls, settings).unwrap();
    let address = listener.address().unwrap();
    let seals = tokio::sync::watch::Sender::new(0);
    let service = Service::new(Surroundings {
        handler: Arc::clone(&script) as Arc<dyn Handler>,
        metrics: Arc::new(HttpMetrics::new(&prometheus::Registry::new(), false).unwrap()),
        grpc: None,
        scratch: dir.path().to_owned(),
        seals: seals.subscribe(),
        traces: Some(1),
    });
    let stop = CancellationToken::new();
    let task = tokio::spawn(listener.serve(service, stop.clone(), Duration::from_secs(10)));
    Server {
        address,
        script,
        seals,
        stop,
        task,
        ca,
        _dir: dir,
    }
}

/// Sends `bytes` on a new connection and reads to its end.
pub async fn exchange(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The server may answer and close before it has taken everything.
    let _ = stream.write_all(bytes).await;
    read_all(&mut stream).await
}

/// Reads until the server closes.
pub async fn read_all<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes));
    let _ = read.await.expect("the server closes in time");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads one answer with a content length from a connection that stays open.
pub async fn read_one<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut text = String::new();
    let read = async {
        loop {
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = length.map_or(0, |length| length.parse().unwrap());
                if body.len() >= length {
                    return;
                }
            }
            let mut piece = [0; 4096];
            let count = stream.read(&mut piece).await.unwrap();
            assert!(count > 0, "closed after {text:?}");
            text.push_str(std::str::from_utf8(&piece[..count]).unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("an answer in time");
    text
}

/// The status code of an answer; 0 if the connection was closed without one.
pub fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).map_or(0, |code| code.parse().unwrap())
}

/// The body of an answer.
pub fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// A GET of `target` on a connection that is then closed, with more header lines.
pub async fn get(server: &Server, target: &str, headers: &str) -> String {
    exchange(
        server,
        format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").as_bytes(),
    )
    .await
}

/// Sends a request with a body on a connection that is then closed.
pub async fn send(server: &Server, method: &str, target: &str, headers: &str, body: &[u8]) -> String {
    let mut bytes = format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    exchange(server, &bytes).await
}
