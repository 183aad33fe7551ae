//! Servers that answer nonsense, too much, or nothing: an error within the bounds, never a panic.

use std::time::Duration;

use conclave_engine_api::{Done, Driver};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::{Action, Scene};

/// How long a plan may take here.
const SHORT: Duration = Duration::from_millis(800);

/// A server that says this to whoever comes, `times` times, and then listens.
async fn saying(what: Vec<u8>, times: usize) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let what = what.clone();
            tokio::spawn(async move {
                for _ in 0..times {
                    if stream.write_all(&what).await.is_err() {
                        return;
                    }
                }
                let mut heard = [0; 4096];
                while stream.read(&mut heard).await.is_ok_and(|read| read > 0) {}
            });
        }
    });
    port
}

/// A server that hears a request, says this, and closes, for whoever comes: a client of HTTP takes nothing for an answer that it
/// did not ask for.
async fn answering(what: Vec<u8>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let what = what.clone();
            tokio::spawn(async move {
                let mut heard = [0; 4096];
                if stream.read(&mut heard).await.is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(&what).await;
                }
            });
        }
    });
    port
}

/// A packet of MySQL.
fn packet(number: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    let mut packet = length[..3].to_vec();
    packet.push(number);
    packet.extend(body);
    packet
}

/// The greeting of a server of this version.
fn greeting(plugin: &str) -> Vec<u8> {
    let mut body = vec![10];
    body.extend(b"10.11.0-MariaDB\0\x01\0\0\0AAAAAAAA\0\xff\xf7\x2d\x02\0\xff\x81\x15");
    body.extend([0; 10]);
    body.extend(b"BBBBBBBBBBBB\0");
    body.extend(plugin.as_bytes());
    body.push(0);
    body
}

async fn fails(driver: Driver, what: Vec<u8>, times: usize) {
    let shown = String::from_utf8_lossy(&what[..what.len().min(60)]).into_owned();
    let port = saying(what, times).await;
    fails_at(Action::Check, driver, port, &shown).await;
}

