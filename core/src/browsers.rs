//! What pages in browsers are told: from which other origins they may ask (CORS, <https://fetch.spec.whatwg.org/#http-cors-protocol>),
//! and which headers the pages of a web interface carry. The transport asks this of every request that names an origin.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::catalog::decode_record;
use crate::core::Core;
use crate::error::Error;
use crate::store::SpaceReader;

/// Where it is stored which origins may ask, in the root namespace alone.
pub(crate) const CORS: &str = "cors";
/// Where headers of pages are stored, in the root namespace alone.
pub(crate) const PAGE_HEADERS: &str = "ui-headers";

/// Which origins may ask, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cors {
    /// Origins as browsers name them (`https://host:port`), or `*` alone.
    pub origins: Vec<String>,
    /// Headers they may send.
    pub headers: Vec<String>,
    /// Whether browsers may add what they hold of us, as certificates.
    pub credentials: bool,
}

impl Cors {
    /// Whether pages of an origin may ask.
    pub fn admits(&self, origin: &str) -> bool {
        self.origins.iter().any(|known| known == "*" || known == origin)
    }
}

/// Headers of pages, by name as `X-Name`, each with its values.
pub type PageHeaders = BTreeMap<String, Vec<String>>;

/// What browsers are told.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Browsers {
    /// `None`: a page of another origin is told nothing, and its browser keeps every answer from it.
    pub cors: Option<Cors>,
    /// Headers of pages.
    pub pages: PageHeaders,
}

impl Browsers {
    pub(crate) fn load(config: &SpaceReader<'_>) -> Result<Self, Error> {
        let cors = config.row(CORS)?;
        let pages = config.row(PAGE_HEADERS)?;
        Ok(Self {
            cors: cors.map(|row| decode_record(&row.value)).transpose()?,
            pages: pages
                .map(|row| decode_record(&row.value))
                .transpose()?
                .unwrap_or_default(),
        })
    }
}

impl Core {
    /// What browsers are told by this node as far as it knows: nothing while it is sealed. Health must answer without a
    /// leader too, so nobody is asked whether this is the latest.
    pub fn browsers(&self) -> Option<Arc<Browsers>> {
        let (session, replica) = (self.seal.session().ok()?, self.seal.replica().ok()?);
        let (_, derived) = session.view(replica.view().ok()?).ok()?;
        Some(derived.catalog.browsers().clone())
    }
}
