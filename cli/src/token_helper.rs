//! Where a login leaves its token: `~/.vault-token`, which other Vault tools read too. Knows no server.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use conclave_client::http::plain;

use crate::env::Env;

/// Longest token file read, in bytes.
const MAX_TOKEN_BYTES: u64 = 64 * 1024;

/// The file that holds the token.
pub struct TokenFile(PathBuf);

impl TokenFile {
    /// The file of this user, or the one that `TOKEN_PATH` names.
    ///
    /// # Errors
    /// No home directory.
    pub fn locate(env: &Env) -> Result<Self, String> {
        if let Some(path) = env.get("TOKEN_PATH") {
            return Ok(Self(path.into()));
        }
        let home = env
            .plain("HOME")
            .ok_or("failed to get token helper: cannot find the home directory: HOME is not set")?;
        Ok(Self(PathBuf::from(home).join(".vault-token")))
    }

    /// The stored token; empty if there is none.
    ///
    /// # Errors
    /// The file exists but cannot be read.
    pub fn read(&self) -> Result<String, String> {
        let failed = |why: String| {
            format!(
                "failed to get token from token helper: {}: {why}",
                self.0.display()
            )
        };
        match std::fs::metadata(&self.0) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
            Err(e) => return Err(failed(plain(&e))),
            Ok(meta) if meta.len() > MAX_TOKEN_BYTES => {
                return Err(failed("the file is too large for a token".into()));
            }
            Ok(_) => {}
        }
        let bytes = std::fs::read(&self.0).map_err(|e| failed(plain(&e)))?;
        let text = String::from_utf8(bytes).map_err(|_| failed("the file is not text".into()))?;
        Ok(text.trim().to_owned())
    }

    /// Stores a token for its owner alone; the file is replaced in one step.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn store(&self, token: &str) -> Result<(), String> {
        write_private(&self.0, token)
    }
}

/// Writes a file for its owner alone; it is replaced in one step.
///
/// # Errors
/// The file cannot be written.
pub fn write_private(path: &Path, text: &str) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {}", path.display(), plain(&e));
    let mut temporary = path.to_owned().into_os_string();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let mut options = std::fs::OpenOptions::new();
    // A stale temporary file could belong to somebody else or be a link: never write through it.
    let _ = std::fs::remove_file(&temporary);
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    std::fs::rename(&temporary, path).map_err(failed)
}
