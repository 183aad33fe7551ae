//! Calls of a migration, and which of their failures concern one thing only. Knows no engine.

use conclave_client::http::{Client, Error, Fields, Json, Request, Secret};

/// Why something was not copied.
pub enum Trouble {
    /// It alone cannot be copied; the rest can.
    Item(String),
    /// Nothing can be copied now: a server is away, sealed or overloaded.
    Stop(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match &error {
            // Away, sealed, overloaded or electing: that passes.
            Error::Status(status) if matches!(status.code, 412 | 429 | 502..=504) => {
                Self::Stop(reason(&error))
            }
            Error::Status(_) => Self::Item(reason(&error)),
            _ => Self::Stop(reason(&error)),
        }
    }
}

/// What a server said, in one line.
fn reason(error: &Error) -> String {
    match error {
        Error::Status(status) if status.errors.is_empty() => format!("status {}", status.code),
        Error::Status(status) => status.errors.join("; ").replace('\n', " "),
        other => other.to_string(),
    }
}

/// The data at a path; nothing if there is nothing.
pub async fn read(client: &Client, path: &str) -> Result<Option<Fields>, Trouble> {
    Ok(client.read(path, &[]).await?.and_then(|secret| secret.data))
}

/// The names in a directory, sorted.
pub async fn list(client: &Client, path: &str) -> Result<Vec<String>, Trouble> {
    let found = client.list(path, None).await?;
    let keys = found.as_ref().and_then(|secret| secret.field("keys"));
    let keys = keys.and_then(Json::as_array).unwrap_or_default();
    let mut names: Vec<String> = keys.iter().filter_map(Json::as_str).map(str::to_owned).collect();
    names.sort_unstable();
    Ok(names)
}

/// Writes a path.
pub async fn write(client: &Client, path: &str, body: Fields) -> Result<Option<Fields>, Trouble> {
    let answer = client.write(path, Some(body)).await?.ok()?;
    Ok(answer.and_then(|secret| secret.data))
}

/// The data of a version: nothing if the server says that it cannot be read any more.
pub async fn version(client: &Client, path: &str, number: u64) -> Result<Option<Json>, Trouble> {
    let request = Request::new("GET", path).query("version", number.to_string());
    let (url, response) = client.send_raw(&request).await?;
    match response.code {
        404 => Ok(None),
        200 => {
            let secret = Secret::parse(&response.body).map_err(|e| Trouble::Item(e.to_string()))?;
            let data = secret.as_ref().and_then(|secret| secret.field("data"));
            Ok(Some(data.cloned().unwrap_or_default()))
        }
        _ => Err(client.status_error(&request, &url, &response).into()),
    }
}

/// A field's text; empty if it has none.
pub fn text<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).and_then(Json::as_str).unwrap_or_default()
}

/// A field's whole number; 0 if it has none.
pub fn number(fields: &Fields, name: &str) -> u64 {
    let number = fields.get(name).and_then(Json::as_i64).unwrap_or_default();
    u64::try_from(number).unwrap_or_default()
}

/// The fields that say something: not null, empty, zero or false.
pub fn telling(fields: &Fields, except: &[&str]) -> Fields {
    let says = |value: &Json| match value {
        Json::Null => false,
        Json::Bool(flag) => *flag,
        Json::Number(number) => number != "0",
        Json::String(text) => !text.is_empty(),
        Json::Array(items) => !items.is_empty(),
        Json::Object(fields) => !fields.is_empty(),
    };
    let kept = fields
        .iter()
        .filter(|(name, value)| says(value) && !except.contains(name));
    kept.map(|(name, value)| (name, value.clone())).collect()
}
