//! Pages in browsers: which origins are answered, what preflights hear, and the headers of pages.
use std::collections::BTreeMap;
use std::sync::Arc;

use conclave_core::{Browsers, Cors};
use conclave_server::http::Settings;

use crate::support::{body, get, send, start, start_telling, status};

const OWN: &str = "Origin: https://own.example\r\n";
const FOREIGN: &str = "Origin: https://foreign.example\r\n";

fn telling(origins: &[&str], credentials: bool) -> Arc<Browsers> {
    Arc::new(Browsers {
        cors: Some(Cors {
            origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
            headers: vec!["X-Vault-Token".to_owned(), "X-Own".to_owned()],
            credentials,
        }),
        pages: BTreeMap::from([("X-Page".to_owned(), vec!["a".to_owned(), "b".to_owned()])]),
    })
}

#[tokio::test]
async fn an_origin_that_may_ask_is_told_so_and_others_are_refused() {
    let server = start_telling(telling(&["https://own.example"], false)).await;
    for target in ["/v1/echo", "/v1/error/denied", "/v1/sys/health", "/nosuch"] {
        let answer = get(&server, target, OWN).await;
        assert!(
            answer.contains("access-control-allow-origin: https://own.example\r\nvary: Origin\r\n"),
            "{answer}"
        );
        assert!(!answer.contains("allow-credentials"), "{answer}");
        let answer = get(&server, target, FOREIGN).await;
        assert_eq!(
            (status(&answer), body(&answer).trim_end()),
            (403, r#"{"errors":["origin not allowed"]}"#),
            "{target}"
        );
        assert!(!answer.contains("access-control"), "{answer}");
        let answer = get(&server, target, "").await;
        assert!(
            !answer.contains("access-control"),
            "no origin, nothing to tell: {answer}"
        );
    }
    let refused = send(&server, "PUT", "/v1/echo", FOREIGN, b"{\"a\":1}").await;
    assert_eq!(status(&refused), 403, "a write of a foreign page reaches nobody");
}

#[tokio::test]
async fn preflights_hear_what_pages_may_do() {
    let server = start_telling(telling(&["*"], true)).await;
    for method in ["GET", "LIST", "PATCH", "DELETE"] {
        let asked = format!("{FOREIGN}Access-Control-Request-Method: {method}\r\n");
        let answer = send(&server, "OPTIONS", "/v1/secret/data/a", &asked, b"").await;
        assert_eq!((status(&answer), body(&answer)), (200, ""), "{answer}");
        for told in [
            "access-control-allow-origin: https://foreign.example\r\n",
            "access-control-allow-methods: DELETE,GET,OPTIONS,POST,PUT,LIST,SCAN,PATCH\r\n",
            "access-control-allow-headers: X-Vault-Token,X-Own\r\n",
            "access-control-allow-credentials: true\r\n",
            "access-control-max-age: 300\r\n",
        ] {
            assert!(answer.contains(told), "{told} is not in {answer}");
        }
    }
    for asked in [
        format!("{FOREIGN}Access-Control-Request-Method: FOO\r\n"),
        FOREIGN.to_owned(),
    ] {
        let answer = send(&server, "OPTIONS", "/v1/secret/data/a", &asked, b"").await;
        assert_eq!(status(&answer), 405, "{answer}");
    }
    assert_eq!(
        status(&send(&server, "OPTIONS", "/v1/secret/data/a", "", b"").await),
        405
    );
}

#[tokio::test]
async fn pages_have_the_headers_that_were_set_and_answers_have_not() {
    let server = start_telling(telling(&["*"], false)).await;
    for page in ["/", "/ui", "/ui/vault"] {
        let answer = get(&server, page, "").await;
        assert!(
            answer.contains("x-page: a\r\n") && answer.contains("x-page: b\r\n"),
            "{answer}"
        );
    }
    let answer = get(&server, "/v1/echo", OWN).await;
    assert!(!answer.contains("x-page"), "{answer}");
}

#[tokio::test]
async fn without_settings_origins_are_not_looked_at() {
    let server = start(Settings::default(), false).await;
    assert_eq!(status(&get(&server, "/v1/echo", FOREIGN).await), 200);
    let answer = get(&server, "/v1/echo", FOREIGN).await;
    assert!(!answer.contains("access-control"), "{answer}");
}
