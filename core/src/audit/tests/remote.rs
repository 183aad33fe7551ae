//! Devices whose records go elsewhere, with a target that hangs, refuses, forgets and comes back.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Map, json};

use super::super::courier::{Courier, Couriers};
use super::super::options::DeviceOptions;
use super::super::record::{Head, Record};
use super::super::set::{Device, DeviceSet, Lines, Taken};
use super::super::sink::{Sink, Surroundings};
use super::super::target::Target;
use super::super::verify::{Place, Verifier};
use crate::error::Error;

/// Does not answer at all.
const HANGS: u8 = 0;
/// Takes everything.
const TAKES: u8 = 1;
/// Takes one batch and says it did not.
const FORGETS: u8 = 2;

/// A target in this process.
#[derive(Default)]
struct Played {
    mood: AtomicU8,
    taken: Mutex<Vec<Vec<u8>>>,
}

struct Way(Arc<Played>);

impl Couriers for Arc<Played> {
    fn connect<'a>(&'a self, _: &'a Target) -> BoxFuture<'a, io::Result<Box<dyn Courier>>> {
        async {
            if self.mood.load(Ordering::SeqCst) == HANGS {
                std::future::pending::<()>().await;
            }
            let way: Box<dyn Courier> = Box::new(Way(self.clone()));
            Ok(way)
        }
        .boxed()
    }
}

impl Courier for Way {
    fn send<'a>(&'a mut self, lines: &'a [&'a [u8]]) -> BoxFuture<'a, io::Result<()>> {
        async {
            let lines = lines.iter().map(|line| line.to_vec());
            self.0.taken.lock().extend(lines);
            let forgets = self
                .0
                .mood
                .compare_exchange(FORGETS, TAKES, Ordering::SeqCst, Ordering::SeqCst);
            match forgets {
                Ok(_) => Err(io::Error::other("the target forgot that it took these")),
                Err(_) => Ok(()),
            }
        }
        .boxed()
    }
}

fn around(dir: &tempfile::TempDir, played: &Arc<Played>) -> Surroundings {
    Surroundings {
        directories: Arc::from([dir.path().to_owned()]),
        targets: Vec::new(),
        node: "n1".to_owned(),
        couriers: Arc::new(played.clone()),
        sent: prometheus::IntCounter::new("sent", "of this test").unwrap(),
    }
}

fn device(path: &str, kind: &str, options: &[(&str, &str)], around: &Surroundings) -> Device {
    let options = options
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    let options = DeviceOptions::read(kind, &options.collect()).unwrap();
    let sink = Sink::new((path, None), options, around).unwrap();
    sink.start(around);
    Device {
        path: path.to_owned(),
        sink,
        key: None,
    }
}

/// A target that takes nothing for long, by way of a spool that holds little.
fn small(policy: &str) -> [(&str, &str); 4] {
    [
        ("address", "127.0.0.1:1"),
        ("write_timeout", "50ms"),
        ("spool_bytes", "1048576"),
        ("policy", policy),
    ]
}

fn set(devices: Vec<Device>) -> DeviceSet {
    DeviceSet::new(
        devices,
        prometheus::IntCounter::new("failed", "of this test").unwrap(),
    )
}

/// A request's two records, as a pipeline writes those of a read.
async fn request(set: &DeviceSet, path: &str) -> Result<(), Error> {
    let (data, told) = (Map::new(), json!({"filler": "x".repeat(2000)}));
    let head = Head::step("r", 0, path, None);
    let answer = crate::routes::Answer::default();
    let mut lines = Lines::default();
    set.add(&Record::request(head, &data), &mut lines);
    let response = Record::response(head, &data, Ok(&answer)).telling(told.as_object().unwrap());
    set.add(&response, &mut lines);
    set.finish(lines, Taken::default()).await
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        // why: the condition is asked for again; what is waited for runs on another task.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

/// Every record that was taken is there, once or more, in its place.
fn assert_whole(played: &Played, records: u64) {
    let mut verifier = Verifier::new([], true);
    for (at, line) in played.taken.lock().iter().enumerate() {
        let place = Place {
            file: "target".to_owned(),
            line: at as u64 + 1,
        };
        verifier.line(place, line);
    }
    let report = verifier.finish();
    assert_eq!(report.faults, []);
    let chain = report.chains.values().next().unwrap();
    assert_eq!((chain.first, chain.last), (1, records));
}

#[tokio::test]
async fn a_device_that_should_stalls_nobody_and_one_that_must_fails_closed() {
    let dir = tempfile::tempdir().unwrap();
    let played = Arc::new(Played::default());
    let around = around(&dir, &played);
    let path = dir.path().join("audit.log");
    let file = device("file/", "file", &[("file_path", path.to_str().unwrap())], &around);
    let should = device("should/", "socket", &small("should"), &around);
    let both = set(vec![file.clone(), should.clone()]);
    // Far more than the spool holds: all of it is answered, for the file has it.
    for at in 0..600 {
        request(&both, &format!("secret/{at}")).await.unwrap();
    }
    let lines = std::fs::read_to_string(&path).unwrap().lines().count();
    assert_eq!(lines, 1201, "an opening and two records each");
    let state = should.sink.state();
    assert!(state.trouble.is_some(), "{state:?}");
    let (waiting, room) = state.spool.unwrap();
    assert!(waiting <= room && waiting > room / 2, "{waiting} of {room}");
    // Alone it is what must take the record.
    let alone = set(vec![should]);
    assert!(matches!(
        request(&alone, "secret/x").await,
        Err(Error::AuditRefused)
    ));

    let must = device("must/", "socket", &small("must"), &around);
    let both = set(vec![file, must.clone()]);
    let mut good = 0;
    while request(&both, "secret/y").await.is_ok() {
        good += 1;
        assert!(good < 600, "a full spool refuses nobody");
    }
    assert!(good > 100, "{good} before the spool was full");
    // Somebody takes them again: what waited goes, and more is taken.
    played.mood.store(TAKES, Ordering::SeqCst);
    until("the spools are empty", || must.sink.state().spool.unwrap().0 == 0).await;
    request(&both, "secret/z").await.unwrap();
    until("all is sent", || must.sink.state().spool.unwrap().0 == 0).await;
    assert_eq!(must.sink.state().trouble, None);
}

#[tokio::test]
async fn what_a_target_forgot_is_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let played = Arc::new(Played::default());
    let around = around(&dir, &played);
    let target = device(
        "t/",
        "http",
        &[("uri", "http://127.0.0.1:1/in"), ("write_timeout", "50ms")],
        &around,
    );
    let set = set(vec![target.clone()]);
    for at in 0..50 {
        request(&set, &format!("secret/{at}")).await.unwrap();
    }
    played.mood.store(FORGETS, Ordering::SeqCst);
    until("all is sent", || target.sink.state().spool.unwrap().0 == 0).await;
    assert!(played.taken.lock().len() > 101, "some of it twice");
    assert_whole(&played, 101);
    drop(set);
    drop(target);
    // The next process goes on with the chain and sends nothing again.
    let target = device(
        "t/",
        "http",
        &[("uri", "http://127.0.0.1:1/in"), ("write_timeout", "50ms")],
        &around,
    );
    let sent = played.taken.lock().len();
    request(&self::set(vec![target.clone()]), "secret/more")
        .await
        .unwrap();
    until("the rest is sent", || played.taken.lock().len() == sent + 3).await;
    assert_whole(&played, 104);
}

