//! The calls that answer with an envelope: read, list, scan, write, patch, delete. Knows nothing of addresses.

use super::client::is_good;
use super::json::{Fields, Json};
use super::{Body, Client, Error, Request, Secret};

impl Client {
    async fn secret(&self, request: &Request, empty_404: bool) -> Result<Answer, Error> {
        let (url, response) = self.send_raw(request).await?;
        if response.code == 404 {
            let secret = Secret::parse(&response.body)?.filter(Secret::says_something);
            return match (secret, empty_404) {
                (secret, true) => Ok(Answer { secret, error: None }),
                (secret, false) => Ok(Answer {
                    secret,
                    error: Some(self.status_error(request, &url, &response)),
                }),
            };
        }
        if !is_good(response.code, &url) {
            return Err(self.status_error(request, &url, &response));
        }
        Ok(Answer {
            secret: Secret::parse(&response.body)?,
            error: None,
        })
    }

    /// Reads a path. `None` if the server has nothing there.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn read(&self, path: &str, query: &[(String, String)]) -> Result<Option<Secret>, Error> {
        let mut request = Request::new("GET", path);
        request.query = query.to_vec();
        Ok(self.secret(&request, true).await?.secret)
    }

    /// Lists a path, whole or the page after a name. `None` if the server has nothing there.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list(&self, path: &str, page: Option<(&str, i64)>) -> Result<Option<Secret>, Error> {
        self.list_as("list", path, page).await
    }

    /// Lists a path and everything beneath.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn scan(&self, path: &str, page: Option<(&str, i64)>) -> Result<Option<Secret>, Error> {
        self.list_as("scan", path, page).await
    }

    async fn list_as(
        &self,
        verb: &str,
        path: &str,
        page: Option<(&str, i64)>,
    ) -> Result<Option<Secret>, Error> {
        let mut request = Request::new("GET", path).query(verb, "true");
        if let Some((after, limit)) = page {
            request = request.query("after", after).query("limit", limit.to_string());
        }
        Ok(self.secret(&request, true).await?.secret)
    }

    /// Writes a path by PUT. An answer may carry a secret and an error at once (a 404 with warnings).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn write(&self, path: &str, body: Option<Fields>) -> Result<Answer, Error> {
        let mut request = Request::new("PUT", path);
        request.body = body.map_or(Body::Empty, |b| Body::Json(Json::Object(b)));
        self.secret(&request, false).await
    }

    /// Patches a path by JSON merge patch (RFC 7396).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn patch(&self, path: &str, body: Fields) -> Result<Answer, Error> {
        let mut request = Request::new("PATCH", path);
        request.body = Body::MergePatch(Json::Object(body));
        self.secret(&request, false).await
    }

    /// Deletes a path.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete(&self, path: &str, query: &[(String, String)]) -> Result<Answer, Error> {
        let mut request = Request::new("DELETE", path);
        request.query = query.to_vec();
        self.secret(&request, false).await
    }
}

/// The answer to a write: a 404 may come with warnings that explain it.
#[derive(Default)]
pub struct Answer {
    /// What the server said, if anything.
    pub secret: Option<Secret>,
    /// The error that came with it.
    pub error: Option<Error>,
}

impl Answer {
    /// The secret, or the error if there is one.
    ///
    /// # Errors
    /// The error of the answer.
    pub fn ok(self) -> Result<Option<Secret>, Error> {
        self.error.map_or(Ok(self.secret), Err)
    }
}
