//! `list_scan_response_keys_filter_path` of a rule: which path a name in a list stands for. It must not know
//! capabilities.

use crate::error::Error;

/// A template over `{{ .path }}`, the path of the list, and `{{ .key }}`, a name in it. OpenBao's templates are Go's;
/// only these two fields are built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysFilter {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Path,
    Key,
}

impl KeysFilter {
    /// Reads a template. It must use `.key`; anything but the two fields is unsupported.
    pub fn parse(template: &str) -> Result<Self, Error> {
        let mut parts = Vec::new();
        let mut pieces = template.split("{{");
        parts.extend(
            pieces
                .next()
                .filter(|text| !text.is_empty())
                .map(|text| Part::Text(text.to_owned())),
        );
        for piece in pieces {
            let (field, text) = piece.split_once("}}").ok_or_else(|| {
                Error::invalid(
                    "unable to compile template for list_scan_response_keys_filter_path: unclosed action",
                )
            })?;
            parts.push(match field.trim() {
                ".path" => Part::Path,
                ".key" => Part::Key,
                _ => {
                    return Err(Error::Unsupported(
                        "list_scan_response_keys_filter_path with anything but .path and .key".to_owned(),
                    ));
                }
            });
            if !text.is_empty() {
                parts.push(Part::Text(text.to_owned()));
            }
        }
        if !parts.contains(&Part::Key) {
            return Err(Error::invalid(
                "list_scan_response_keys_filter_path resulted in same path for two different keys",
            ));
        }
        Ok(Self { parts })
    }

    /// The path whose READ (or LIST, if `key` ends in `/`) must be allowed for `key` to stay in the list of `path`.
    pub fn target(&self, path: &str, key: &str) -> String {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text,
                Part::Path => path,
                Part::Key => key,
            })
            .collect()
    }
}
