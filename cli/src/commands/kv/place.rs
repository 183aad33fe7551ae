//! Where a key lives: mount, version of the engine, and the path of the API for an operation. Asks the server once.

use conclave_client::http::{Json, Preview, Request, Secret, url};

use super::MOUNT;
use crate::commands::sanitize;
use crate::exit::Fail;
use crate::flags::Args;
use crate::session::Api;

/// A key or folder in a KV mount.
pub struct Place {
    /// Path of the mount with a slash at its end.
    pub mount: String,
    /// The key with its mount.
    pub path: String,
    /// Whether the mount keeps versions.
    pub v2: bool,
}

impl Place {
    /// Finds the key that the first argument and `-mount` name.
    ///
    /// # Errors
    /// The server refuses to tell.
    pub fn find(api: &mut Api, args: &Args) -> Result<Self, Fail> {
        Self::find_at(api, args, sanitize(args.arg(0)))
    }

    /// As [`Place::find`] with the path given.
    ///
    /// # Errors
    /// As [`Place::find`].
    pub fn find_at(api: &mut Api, args: &Args, path: &str) -> Result<Self, Fail> {
        match args.some(&MOUNT) {
            Some(mount) => {
                let (mount, v2) = preflight(api, sanitize(mount))?;
                let path = url::join(&[&mount, path]);
                Ok(Self { mount, path, v2 })
            }
            None => {
                let (mount, v2) = preflight(api, path)?;
                Ok(Self {
                    mount,
                    path: path.to_owned(),
                    v2,
                })
            }
        }
    }

    /// The API path with the operation's word after the mount (`data`, `metadata`, `delete`, ...).
    pub fn with(&self, word: &str) -> String {
        let Self { mount, path, .. } = self;
        if path == mount || path == mount.trim_end_matches('/') {
            return url::join(&[mount, word]);
        }
        let mut mount = mount.as_str();
        let mut suffix = path.strip_prefix(mount).unwrap_or(path);
        // The server's mount path may begin with a namespace that the user's path does not name.
        while suffix == path {
            let Some((_, rest)) = mount.split_once('/').filter(|(_, rest)| !rest.is_empty()) else {
                break;
            };
            mount = rest.trim_end_matches('/');
            suffix = suffix.strip_prefix(mount).unwrap_or(suffix);
        }
        url::join(&[mount, word, suffix])
    }

    /// The path to read or write: under `word` in a mount with versions, else the key itself.
    pub fn or_plain(&self, word: &str) -> String {
        if self.v2 {
            self.with(word)
        } else {
            self.path.clone()
        }
    }
}

/// Asks which mount serves a path and whether it keeps versions.
fn preflight(api: &mut Api, path: &str) -> Result<(String, bool), Fail> {
    let shown = api.client.preview();
    // The question itself is sent even if the command's request is only shown.
    api.client.set_preview(None);
    let mut request = Request::new("GET", format!("sys/internal/ui/mounts/{path}"));
    request.no_wrap = true;
    let answer = api.send_raw(&request);
    api.client.set_preview(shown);
    let (url, response) = answer?;
    match response.code {
        200..400 => {}
        // Servers before KV v2 do not know the question.
        404 => return Ok((String::new(), false)),
        403 if shown.is_some() => return Err(Fail::remote(hint(path, shown))),
        _ => return Err(api.client.status_error(&request, &url, &response).into()),
    }
    let secret = Secret::parse(&response.body).map_err(|e| Fail::remote(e.to_string()))?;
    let secret = secret.ok_or_else(|| Fail::remote("nil response from pre-flight request"))?;
    let mount = secret
        .field("path")
        .and_then(Json::as_str)
        .unwrap_or_default()
        .to_owned();
    let version = secret
        .field("options")
        .and_then(|o| o.get("version"))
        .and_then(Json::as_str);
    Ok((mount, version == Some("2")))
}

fn hint(path: &str, shown: Option<Preview>) -> String {
    let what = if shown == Some(Preview::Curl) {
        "curl command"
    } else {
        "policy"
    };
    format!(
        "To show the {what}, the version of the secrets engine must be asked for first, and this token may not read \
         {path}. Use a token that may. In a KV v2 mount that is the path 'mount-path/data/foo', not 'mount-path/foo'."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(mount: &str, path: &str, word: &str) -> String {
        Place {
            mount: mount.into(),
            path: path.into(),
            v2: true,
        }
        .with(word)
    }

    #[test]
    fn words_go_after_the_mount() {
        assert_eq!(with("secret/", "secret/a/b", "data"), "secret/data/a/b");
        assert_eq!(with("secret/", "secret", "metadata"), "secret/metadata");
        assert_eq!(with("ns1/ns2/kv/", "kv/foo", "data"), "kv/data/foo");
        assert_eq!(with("team/kv/", "team/kv/data/x", "data"), "team/kv/data/data/x");
    }
}
