//! What happened to a key, by the rows that one command changed. A record is written by everything that is done to a key;
//! that it was alone says that no data came or went, and no more.

use std::collections::BTreeMap;

use conclave_engine_api::{ChangedRow, Happening, What};

use super::record::{RECORDS, VERSIONS};

/// The rows of a key and of those beneath it.
pub(in crate::secret::kv) fn rows_of(key: &str) -> Vec<String> {
    vec![format!("{RECORDS}{key}"), format!("{VERSIONS}{key}")]
}

/// The paths by which a key is read.
pub(in crate::secret::kv) fn readable_at(key: &str) -> Vec<String> {
    vec![format!("data/{key}"), format!("metadata/{key}")]
}

/// What a command did to the rows of one key.
#[derive(Default)]
struct Rows {
    record_removed: bool,
    added: Vec<u64>,
    gone: Vec<u64>,
}

/// What happened, by the rows that were changed.
pub(in crate::secret::kv) fn happenings(rows: &[ChangedRow]) -> Vec<Happening> {
    let mut keys: BTreeMap<&str, Rows> = BTreeMap::new();
    for row in rows {
        if let Some(key) = row.path.strip_prefix(RECORDS) {
            keys.entry(key).or_default().record_removed = row.removed;
        } else if let Some((key, number)) = version_of(&row.path) {
            let of_key = keys.entry(key).or_default();
            match row.removed {
                true => of_key.gone.push(number),
                false => of_key.added.push(number),
            }
        }
    }
    let told = keys.into_iter().map(|(key, rows)| rows.happening(key));
    told.collect()
}

/// The key and the number of a row of data.
fn version_of(path: &str) -> Option<(&str, u64)> {
    let (key, number) = path.strip_prefix(VERSIONS)?.rsplit_once('/')?;
    Some((key, number.parse().ok()?))
}

impl Rows {
    fn happening(self, key: &str) -> Happening {
        let (what, mut versions) = match self {
            Self {
                record_removed: true, ..
            } => (What::Removed, Vec::new()),
            // What a new version displaces is trimmed, which nobody did on purpose.
            Self { added, .. } if !added.is_empty() => (What::Written, added),
            Self { gone, .. } if !gone.is_empty() => (What::Destroyed, gone),
            Self { .. } => (What::Changed, Vec::new()),
        };
        versions.sort_unstable();
        Happening {
            key: key.to_owned(),
            what,
            versions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows as `+path` and `-path`, and what they tell as `what key versions`.
    fn told(rows: &[&str]) -> Vec<String> {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| ChangedRow {
                path: row[1..].to_owned(),
                removed: row.starts_with('-'),
            })
            .collect();
        let all = happenings(&rows).into_iter();
        all.map(|happening| {
            format!(
                "{} {} {:?}",
                happening.what.name(),
                happening.key,
                happening.versions
            )
        })
        .collect()
    }

    #[test]
    fn rows_tell_what_happened() {
        assert_eq!(told(&["+d/a/b/1", "+m/a/b"]), ["written a/b [1]"]);
        assert_eq!(told(&["-d/a/1", "+d/a/11", "+m/a"]), ["written a [11]"]);
        assert_eq!(told(&["+d/a/10", "+d/a/9", "+m/a"]), ["written a [9, 10]"]);
        assert_eq!(told(&["+m/a"]), ["changed a []"]);
        assert_eq!(told(&["-d/a/2", "-d/a/1", "+m/a"]), ["destroyed a [1, 2]"]);
        assert_eq!(told(&["-d/a/1", "-m/a"]), ["removed a []"]);
        assert_eq!(told(&["-m/a"]), ["removed a []"]);
    }

    #[test]
    fn keys_are_told_apart_and_other_rows_passed_over() {
        assert_eq!(
            told(&["+d/b/1", "+m/b", "+d/a/1/1", "+m/a/1", "+m/a", "+config", "-v1/a"]),
            ["changed a []", "written a/1 [1]", "written b [1]"]
        );
        assert!(told(&["+config", "+x/y"]).is_empty());
    }
}
