//! Requests of pages in browsers: whether pages of their origin may ask at all (CORS), what a preflight is told, and the
//! headers of our own pages. What is admitted is core's to say.

use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};

use conclave_core::Browsers;

use super::body::Body;
use super::status::Refusal;
use crate::handler::Handler;

/// Methods that pages of other origins may use; the original leaves out PATCH.
const METHODS: [&str; 8] = ["DELETE", "GET", "OPTIONS", "POST", "PUT", "LIST", "SCAN", "PATCH"];
/// Seconds for which a browser may remember what a preflight was told.
const MAX_AGE: HeaderValue = HeaderValue::from_static("300");

/// What a request has to do with browsers.
pub struct Visit {
    browsers: Option<Arc<Browsers>>,
    /// The origin it names, if origins are looked at.
    origin: Option<HeaderValue>,
    page: bool,
}

impl Visit {
    /// Looks at the head of a request; asks `handler` only where the answer counts.
    pub fn of(parts: &Parts, handler: &dyn Handler) -> Self {
        let page = is_page(parts.uri.path());
        let origin = parts.headers.get(ORIGIN).filter(|origin| !origin.is_empty());
        let browsers = match page || origin.is_some() {
            true => handler.browsers(),
            false => None,
        };
        let looks = browsers.as_ref().is_some_and(|browsers| browsers.cors.is_some());
        Self {
            origin: origin.filter(|_| looks).cloned(),
            browsers,
            page,
        }
    }

    /// The answer to what does not go on to core: a preflight, and whatever comes from an origin that may not ask.
    pub fn answer(&self, parts: &Parts) -> Option<Result<Response<Body>, Refusal>> {
        let cors = self.browsers.as_ref()?.cors.as_ref()?;
        let origin = self.origin.as_ref()?;
        if !origin.to_str().is_ok_and(|origin| cors.admits(origin)) {
            return Some(Err(Refusal::Origin));
        }
        if parts.method != Method::OPTIONS {
            return None;
        }
        let wanted = parts.headers.get(ACCESS_CONTROL_REQUEST_METHOD);
        let known = wanted.is_some_and(|wanted| METHODS.iter().any(|method| wanted == *method));
        if !known {
            return Some(Err(Refusal::Method));
        }
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        put(headers, ACCESS_CONTROL_ALLOW_METHODS, &METHODS.join(","));
        put(headers, ACCESS_CONTROL_ALLOW_HEADERS, &cors.headers.join(","));
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        Some(Ok(response))
    }

    /// Tells the browser in the headers of an answer, unless the origin was refused, and adds those of pages to pages.
    pub fn mark(&self, headers: &mut HeaderMap) {
        let Some(browsers) = &self.browsers else { return };
        if let (Some(cors), Some(origin)) = (&browsers.cors, &self.origin)
            && origin.to_str().is_ok_and(|origin| cors.admits(origin))
        {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.append(VARY, HeaderValue::from_static("Origin"));
            if cors.credentials {
                headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
        }
        for (name, values) in browsers.pages.iter().filter(|_| self.page) {
            let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
                continue;
            };
            headers.remove(&name);
            for value in values {
                if let Ok(value) = HeaderValue::from_str(value) {
                    headers.append(&name, value);
                }
            }
        }
    }
}

/// Whether a path is that of a page for people.
pub fn is_page(path: &str) -> bool {
    path == "/" || path == "/ui" || path.starts_with("/ui/")
}

fn put(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}
