//! A directory of this process alone that goes with its owner: what development servers keep. Its name cannot be guessed,
//! so nobody can have made it before.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::rand::{GetRandomFlags, getrandom};

use crate::error::Error;

/// A directory that is removed when this is dropped.
pub struct Temporary(PathBuf);

impl Temporary {
    /// Makes `<prefix>-<random>`, mode 0700, where the system keeps temporary files.
    ///
    /// # Errors
    /// The system gives no random bytes or no directory.
    pub fn make(prefix: &str) -> Result<Self, Error> {
        let mut suffix = [0u8; 8];
        let got = getrandom(&mut suffix, GetRandomFlags::empty());
        if got != Ok(suffix.len()) {
            return Err(Error::Settings("the system gives no random bytes".to_owned()));
        }
        let path = std::env::temp_dir().join(format!("{prefix}-{}", hex::encode(suffix)));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(Error::file("cannot create", &path))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Best effort: who stops a development server is not helped by an error about its scratch files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_private_and_goes() {
        let (one, two) = (
            Temporary::make("conclave-test").unwrap(),
            Temporary::make("conclave-test").unwrap(),
        );
        let path = one.path().to_owned();
        assert_ne!(path, two.path());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(path.join("file"), "x").unwrap();
        drop(one);
        assert!(!path.exists() && two.path().exists());
    }
}
