//! What a file device may be told, over the API and in a node's configuration alike.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::Error;

/// Longest path of a file in bytes.
const MAX_PATH: usize = 4096;

/// A device that a node's configuration declares: it is this node's alone, and there while the node is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Its name, with trailing slash.
    pub path: String,
    /// For people.
    pub description: String,
    /// As written.
    pub options: BTreeMap<String, String>,
}

/// A file device's options, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOptions {
    /// The file.
    pub file: PathBuf,
    /// Whether a record counts as taken only when it would survive a loss of power.
    pub sync: bool,
}

impl FileOptions {
    /// Checks options as they were written.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the option that is unknown, missing or refused.
    pub fn read(options: &BTreeMap<String, String>) -> Result<Self, Error> {
        let mut read = Self {
            file: PathBuf::new(),
            sync: false,
        };
        for (name, text) in options {
            match (name.as_str(), text.as_str()) {
                ("file_path" | "path", _) if text.len() > MAX_PATH => {
                    return Err(Error::invalid("file_path is too long"));
                }
                ("file_path" | "path", _) => read.file = PathBuf::from(text),
                ("sync", _) => {
                    read.sync = text
                        .parse()
                        .map_err(|_| Error::invalid("audit option sync must be true or false"))?;
                }
                ("mode", "0600" | "600" | "") => {}
                ("mode", _) => {
                    return Err(Error::invalid("audit files are made with mode 0600 and no other"));
                }
                // What these say is what is done anyway.
                ("log_raw", "false") | ("hmac_accessor", "true") | ("format", "json") | ("prefix", "") => {}
                ("log_raw", _) => return Err(Error::invalid("audit records never hold values in the clear")),
                ("prefix", _) => {
                    return Err(Error::invalid(
                        "audit option prefix is refused: it turns an audit file into a script",
                    ));
                }
                _ => {
                    return Err(Error::invalid(format!(
                        "audit option {name:?} is not supported by file devices"
                    )));
                }
            }
        }
        match read.file.to_str() {
            Some("") | None => Err(Error::invalid("file_path is required")),
            Some("stdout" | "stderr" | "discard") => Err(Error::invalid(
                "file_path must be a file inside audit_directories; standard output is not kept by anybody",
            )),
            Some(_) if !read.file.is_absolute() => Err(Error::invalid("file_path must be absolute")),
            Some(_) => Ok(read),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[(&str, &str)]) -> Result<FileOptions, Error> {
        let options = options
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        FileOptions::read(&options.collect())
    }

    #[test]
    fn options_are_known_or_refused_by_name() {
        let good = read(&[("file_path", "/a/b"), ("mode", "0600"), ("log_raw", "false")]).unwrap();
        assert_eq!((good.file.to_str(), good.sync), (Some("/a/b"), false));
        assert!(read(&[("path", "/a/b"), ("sync", "true")]).unwrap().sync);
        for (bad, said) in [
            (vec![], "file_path is required"),
            (vec![("file_path", "stdout")], "inside audit_directories"),
            (vec![("file_path", "a.log")], "absolute"),
            (vec![("file_path", "/a"), ("sync", "yes")], "sync must be"),
            (vec![("file_path", "/a"), ("mode", "0644")], "0600"),
            (vec![("file_path", "/a"), ("prefix", "#!")], "prefix is refused"),
            (vec![("file_path", "/a"), ("log_raw", "true")], "in the clear"),
            (vec![("file_path", "/a"), ("format", "jsonx")], "\"format\""),
            (vec![("file_path", "/a"), ("facility", "AUTH")], "\"facility\""),
        ] {
            let error = read(&bad).unwrap_err().to_string();
            assert!(error.contains(said), "{bad:?}: {error}");
        }
    }
}
