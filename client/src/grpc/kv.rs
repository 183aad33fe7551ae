//! Versioned secrets: the calls of service `Kv`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::call::Repeat;
use super::secret::{SecretData, object};
use super::{Conclave, Error, v1};

/// The secrets of one mount. Paths are plain text without a leading slash.
#[derive(Clone)]
pub struct Kv {
    cluster: Conclave,
    mount: String,
}

/// One version of a secret.
#[derive(Clone)]
pub struct Secret {
    /// What is kept.
    pub data: SecretData,
    /// Which version this is.
    pub version: Version,
    /// What was noted about the key.
    pub custom_metadata: BTreeMap<String, String>,
}

/// What is known of a version beside its data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Version {
    /// Its number, from 1.
    pub number: u64,
    /// When it was made, RFC 3339.
    pub created_time: String,
    /// When it was or will be deleted, RFC 3339; empty for never.
    pub deletion_time: String,
    /// Whether its data is gone for ever.
    pub destroyed: bool,
}

impl From<Option<v1::KvVersion>> for Version {
    fn from(version: Option<v1::KvVersion>) -> Self {
        let version = version.unwrap_or_default();
        Self {
            number: version.version,
            created_time: version.created_time,
            deletion_time: version.deletion_time,
            destroyed: version.destroyed,
        }
    }
}

impl Kv {
    pub(super) fn new(cluster: Conclave, mount: String) -> Self {
        Self { cluster, mount }
    }

    /// The current version.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none, or it is deleted or destroyed.
    pub async fn get(&self, path: &str) -> Result<Secret, Error> {
        self.get_version(path, 0).await
    }

    /// One version; 0 is the current one.
    ///
    /// # Errors
    /// As [`Kv::get`].
    pub async fn get_version(&self, path: &str, version: u64) -> Result<Secret, Error> {
        let (mount, path) = self.place(path);
        let message = v1::KvGetRequest { mount, path, version };
        let got = self
            .cluster
            .call(Repeat::Freely, message, |link, request| async move {
                link.kv().get(request).await
            })
            .await?;
        Ok(Secret {
            data: SecretData::parse(&got.data)?,
            version: got.version.into(),
            custom_metadata: got.custom_metadata,
        })
    }

    /// A new version, whatever was there.
    ///
    /// # Errors
    /// [`Error::Config`] if `data` is no JSON object.
    pub async fn put<T: Serialize + ?Sized>(&self, path: &str, data: &T) -> Result<Version, Error> {
        self.write(path, data, None).await
    }

    /// A new version if `cas` is the current one; 0: if there is none.
    ///
    /// # Errors
    /// [`Error::CasMismatch`] if it is not; as [`Kv::put`].
    pub async fn put_cas<T: Serialize + ?Sized>(
        &self,
        path: &str,
        data: &T,
        cas: u64,
    ) -> Result<Version, Error> {
        self.write(path, data, Some(cas)).await
    }

    async fn write<T: Serialize + ?Sized>(
        &self,
        path: &str,
        data: &T,
        cas: Option<u64>,
    ) -> Result<Version, Error> {
        let (mount, path) = self.place(path);
        let data = object(data)?;
        let message = v1::KvPutRequest {
            mount,
            path,
            data,
            cas,
        };
        let put = self
            .cluster
            .call(Repeat::ByKey, message, |link, request| async move {
                link.kv().put(request).await
            })
            .await?;
        Ok(put.version.into())
    }

    /// A new version made from the current one by a JSON merge patch (RFC 7396); with `cas`, if that is the current one.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none to read; as [`Kv::put_cas`].
    pub async fn patch<T: Serialize + ?Sized>(
        &self,
        path: &str,
        patch: &T,
        cas: Option<u64>,
    ) -> Result<Version, Error> {
        let (mount, path) = self.place(path);
        let patch = object(patch)?;
        let message = v1::KvPatchRequest {
            mount,
            path,
            patch,
            cas,
        };
        let patched = self
            .cluster
            .call(Repeat::ByKey, message, |link, request| async move {
                link.kv().patch(request).await
            })
            .await?;
        Ok(patched.version.into())
    }

