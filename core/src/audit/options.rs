//! What a device may be told, over the API and in a node's configuration alike. Vault's and OpenBao's names where they have
//! one; what would make a device unsafe is refused by name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use conclave_engine_api::Millis;

use crate::audit::filter::Filter;
use crate::audit::target::Target;
use crate::error::Error;

/// Longest path of a file in bytes.
const MAX_PATH: usize = 4096;
/// Bytes that a device's spool may hold unless told otherwise, and what it may be told.
const SPOOL_BYTES: u64 = 256 << 20;
const MIN_SPOOL_BYTES: u64 = 1 << 20;
const MAX_SPOOL_BYTES: u64 = 1 << 40;
/// Least bytes after which a file may be put aside: below, there would be more files than records.
const MIN_ROTATE_BYTES: u64 = 64 << 10;
/// Most files that are kept aside.
const MAX_ROTATE_FILES: usize = 100_000;

/// A device that a node's configuration declares: it is this node's alone, and there while the node is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Its name, with trailing slash.
    pub path: String,
    /// `file`, `socket`, `syslog`, `http`.
    pub kind: String,
    /// For people.
    pub description: String,
    /// As written.
    pub options: BTreeMap<String, String>,
}

/// A device's options, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceOptions {
    /// Where records go.
    pub output: Output,
    /// Whether each record must be taken by this device; else that any takes it is enough.
    pub must: bool,
    /// Whether a record counts as taken only when it would survive a loss of power.
    pub sync: bool,
    /// Whether records are chained.
    pub chain: bool,
    /// Which records it takes; all without one.
    pub filter: Option<Filter>,
    /// Whether it takes those alone that every other device passes over.
    pub fallback: bool,
}

/// Where a device's records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Into a file.
    File(FileOptions),
    /// To another program, by way of a spool.
    Remote(RemoteOptions),
}

/// A file device's options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileOptions {
    /// The file.
    pub file: PathBuf,
    /// Bytes after which it is put aside; 0 for never.
    pub rotate_bytes: u64,
    /// Time after which it is put aside; 0 for never.
    pub rotate_after: Millis,
    /// Files put aside that are kept; 0 for all.
    pub rotate_max_files: usize,
}

/// Options of a device that hands records on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteOptions {
    /// To whom.
    pub target: Target,
    /// Bytes its spool may hold.
    pub spool_bytes: u64,
}

impl DeviceOptions {
    /// Checks options as they were written for a device of this type.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the option that is unknown, missing or refused; [`Error::Unsupported`] a type there is none of.
    pub fn read(kind: &str, options: &BTreeMap<String, String>) -> Result<Self, Error> {
        if !["file", "socket", "syslog", "http"].contains(&kind) {
            return Err(Error::Unsupported(format!("audit devices of type {kind:?}")));
        }
        let mut left = Left {
            kind,
            options: options.clone(),
        };
        let (must, chain) = (left.policy()?, left.flag("chain", true)?);
        let filter = left.text("filter").filter(|text| !text.is_empty());
        let filter = filter.map(|text| Filter::read(&text)).transpose()?;
        let fallback = left.flag("fallback", false)?;
        if fallback && filter.is_some() {
            return Err(Error::invalid(
                "a fallback audit device takes what filters pass over, and has none itself",
            ));
        }
        left.refuse_unsafe()?;
        // What leaves this machine later must not be lost before.
        let sync = left.flag("sync", kind != "file")?;
        let output = if kind == "file" {
            Output::File(FileOptions::read(&mut left)?)
        } else {
            Output::Remote(RemoteOptions {
                spool_bytes: left.number("spool_bytes", SPOOL_BYTES, MIN_SPOOL_BYTES..=MAX_SPOOL_BYTES)?,
                target: Target::read(&mut left)?,
            })
        };
        left.nothing()?;
        Ok(Self {
            output,
            must,
            sync,
            chain,
            filter,
            fallback,
        })
    }
}

/// Whether each record has a device among these that takes it: where one has a filter, there must be one without.
pub fn take_everything<'o>(devices: impl Iterator<Item = &'o DeviceOptions>) -> bool {
    let (mut filtered, mut whole) = (false, false);
    for device in devices {
        filtered |= device.filter.is_some();
        whole |= device.filter.is_none();
    }
    whole || !filtered
}

impl FileOptions {
    fn read(left: &mut Left<'_>) -> Result<Self, Error> {
        let path = left
            .text("file_path")
            .or_else(|| left.text("path"))
            .unwrap_or_default();
        if path.len() > MAX_PATH {
            return Err(Error::invalid("file_path is too long"));
        }
        match left.text("mode").as_deref() {
            None | Some("0600" | "600" | "") => {}
            Some(_) => return Err(Error::invalid("audit files are made with mode 0600 and no other")),
        }
        let rotate_bytes = left.number("rotate_bytes", 0, 0..=u64::MAX)?;
        if (1..MIN_ROTATE_BYTES).contains(&rotate_bytes) {
            return Err(Error::invalid(format!(
                "audit option rotate_bytes must be 0 or at least {MIN_ROTATE_BYTES}"
            )));
        }
        let read = Self {
            file: PathBuf::from(&path),
            rotate_bytes,
            rotate_after: left.duration("rotate_duration", 0)?,
            rotate_max_files: usize::try_from(left.number("rotate_max_files", 0, 0..=u64::MAX)?)
                .unwrap_or(MAX_ROTATE_FILES)
                .min(MAX_ROTATE_FILES),
        };
        match path.as_str() {
            "" => Err(Error::invalid("file_path is required")),
            "stdout" | "stderr" | "discard" => Err(Error::invalid(
                "file_path must be a file inside audit_directories; standard output is not kept by anybody",
            )),
            _ if !read.file.is_absolute() => Err(Error::invalid("file_path must be absolute")),
            _ => Ok(read),
        }
    }
}