fn read(kind: &str, options: &[(&str, &str)]) -> Result<DeviceOptions, Error> {
    let options = options
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    DeviceOptions::read(kind, &options.collect())
}

#[test]
fn targets_are_named_as_they_are_allowed() {
    let name = |kind: &str, options: &[(&str, &str)]| match read(kind, options).unwrap().output {
        super::super::options::Output::Remote(remote) => remote.target.to_string(),
        super::super::options::Output::File(_) => panic!("a file"),
    };
    assert_eq!(name("socket", &[("address", "h:9")]), "tcp://h:9");
    assert_eq!(
        name("socket", &[("address", "/run/s"), ("socket_type", "unix")]),
        "unix:/run/s"
    );
    assert_eq!(name("syslog", &[]), "unix:/dev/log");
    assert_eq!(
        name(
            "syslog",
            &[("address", "tls://[::1]:6514"), ("facility", "local0")]
        ),
        "tls://[::1]:6514"
    );
    let headers = [
        ("uri", "https://h/in?x=1"),
        ("headers", "{\"Authorization\":[\"Bearer s3cret\"]}"),
    ];
    assert_eq!(name("http", &headers), "https://h:443/in?x=1");
    assert!(!format!("{:?}", read("http", &headers).unwrap()).contains("s3cret"));
    let allowed = |entry: &str, options: &[(&str, &str)]| match read("http", options).unwrap().output {
        super::super::options::Output::Remote(remote) => remote.target.is_allowed(&[entry.to_owned()]),
        super::super::options::Output::File(_) => false,
    };
    let siem = [("uri", "https://siem/in/conclave")];
    assert!(allowed("*", &siem) && allowed("https://siem:443/in/conclave", &siem));
    assert!(allowed("https://siem:443/in/", &siem) && !allowed("https://siem:443/in", &siem));
    assert!(!allowed("https://siem:443/", &[("uri", "https://siem.evil/")]));
}

#[test]
fn wrong_targets_are_refused_by_the_name_of_the_option() {
    for (kind, options, said) in [
        ("socket", vec![], "host and a port"),
        (
            "socket",
            vec![("address", "h:9"), ("socket_type", "udp")],
            "lost unseen",
        ),
        (
            "socket",
            vec![("address", "s"), ("socket_type", "unix")],
            "absolute path",
        ),
        (
            "socket",
            vec![("address", "h:9"), ("write_timeout", "0")],
            "write_timeout",
        ),
        (
            "socket",
            vec![("address", "h:9"), ("file_path", "/x")],
            "\"file_path\"",
        ),
        ("syslog", vec![("facility", "NOBODY")], "no syslog facility"),
        ("syslog", vec![("tag", "a b")], "printable"),
        ("syslog", vec![("address", "udp://h:514")], "tcp://HOST:PORT"),
        ("syslog", vec![("ca_cert", "x")], "speaks TLS"),
        ("http", vec![("uri", "ftp://h/")], "https://HOST"),
        ("http", vec![("uri", "https://u:p@h/")], "no password"),
        ("http", vec![("uri", "http://h/\r\nX: y")], "https://HOST"),
        (
            "http",
            vec![("uri", "http://h/"), ("headers", "{\"A\":[\"b\\r\\nC: d\"]}")],
            "JSON object",
        ),
    ] {
        let error = read(kind, &options).unwrap_err().to_string();
        assert!(error.contains(said), "{options:?}: {error}");
    }
}
