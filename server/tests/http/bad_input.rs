//! Everything a client can get wrong about one request, through a real socket, with the exact status it gets.
use crate::support::{body, exchange, get, read_one, send, start, status};
use conclave_server::http::Settings;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn bodies() {
    let server = start(
        Settings {
            max_body: 100_000,
            ..Settings::default()
        },
        false,
    )
    .await;
    let deep = format!("{{\"a\":{}", "[".repeat(10_000));
    let nested = format!("{{\"a\":[{}[]]}}", "[],".repeat(30_000));
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(100_000));
    let rows: [(&str, &str, &[u8], u16); 22] = [
        ("no body", "", b"", 200),
        ("white space", "", b" \n", 200),
        ("an object", "", br#"{"a":[1,2]}"#, 200),
        (
            "a form",
            "Content-Type: application/x-www-form-urlencoded\r\n",
            b"a=b&c=d",
            200,
        ),
        (
            "JSON sent as a form",
            "Content-Type: application/x-www-form-urlencoded\r\n",
            br#"{"a":1}"#,
            200,
        ),
        (
            "a form sent as JSON",
            "Content-Type: application/json\r\n",
            b"a=b",
            400,
        ),
        ("half an object", "", br#"{"a":"#, 400),
        ("trailing garbage", "", br#"{"a":1} x"#, 400),
        ("two objects", "", br#"{"a":1}{"b":2}"#, 400),
        ("a list", "", b"[]", 400),
        ("a string", "", br#""secret""#, 400),
        ("duplicate keys", "", br#"{"a":1,"a":2}"#, 400),
        ("duplicate keys below", "", br#"{"d":{"a":1,"a":2}}"#, 400),
        ("NaN", "", br#"{"a":NaN}"#, 400),
        ("an enormous number", "", br#"{"a":1e400}"#, 400),
        (
            "an integer beyond 64 bits",
            "",
            br#"{"a":123456789012345678901234567890}"#,
            200,
        ),
        ("a lone surrogate", "", br#"{"a":"\ud800"}"#, 400),
        ("bytes that are no text", "", b"{\"a\":\"\xff\xfe\"}", 400),
        ("a byte order mark", "", b"\xef\xbb\xbf{}", 400),
        ("depth", "", deep.as_bytes(), 400),
        ("too large", "", long.as_bytes(), 413),
        ("compressed", "Content-Encoding: gzip\r\n", b"\x1f\x8b", 415),
    ];
    for (name, headers, bytes, want) in rows {
        let answer = send(&server, "POST", "/v1/echo", headers, bytes).await;
        assert_eq!(status(&answer), want, "{name}: {answer}");
        assert!(answer.contains("cache-control: no-store"), "{name}: {answer}");
        if want != 200 {
            assert!(body(&answer).starts_with("{\"errors\":[\""), "{name}: {answer}");
            assert!(!body(&answer).contains("secret"), "{name}: {answer}");
        }
    }
    let answer = send(&server, "POST", "/v1/echo", "", nested.as_bytes()).await;
    assert_eq!(status(&answer), 200, "30,000 values are within the limit");
}

#[tokio::test]
async fn values_of_one_body_are_bounded() {
    let server = start(Settings::default(), false).await;
    let lists = format!("{{\"a\":[{}[]]}}", "[],".repeat(1_000_000));
    let answer = send(&server, "POST", "/v1/echo", "", lists.as_bytes()).await;
    assert_eq!(status(&answer), 400);
    let keys: String = (0..1_000_000).map(|n| format!("\"{n}\":1,")).collect();
    let answer = send(
        &server,
        "POST",
        "/v1/echo",
        "",
        format!("{{{keys}\"x\":1}}").as_bytes(),
    )
    .await;
    assert_eq!(status(&answer), 400);
}

#[tokio::test]
async fn a_body_announced_too_large_is_refused_before_it_is_sent() {
    let server = start(Settings::default(), false).await;
    let head = b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 33554433\r\n\r\n";
    let answer = exchange(&server, head).await;
    assert_eq!(status(&answer), 413);
    assert!(answer.contains("http: request body too large"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn a_chunked_body_without_length_is_counted() {
    let server = start(
        Settings {
            max_body: 1000,
            ..Settings::default()
        },
        false,
    )
    .await;
    let mut bytes = b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..11 {
        bytes.extend_from_slice(b"64\r\n");
        bytes.extend_from_slice(&[b' '; 100]);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(status(&exchange(&server, &bytes).await), 413);
}

#[tokio::test]
async fn lengths_stated_twice_are_refused_and_the_connection_ends() {
    let server = start(Settings::default(), false).await;
    let rows = [
        (
            "CL and TE",
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
        ),
        (
            "TE and CL",
            "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
            "0\r\n\r\n",
        ),
        ("two equal CL", "Content-Length: 2\r\nContent-Length: 2\r\n", "{}"),
        ("two CL", "Content-Length: 2\r\nContent-Length: 3\r\n", "{} "),
        ("a list of CL", "Content-Length: 2, 2\r\n", "{}"),
        ("CL with a sign", "Content-Length: +2\r\n", "{}"),
        ("unknown TE", "Transfer-Encoding: x\r\n", "0\r\n\r\n"),
        (
            "chunked twice",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
        ),
        ("a folded line", "X-A: b\r\n c\r\n", ""),
        ("a space before the colon", "Content-Length : 2\r\n", "{}"),
        ("a bare CR in a value", "X-A: b\rX-Vault-Token: root\r\n", ""),
        ("NUL in a value", "X-A: b\0c\r\n", ""),
    ];
    for (name, headers, rest) in rows {
        // A second request rides behind: it must not be answered.
        let text = format!(
            "POST /v1/echo HTTP/1.1\r\nHost: x\r\n{headers}\r\n{rest}GET /v1/empty HTTP/1.1\r\nHost: x\r\n\r\n"
        );
        let answer = exchange(&server, text.as_bytes()).await;
        assert_eq!(status(&answer), 400, "{name}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{name}: {answer}");
    }
}

#[tokio::test]
async fn tokens_and_headers() {
    let server = start(Settings::default(), false).await;
    let long = format!("X-Vault-Token: {}\r\n", "t".repeat(8 * 1024 + 1));
    let huge = format!("X-A: {}\r\n", "a".repeat(1 << 20));
    let many = "X-A: b\r\n".repeat(200);
    let rows: [(&str, &str, u16); 15] = [
        ("none", "", 200),
        ("one", "X-Vault-Token: t\r\n", 200),
        ("bearer", "Authorization: Bearer t\r\n", 200),
        (
            "the same twice over",
            "X-Vault-Token: t\r\nAuthorization: Bearer t\r\n",
            200,
        ),
        (
            "two that differ",
            "X-Vault-Token: t\r\nAuthorization: Bearer u\r\n",
            400,
        ),
        (
            "two X-Vault-Token",
            "X-Vault-Token: t\r\nX-Vault-Token: t\r\n",
            400,
        ),
        ("too long", &long, 400),
        ("not ASCII", "X-Vault-Token: t\u{e4}\r\n", 400),
        ("a megabyte", &huge, 431),
        ("two hundred", &many, 431),
        ("wrap TTL", "X-Vault-Wrap-TTL: abc\r\n", 400),
        ("negative wrap TTL", "X-Vault-Wrap-TTL: -5s\r\n", 400),
        (
            "two namespaces",
            "X-Vault-Namespace: a\r\nX-Vault-Namespace: b\r\n",
            400,
        ),
        ("CRLF in a name", "X-Vault\r\nToken: t\r\n", 400),
        ("a forged source", "X-Forwarded-For: 203.0.113.9\r\n", 200),
    ];
    for (name, headers, want) in rows {
        let answer = get(&server, "/v1/echo", headers).await;
        assert_eq!(status(&answer), want, "{name}: {answer}");
        if name == "a forged source" {
            assert!(answer.contains("\"remote\":\"127.0.0.1\""), "{answer}");
        }
    }
}

#[tokio::test]
async fn methods_and_pages() {
    let server = start(Settings::default(), false).await;
    let merge = "Content-Type: application/merge-patch+json\r\n";
    let rows = [
        ("GET", "/v1/echo", "", 200),
        ("LIST", "/v1/echo", "", 200),
        ("SCAN", "/v1/echo", "", 200),
        ("PUT", "/v1/echo", "", 200),
        ("DELETE", "/v1/echo", "", 200),
        ("PATCH", "/v1/echo", merge, 200),
        ("PATCH", "/v1/echo", "Content-Type: application/json\r\n", 415),
        ("PATCH", "/v1/echo", "", 415),
        ("HEAD", "/v1/echo", "", 405),
        ("HEAD", "/v1/sys/health", "", 200),
        ("OPTIONS", "/v1/echo", "", 405),
        ("TRACE", "/v1/echo", "", 405),
        ("FOO", "/v1/echo", "", 405),
        ("CONNECT", "example.com:443", "", 404),
        ("GET", "/v1/echo?list=true&scan=true", "", 400),
        ("GET", "/v1/echo?list=perhaps", "", 400),
        ("GET", "/v1/echo?a=%zz", "", 400),
        ("GET", "/", "", 404),
        ("GET", "/ui", "", 404),
        ("GET", "/ui/vault/secrets", "", 404),
        ("GET", "/v2/echo", "", 404),
        ("GET", "/v1", "", 404),
        ("GET", "/v1/nothing", "", 404),
        ("GET", "http://evil.example/v1/echo", "", 200),
        ("GET", "/v1/echo\u{1}", "", 400),
    ];
    for (method, target, headers, want) in rows {
        let answer = send(&server, method, target, headers, b"").await;
        assert_eq!(status(&answer), want, "{method} {target}: {answer}");
    }
    let answer = get(&server, &format!("/v1/{}", "a/".repeat(40_000)), "").await;
    assert!([414, 431].contains(&status(&answer)), "{answer}");
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let server = start(Settings::default(), false).await;
    for garbage in [
        b"\0\0\0\0\r\n\r\n".as_slice(),
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"get me a secret\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\nGET /v1/echo HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let answer = exchange(&server, garbage).await;
        assert_eq!(
            status(&answer),
            400,
            "{:?}: {answer}",
            String::from_utf8_lossy(garbage)
        );
    }
}

#[tokio::test]
async fn a_refused_request_does_not_spoil_its_connection() {
    let server = start(Settings::default(), false).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for (body, want) in [
        ("{\"a\":1,\"a\":2}", 400),
        ("{}", 200),
        ("[", 400),
        ("{\"b\":1}", 200),
    ] {
        let request = format!(
            "POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(status(&read_one(&mut stream).await), want, "{body}");
    }
}