/// Options that were not looked at yet.
pub struct Left<'k> {
    /// The device's type.
    pub kind: &'k str,
    options: BTreeMap<String, String>,
}

impl Left<'_> {
    /// Takes one.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.options.remove(name)
    }

    /// Takes a flag.
    pub fn flag(&mut self, name: &str, default: bool) -> Result<bool, Error> {
        match self.text(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| Error::invalid(format!("audit option {name} must be true or false"))),
        }
    }

    /// Takes a number.
    pub fn number(
        &mut self,
        name: &str,
        default: u64,
        allowed: std::ops::RangeInclusive<u64>,
    ) -> Result<u64, Error> {
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        let number = text.parse().ok().filter(|number| allowed.contains(number));
        number.ok_or_else(|| {
            let (from, to) = allowed.into_inner();
            Error::invalid(format!(
                "audit option {name} must be a whole number from {from} to {to}"
            ))
        })
    }

    /// Takes a duration: `2s`, `24h`, or a number of seconds.
    pub fn duration(&mut self, name: &str, default: Millis) -> Result<Millis, Error> {
        const UNITS: [(&str, Millis); 5] = [
            ("ms", 1),
            ("s", 1_000),
            ("m", 60_000),
            ("h", 3_600_000),
            ("d", 86_400_000),
        ];
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        let (digits, unit) = UNITS
            .iter()
            .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))
            .unwrap_or((&text, 1_000));
        let count: Option<Millis> = digits.parse().ok();
        count.and_then(|count| count.checked_mul(unit)).ok_or_else(|| {
            Error::invalid(format!(
                "audit option {name} must be a duration such as 30s or 24h"
            ))
        })
    }

    fn policy(&mut self) -> Result<bool, Error> {
        match self.text("policy").as_deref() {
            None | Some("should") => Ok(false),
            Some("must") => Ok(true),
            Some(_) => Err(Error::invalid("audit option policy must be must or should")),
        }
    }

    fn refuse_unsafe(&mut self) -> Result<(), Error> {
        // What these say is what is done anyway.
        for (name, only) in [
            ("log_raw", "false"),
            ("hmac_accessor", "true"),
            ("format", "json"),
            ("prefix", ""),
            ("elide_list_responses", "false"),
        ] {
            match (name, self.text(name)) {
                (_, None) => {}
                (_, Some(text)) if text == only => {}
                ("log_raw", _) => return Err(Error::invalid("audit records never hold values in the clear")),
                ("prefix", _) => {
                    return Err(Error::invalid(
                        "audit option prefix is refused: it turns an audit file into a script",
                    ));
                }
                _ => {
                    return Err(Error::invalid(format!(
                        "audit option {name:?} is supported as {only:?} only"
                    )));
                }
            }
        }
        Ok(())
    }

    fn nothing(self) -> Result<(), Error> {
        match self.options.keys().next() {
            None => Ok(()),
            Some(name) => Err(Error::invalid(format!(
                "audit option {name:?} is not supported by {} devices",
                self.kind
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &str, options: &[(&str, &str)]) -> Result<DeviceOptions, Error> {
        let options = options
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        DeviceOptions::read(kind, &options.collect())
    }

    fn file(options: &DeviceOptions) -> &FileOptions {
        match &options.output {
            Output::File(file) => file,
            Output::Remote(_) => panic!("not a file"),
        }
    }

    #[test]
    fn options_are_known_or_refused_by_name() {
        let good = read(
            "file",
            &[("file_path", "/a/b"), ("mode", "0600"), ("log_raw", "false")],
        )
        .unwrap();
        assert_eq!(file(&good).file.to_str(), Some("/a/b"));
        assert!(!good.sync && !good.must && good.chain);
        let good = read(
            "file",
            &[
                ("path", "/a/b"),
                ("sync", "true"),
                ("policy", "must"),
                ("chain", "false"),
            ],
        );
        let good = good.unwrap();
        assert!(good.sync && good.must && !good.chain);
        let rotated = [
            ("file_path", "/a"),
            ("rotate_bytes", "65536"),
            ("rotate_duration", "24h"),
            ("rotate_max_files", "7"),
        ];
        let good = read("file", &rotated).unwrap();
        let file = file(&good);
        assert_eq!(
            (file.rotate_bytes, file.rotate_after, file.rotate_max_files),
            (65536, 86_400_000, 7)
        );
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
            (vec![("file_path", "/a"), ("policy", "may")], "must or should"),
            (
                vec![("file_path", "/a"), ("filter", "path = x")],
                "filter: character 6",
            ),
            (
                vec![("file_path", "/a"), ("filter", "path == x"), ("fallback", "true")],
                "has none itself",
            ),
            (vec![("file_path", "/a"), ("rotate_bytes", "7")], "at least 65536"),
            (
                vec![("file_path", "/a"), ("rotate_duration", "soon")],
                "a duration",
            ),
        ] {
            let error = read("file", &bad).unwrap_err().to_string();
            assert!(error.contains(said), "{bad:?}: {error}");
        }
        assert!(matches!(read("pipe", &[]), Err(Error::Unsupported(_))));
    }
}