    /// Marks versions deleted, of none given the current one. [`Kv::undelete`] brings them back.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete(&self, path: &str, versions: &[u64]) -> Result<(), Error> {
        let ((mount, path), versions) = (self.place(path), versions.to_vec());
        let message = v1::KvDeleteRequest {
            mount,
            path,
            versions,
        };
        self.cluster
            .call(Repeat::ByKey, message, |link, request| async move {
                link.kv().delete(request).await
            })
            .await
            .map(drop)
    }

    /// Brings deleted versions back.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn undelete(&self, path: &str, versions: &[u64]) -> Result<(), Error> {
        let ((mount, path), versions) = (self.place(path), versions.to_vec());
        let message = v1::KvUndeleteRequest {
            mount,
            path,
            versions,
        };
        self.cluster
            .call(Repeat::ByKey, message, |link, request| async move {
                link.kv().undelete(request).await
            })
            .await
            .map(drop)
    }

    /// Removes the data of versions for ever.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn destroy(&self, path: &str, versions: &[u64]) -> Result<(), Error> {
        let ((mount, path), versions) = (self.place(path), versions.to_vec());
        let message = v1::KvDestroyRequest {
            mount,
            path,
            versions,
        };
        self.cluster
            .call(Repeat::ByKey, message, |link, request| async move {
                link.kv().destroy(request).await
            })
            .await
            .map(drop)
    }

    /// The names beneath a path, sorted; empty for the whole mount. Names that end in `/` have names beneath them.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list(&self, path: &str) -> Result<Vec<String>, Error> {
        self.list_page(path, "", 0).await
    }

    /// As [`Kv::list`], only names after `after`, at most `limit`; 0 for all.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list_page(&self, path: &str, after: &str, limit: u32) -> Result<Vec<String>, Error> {
        let (mount, path) = self.place(path);
        let after = after.to_owned();
        let page = Some(v1::Page { after, limit });
        let message = v1::KvListRequest { mount, path, page };
        let listed = self
            .cluster
            .call(Repeat::Freely, message, |link, request| async move {
                link.kv().list(request).await
            })
            .await?;
        Ok(listed.keys)
    }

    /// A key's settings and versions.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such key.
    pub async fn metadata(&self, path: &str) -> Result<v1::KvGetMetadataResponse, Error> {
        let (mount, path) = self.place(path);
        let message = v1::KvGetMetadataRequest { mount, path };
        self.cluster
            .call(Repeat::Freely, message, |link, request| async move {
                link.kv().get_metadata(request).await
            })
            .await
    }

    /// Changes the settings that `settings` gives; its mount and path are filled in. Answers warnings.
    ///
    /// # Errors
    /// [`Error::CasMismatch`] if `metadata_cas` is given and does not match.
    pub async fn put_metadata(
        &self,
        path: &str,
        settings: v1::KvPutMetadataRequest,
    ) -> Result<Vec<String>, Error> {
        let (mount, path) = self.place(path);
        let message = v1::KvPutMetadataRequest {
            mount,
            path,
            ..settings
        };
        let changed = self
            .cluster
            .call(Repeat::ByKey, message, |link, request| async move {
                link.kv().put_metadata(request).await
            })
            .await?;
        Ok(changed.warnings)
    }

    /// Removes a key with all its versions.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete_metadata(&self, path: &str) -> Result<(), Error> {
        let (mount, path) = self.place(path);
        let message = v1::KvDeleteMetadataRequest { mount, path };
        self.cluster
            .call(Repeat::ByKey, message, |link, request| async move {
                link.kv().delete_metadata(request).await
            })
            .await
            .map(drop)
    }

    pub(super) fn cluster(&self) -> &Conclave {
        &self.cluster
    }

    pub(super) fn place(&self, path: &str) -> (String, String) {
        (self.mount.clone(), path.to_owned())
    }
}
