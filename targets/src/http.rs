//! What drivers of services behind HTTP share: clients, whole answers, and what is said of errors. Knows no service.

use std::time::Duration;

use conclave_engine_api::TargetTls;
use reqwest::{Client, Response, redirect};

use crate::tls::Tls;

/// How long a connection is kept that nobody uses: less than services keep it.
const IDLE: Duration = Duration::from_secs(30);

/// Makes connections, verified as the settings of a target say.
///
/// # Errors
/// Which of the settings cannot be used.
pub fn client(tls: &TargetTls) -> Result<Client, String> {
    let builder = Client::builder()
        .tls_backend_preconfigured(Tls::new(tls)?.config())
        .redirect(redirect::Policy::none())
        // What the environment of a node says is nothing that decides where secrets go.
        .no_proxy()
        .http1_only()
        .pool_idle_timeout(IDLE);
    builder.build().map_err(|error| told(&error))
}

/// The body of an answer, of at most so many bytes.
///
/// # Errors
/// Why it did not come, or that it is longer.
pub async fn body(mut answer: Response, most: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    loop {
        let part = answer.chunk().await;
        match part.map_err(|error| told(&error.without_url()))? {
            Some(part) if bytes.len() + part.len() <= most => bytes.extend_from_slice(&part),
            Some(_) => return Err("the answer is too long".to_owned()),
            None => return Ok(bytes),
        }
    }
}

/// What is said of an error, with what led to it.
pub fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(deeper) = source {
        text = format!("{text}: {deeper}");
        source = deeper.source();
    }
    text
}