/// A plan for the server at this port.
async fn fails_at(action: Action, driver: Driver, port: u16, shown: &str) {
    let url = match driver {
        Driver::Redis => format!("redis://u:hunter2@127.0.0.1:{port}"),
        Driver::RabbitMq => {
            format!(r#"{{"uri":"http://127.0.0.1:{port}","username":"u","password":"hunter2"}}"#)
        }
        Driver::Kubernetes => format!(r#"{{"host":"http://127.0.0.1:{port}","token":"hunter2"}}"#),
        Driver::Postgresql => format!("postgresql://u:hunter2@127.0.0.1:{port}/db?sslmode=disable"),
        _ => format!("u:hunter2@tcp(127.0.0.1:{port})/"),
    };
    let scene = Scene::new(driver, &url);
    let done = scene.act(action, "conclave/1/1/x", SHORT).await;
    let failure = done.expect_err(shown);
    assert!(!failure.text.contains("hunter2"), "{failure}");
    assert!(failure.text.len() < 100_000, "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_from_a_mysql_server() {
    let greeting = greeting("mysql_native_password");
    let switch = |plugin: &[u8]| {
        [
            packet(0, &greeting),
            packet(2, &[b"\xfe", plugin, b"\0AAAAAAAAAAAAAAAAAAAA\0"].concat()),
        ]
        .concat()
    };
    for what in [
        Vec::new(),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        packet(0, &[]),
        packet(0, &[9, 0]),
        packet(0, &[10]),
        packet(0, &greeting[..20]),
        packet(7, &greeting),
        packet(0, &[0xff]),
        packet(0, b"\xff\x15\x04#28000Access denied for hunter"),
        [packet(0, &greeting), packet(2, &[])].concat(),
        [packet(0, &greeting), packet(2, &[0xfe])].concat(),
        [packet(0, &greeting), packet(2, &[0xff, 1])].concat(),
        [packet(0, &greeting), packet(2, &[1, 4])].concat(),
        switch(b"mysql_clear_password"),
        switch(b"mysql_old_password"),
        switch(b"caching_sha2_password"),
        switch(b"client_ed25519"),
        switch(b"dialog"),
        [
            switch(b"mysql_native_password"),
            packet(4, b"\xfemysql_native_password\0AAAA"),
        ]
        .concat(),
        // Logged in, and then the wish to be sent a file of ours, and rows without end.
        [
            packet(0, &greeting),
            packet(2, &[0, 0, 0, 2, 0, 0, 0]),
            packet(1, b"\xfb/etc/passwd"),
        ]
        .concat(),
        [
            packet(0, &greeting),
            packet(2, &[0, 0, 0, 2, 0, 0, 0]),
            packet(1, &[250]),
        ]
        .concat(),
        vec![0xff; 1 << 16],
    ] {
        fails(Driver::Mysql, what, 1).await;
    }
    fails(Driver::Mysql, packet(0, &greeting), 100_000).await;
}

/// A message of PostgreSQL.
fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag][..], &length, body].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_from_a_postgresql_server() {
    let asks = |how: u32, rest: &[u8]| message(b'R', &[&how.to_be_bytes(), rest].concat());
    let (let_in, ready) = (asks(0, b""), message(b'Z', b"I"));
    let after_login = |what: &[u8]| [&let_in[..], &ready, what].concat();
    for what in [
        Vec::new(),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        message(b'R', b""),
        b"R\0\0\0\0".to_vec(),
        b"R\xff\xff\xff\xff".to_vec(),
        asks(77, b""),
        // For the password as it is, for a digest, and by what no server asks for.
        asks(5, b"x"),
        asks(10, b"NO-SUCH-MECHANISM\0\0"),
        asks(10, b"SCRAM-SHA-256"),
        [asks(10, b"SCRAM-SHA-256\0\0"), asks(11, b"r=,s=,i=0")].concat(),
        [asks(10, b"SCRAM-SHA-256\0\0"), asks(11, b"r=x,s=AAAA,i=4096")].concat(),
        [asks(10, b"SCRAM-SHA-256\0\0"), asks(12, b"v=AAAA")].concat(),
        message(b'E', b""),
        message(b'E', b"SFATAL\0C28P01\0Mno\0\0"),
        message(b'E', b"SFATAL\0C28P01\0M\xff\xfe\0\0"),
        message(b'E', b"SFATAL"),
        message(b'K', b"\0"),
        message(b'S', b"\xff\0\xff\0"),
        let_in.clone(),
        after_login(b"garbage"),
        after_login(&message(b'T', &[0xff; 20])),
        after_login(&message(b'D', &[0, 1, 0xff, 0xff, 0xff, 0xfe])),
        after_login(&message(b'E', b"C\0\0")),
        after_login(&message(b'C', b"")),
        after_login(&message(b'G', b"")),
        after_login(&message(b'Z', b"")),
        vec![0xff; 1 << 16],
    ] {
        fails(Driver::Postgresql, what, 1).await;
    }
    fails(Driver::Postgresql, message(b'N', b"\0"), 1_000_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_from_a_redis_server() {
    for what in [
        &b""[..],
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"-WRONGPASS no\r\n",
        b"-\r\n",
        b"+OK\r\n",
        b"+OK\r\n$99999999999999999999\r\n",
        b"+OK\r\n$4294967296\r\n",
        b"+OK\r\n*4294967296\r\n",
        b"\0\0\0\0",
    ] {
        fails(Driver::Redis, what.to_vec(), 1).await;
    }
    fails(Driver::Redis, b"*1\r\n".to_vec(), 1_000_000).await;
    fails(Driver::Redis, vec![b'x'; 1 << 16], 10_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_from_a_broker() {
    for what in [
        &b""[..],
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n[[[[",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999\r\n\r\n{}",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 16\r\n\r\n{\"reason\":[[1]]}",
        b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",
    ] {
        fails(Driver::RabbitMq, what.to_vec(), 1).await;
    }
    let endless = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[b'x'; 1 << 16]].concat();
    fails(Driver::RabbitMq, endless, 10_000).await;
}

/// An answer of HTTP with this status and body.
fn http(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_from_an_api_server() {
    let gone = |name: &str, reason: &str| {
        format!(r#"{{"kind":"Status","reason":"{reason}","message":"no","details":{{"name":"{name}"}}}}"#)
    };
    let nonsense = [
        Vec::new(),
        b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999\r\n\r\n{}".to_vec(),
        http("200 OK", "[]"),
        http("200 OK", "{}"),
        http("200 OK", "{\"kind\":\"SelfSubjectAccessReview\"}"),
        http("200 OK", &"[".repeat(100_000)),
        http("204 No Content", ""),
        http("401 Unauthorized", r#"{"message":[[1]]}"#),
        http("500 No", "no"),
        http("404 Not Found", "404 page not found"),
        http("404 Not Found", "{}"),
        http("404 Not Found", &gone("", "NotFound")),
        http("404 Not Found", &gone("other", "NotFound")),
        http("404 Not Found", &gone("a", "Forbidden")),
        http("403 Forbidden", &gone("a", "NotFound")),
        http("200 OK", &gone("a", "NotFound")),
        http("200 OK", r#"{"items":[{"metadata":5}],"metadata":{}}"#),
        http(
            "200 OK",
            r#"{"kind":"Status","status":"Failure","items":5,"metadata":{}}"#,
        ),
        http(
            "200 OK",
            r#"{"kind":"Pod","status":"Success","items":5,"metadata":{"name":"other"}}"#,
        ),
        // A list without end.
        http("200 OK", r#"{"items":[],"metadata":{"continue":"again"}}"#),
    ];
    for what in nonsense {
        let shown = String::from_utf8_lossy(&what[..what.len().min(120)]).into_owned();
        let port = answering(what).await;
        for action in [
            Action::Check,
            Action::Drop {
                account: "demo/a".to_owned(),
                statements: vec![crate::hidden("api/v1/namespaces/demo/serviceaccounts/a")],
                session: String::new(),
            },
            Action::Drop {
                account: "demo/a".to_owned(),
                statements: vec![crate::hidden("api/v1/namespaces/demo/serviceaccounts/a mark")],
                session: "conclave/1/1/old".to_owned(),
            },
            Action::List {
                prefix: String::new(),
                mark: "mark".to_owned(),
            },
        ] {
            fails_at(action, Driver::Kubernetes, port, &shown).await;
        }
    }
    let endless = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[b'x'; 1 << 16]].concat();
    fails(Driver::Kubernetes, endless, 10_000).await;
}

/// What bears another mark, or a name that would stand for something else in a path, is nobody's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_from_an_api_server_are_names() {
    let item = |namespace: &str, name: &str, mark: &str| {
        let labels = format!(r#"{{"conclave-mount":"{mark}","conclave-namespace":"demo"}}"#);
        format!(r#"{{"metadata":{{"namespace":"{namespace}","name":"{name}","labels":{labels}}}}}"#)
    };
    let items = [
        item("demo", "good", "mark"),
        item("", "wide", "mark"),
        item("demo", "..", "mark"),
        item("..", "a", "mark"),
        item("demo", "a/../../x", "mark"),
        item("demo", "a%2f..", "mark"),
        item("demo", "another", "other"),
    ];
    let body = format!(r#"{{"items":[{}],"metadata":{{}}}}"#, items.join(","));
    let answer = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let port = answering(answer.into_bytes()).await;
    let url = format!(r#"{{"host":"http://127.0.0.1:{port}","token":"hunter2"}}"#);
    let action = Action::List {
        prefix: String::new(),
        mark: "mark".to_owned(),
    };
    let listed = Scene::new(Driver::Kubernetes, &url)
        .act(action, "conclave/1/1/x", crate::LONG)
        .await;
    assert_eq!(listed.unwrap(), ["demo/good", "demo/wide"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_there() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    for (driver, url) in [
        (
            Driver::Postgresql,
            format!("postgresql://u:p@127.0.0.1:{port}/db"),
        ),
        (
            Driver::Postgresql,
            "postgresql://u:p@name.invalid/db?sslmode=disable".to_owned(),
        ),
        (Driver::Redis, format!("redis://u:p@127.0.0.1:{port}")),
        (Driver::Mysql, format!("u:p@tcp(127.0.0.1:{port})/")),
        (Driver::Mysql, "u:p@tcp(name.invalid)/?tls=false".to_owned()),
        (Driver::Redis, "redis://u:p@name.invalid".to_owned()),
        (
            Driver::RabbitMq,
            format!(r#"{{"uri":"http://127.0.0.1:{port}","username":"u","password":"p"}}"#),
        ),
        (
            Driver::Kubernetes,
            format!(r#"{{"host":"https://127.0.0.1:{port}","token":"t"}}"#),
        ),
    ] {
        let failure = Scene::new(driver, &url).check().await.unwrap_err();
        assert_eq!(failure.done, Done::Nothing, "{url}: {failure}");
        if let Driver::Mysql = driver {
            let told = "the connection to the server failed: ";
            let why = failure
                .text
                .strip_prefix(told)
                .unwrap_or_else(|| panic!("{failure}"));
            assert!(!why.is_empty() && !why.contains("nput/output"), "{failure}");
        }
    }
}
