//! What a policy says and its author hardly means: rules that widen each other, rules that nothing can match. Works on the
//! text; knows no server.

use std::collections::{BTreeMap, BTreeSet};

use conclave_hcl::{Body, Section};

/// The first words of paths in a key-value mount with versions.
const KV2_AREAS: [&str; 9] = [
    "config",
    "data",
    "metadata",
    "delete",
    "undelete",
    "destroy",
    "subkeys",
    "detailed-metadata",
    "import",
];

/// Something to look at.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// Line of the policy.
    pub line: u32,
    /// What is odd about it, and what to write instead.
    pub what: String,
}

/// Everything odd in a policy. `kv2` holds the paths of key-value mounts with versions, each with a slash at its end.
///
/// # Errors
/// The text is no policy; the place and reason in words.
pub fn lint(text: &str, kv2: &[String]) -> Result<Vec<Finding>, String> {
    let body = conclave_hcl::parse(text).map_err(|error| error.to_string())?;
    let sections = body.sections("path", 1).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    let mut known: BTreeMap<&str, (u32, BTreeSet<String>)> = BTreeMap::new();
    for section in &sections {
        let path = path(section);
        let (line, given) = (section.pos.line, capabilities(section.body)?);
        let mut report = |what: String| found.push(Finding { line, what });
        if let Some((first, before)) = known.get(path) {
            let more: Vec<&str> = given.difference(before).map(String::as_str).collect();
            match (before.contains("deny") || given.contains("deny"), more.is_empty()) {
                (true, _) => report(format!(
                    "path {path:?} is there on line {first} too: the deny wins over all it grants"
                )),
                (_, false) => report(format!(
                    "path {path:?} is there on line {first} too: both count together, so this one adds {}",
                    more.join(", ")
                )),
                _ => report(format!(
                    "path {path:?} is there on line {first} too, and this one adds nothing"
                )),
            }
        }
        if given.is_empty() && section.body.named("policy").next().is_none() {
            report(format!("path {path:?} grants nothing: it has no capabilities"));
        }
        if path.trim_end_matches('*').contains('*') {
            report(format!(
                "path {path:?}: a * stands for itself but at the end; + stands for one segment"
            ));
        }
        if path == "*" && !given.contains("deny") {
            report("path \"*\" reaches everything on the server, other policies included".to_owned());
        }
        if let Some(what) = kv2.iter().find_map(|mount| astray(path, mount)) {
            report(what);
        }
        let (_, all) = known.entry(path).or_insert((line, BTreeSet::new()));
        all.extend(given);
    }
    found.sort_by_key(|finding| finding.line);
    Ok(found)
}

fn path<'a>(section: &Section<'a>) -> &'a str {
    let name = section.labels.first().map_or("", |label| label.name.as_str());
    name.strip_prefix('/').unwrap_or(name)
}

fn capabilities(body: &Body) -> Result<BTreeSet<String>, String> {
    let list = body.value("capabilities").map_err(|error| error.to_string())?;
    let names = list.map(|list| list.texts()).transpose();
    Ok(names
        .map_err(|error| error.to_string())?
        .unwrap_or_default()
        .into_iter()
        .collect())
}

/// Why a path within a key-value mount with versions matches no request to it.
fn astray(path: &str, mount: &str) -> Option<String> {
    let inside = path.strip_prefix(mount)?;
    let (area, rest) = inside.split_once('/').unwrap_or((inside, ""));
    let matches = |known: &&str| match area.strip_suffix('*') {
        Some(start) if area.len() == inside.len() => known.starts_with(start),
        _ => area == *known || area == "+",
    };
    if KV2_AREAS.iter().any(matches) {
        // The area alone addresses nothing but the settings, and lists of keys.
        return None;
    }
    let what = if inside.is_empty() {
        format!("{mount}metadata/ to list and {mount}data/* to read")
    } else {
        let key = if rest.is_empty() {
            area.to_owned()
        } else {
            format!("{area}/{rest}")
        };
        format!("{mount}data/{key} for values and {mount}metadata/{key} for names and versions")
    };
    Some(format!(
        "path {path:?} matches no request: {mount} keeps versions, so write {what}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let found = lint(text, &["secret/".to_owned(), "development/".to_owned()]).unwrap();
        found
            .into_iter()
            .map(|one| format!("{}: {}", one.line, one.what))
            .collect()
    }

    #[test]
    fn duplicates_that_widen_are_told() {
        let text = "path \"a/b\" { capabilities = [\"read\"] }\n\npath \"/a/b\" { capabilities = [\"read\", \"update\", \"delete\"] }\n\
                    path \"a/b\" { capabilities = [\"read\"] }\npath \"a/b\" { capabilities = [\"deny\"] }\n";
        assert_eq!(
            findings(text),
            [
                "3: path \"a/b\" is there on line 1 too: both count together, so this one adds delete, update",
                "4: path \"a/b\" is there on line 1 too, and this one adds nothing",
                "5: path \"a/b\" is there on line 1 too: the deny wins over all it grants",
            ]
        );
    }

    #[test]
    fn rules_that_match_no_versioned_key_are_told() {
        let rule = |path: &str| findings(&format!("path \"{path}\" {{ capabilities = [\"read\"] }}")).len();
        for good in [
            "secret/data/foo",
            "secret/*",
            "secret/da*",
            "secret/+/foo",
            "secret/metadata",
            "secret/metadata/*",
            "secret/config",
            "other/foo",
            "secrets/foo",
            "sys/mounts",
        ] {
            assert_eq!(rule(good), 0, "{good}");
        }
        for bad in [
            "secret/foo",
            "secret/foo/*",
            "secret/foo*",
            "secret/",
            "development/api-keys/*",
            "/secret/dat",
        ] {
            assert_eq!(rule(bad), 1, "{bad}");
        }
        let told = findings("path \"development/api-keys/*\" { capabilities = [\"read\"] }");
        assert!(
            told[0].contains("write development/data/api-keys/* for values"),
            "{told:?}"
        );
    }

    #[test]
    fn other_oddities_are_told_and_wrong_text_is_refused() {
        assert!(
            findings("path \"a/*/b\" { capabilities = [\"read\"] }")[0].contains("+ stands for one segment")
        );
        assert!(findings("path \"*\" { capabilities = [\"read\"] }")[0].contains("everything"));
        assert!(findings("path \"a\" { }")[0].contains("grants nothing"));
        assert!(findings("path \"a\" { policy = \"read\" }").is_empty());
        assert!(lint("path \"a\" {", &[]).is_err());
    }
}
