//! Deliberate differences of the engine `kubernetes`.

use super::Difference;
use super::Differs::{Answer, Status, Text, Unbuilt};

pub const DIFFERENT: &[Difference] = &[
    (
        "^GET kubernetes/check",
        Text,
        "the API server is asked, not the environment",
    ),
    (
        "^POST kubernetes/config {}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST kubernetes/config {\"kubernetes_host\":\"https://127.0.0.1:1\"}",
        Unbuilt,
        "the token of a pod is not read",
    ),
    (
        "^POST kubernetes/config {\"disable_local_ca_jwt\":false}",
        Answer,
        "what was written before stays, also the host",
    ),
    (
        "\"kubernetes_host\":\"127.0.0.1:1\"",
        Answer,
        "an API server without TLS is refused, for tokens would travel in the clear",
    ),
    (
        "\"name_template\":\"{{wrong}}\"",
        Text,
        "what is wrong with a template is said in our words",
    ),
    (
        "\\n- verb: [get]",
        Answer,
        "a misspelt right is refused, not left out",
    ),
    (
        "^POST kubernetes/creds/a {}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST kubernetes/creds/b {}",
        Text,
        "why an API server is not reached is said in our words",
    ),
    (
        "^POST kubernetes/creds/a {\"kubernetes_namespace\":\"b\"}",
        Text,
        "why an API server is not reached is said in our words",
    ),
    (
        "^POST kubernetes/creds/c {\"kubernetes_namespace\":\"b\"}",
        Text,
        "why an API server is not reached is said in our words",
    ),
    (
        "^POST kubernetes/creds/gone {\"kubernetes_namespace\":\"b\"}",
        Status,
        "a wrong request is 400, never 500",
    ),
];
