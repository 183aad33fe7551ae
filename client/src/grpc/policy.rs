//! ACL policies: the calls of service `Policy`.

use super::call::Repeat;
use super::{Conclave, Error, v1};

/// ACL policies.
#[derive(Clone)]
pub struct Policies {
    cluster: Conclave,
}

impl Policies {
    pub(super) fn new(cluster: Conclave) -> Self {
        Self { cluster }
    }

    /// The text of a policy.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none of this name.
    pub async fn read(&self, name: &str) -> Result<String, Error> {
        let message = v1::PolicyReadRequest {
            name: name.to_owned(),
        };
        let read = self
            .cluster
            .call(Repeat::Freely, message, |link, request| async move {
                link.policy().read(request).await
            })
            .await?;
        Ok(read.text)
    }

    /// Makes or replaces a policy from HCL or JSON.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the text does not parse.
    pub async fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        let (name, text) = (name.to_owned(), text.to_owned());
        let message = v1::PolicyWriteRequest { name, text };
        self.cluster
            .call(Repeat::ByKey, message, |link, request| async move {
                link.policy().write(request).await
            })
            .await
            .map(drop)
    }

    /// All names, sorted.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list(&self) -> Result<Vec<String>, Error> {
        let message = v1::PolicyListRequest {};
        let listed = self
            .cluster
            .call(Repeat::Freely, message, |link, request| async move {
                link.policy().list(request).await
            })
            .await?;
        Ok(listed.names)
    }

    /// Removes a policy, if there is one of this name.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        let message = v1::PolicyDeleteRequest {
            name: name.to_owned(),
        };
        self.cluster
            .call(Repeat::ByKey, message, |link, request| async move {
                link.policy().delete(request).await
            })
            .await
            .map(drop)
    }
}
