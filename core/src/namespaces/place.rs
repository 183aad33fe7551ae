//! Which namespace a request means, and the path within it. A header, a path that begins with a namespace's, and both
//! together say the same thing; there is one answer for each.

use std::borrow::Cow;

use crate::canon::CanonPath;
use crate::catalog::Catalog;
use crate::error::Error;
use crate::namespaces::{Node, check_segment, path_of_header};

/// What a locked namespace still answers.
const UNLOCK: &str = "sys/namespaces/api-lock/unlock";

/// A namespace and a path within it.
#[derive(Clone)]
pub struct Place<'a> {
    /// The namespace's mounts and policies.
    pub catalog: Cow<'a, Catalog>,
    /// The path, without that of the namespace.
    pub path: Cow<'a, CanonPath>,
}

impl<'a> Place<'a> {
    /// Where a request goes: first to the namespace of its header, then as deep as its path leads. `root` is the catalog of
    /// the root namespace.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the header is no path of names; [`Error::NoNamespace`] if there is none as it says;
    /// [`Error::NoRoute`] if nothing is left of the path;
    /// [`Error::Locked`] if the namespace or one above it is; [`Error::NamespaceSealed`] likewise, whether or not there is one
    /// of the name beneath: nobody can tell without the keys.
    pub fn find(root: &'a Catalog, header: Option<&str>, path: &'a CanonPath) -> Result<Self, Error> {
        let header = path_of_header(header);
        let top = root.node()?;
        if header.is_none() && top.children.is_empty() {
            return Ok(Self {
                catalog: Cow::Borrowed(root),
                path: Cow::Borrowed(path),
            });
        }
        let mut node = top;
        for name in header.into_iter().flat_map(|header| header.split('/')) {
            check_segment(name)?;
            if node.is_sealed() {
                break;
            }
            let missing = || Error::NoNamespace;
            node = beneath(root, node, name).ok_or_else(missing)?;
        }
        let (node, rest) = led_to(root, node, path.as_str());
        if node.record.is_root() {
            return Ok(Self {
                catalog: Cow::Borrowed(root),
                path: Cow::Borrowed(path),
            });
        }
        let path = path
            .ending_in(rest)
            .ok_or_else(|| Error::NoRoute(String::new()))?;
        let place = Self {
            catalog: Cow::Owned(root.of(node.record.number)?),
            path: Cow::Owned(path),
        };
        place.check_lock()?;
        match node.is_sealed() {
            true => Err(Error::NamespaceSealed {
                ring: node.record.ring(),
            }),
            false => Ok(place),
        }
    }

    fn check_lock(&self) -> Result<(), Error> {
        let own = self.catalog.namespace();
        let way = self.catalog.tree().way(own.number);
        let locked = way.into_iter().find(|node| node.record.lock.is_some());
        match locked {
            Some(node) if node.record.number == own.number && self.path.as_str() == UNLOCK => Ok(()),
            Some(node) => Err(Error::Locked(node.record.path.clone())),
            None => Ok(()),
        }
    }
}

/// The namespace that a path from the root on leads to, and what is left of the path within it. One whose keys are not here is as
/// deep as it leads.
pub fn namespace_of<'c>(root: &'c Catalog, path: &'c str) -> Result<(&'c Node, &'c str), Error> {
    Ok(led_to(root, root.node()?, path))
}

/// As deep as a path leads from a namespace.
fn led_to<'c>(root: &'c Catalog, from: &'c Node, path: &'c str) -> (&'c Node, &'c str) {
    let (mut node, mut rest) = (from, path);
    while !node.is_sealed()
        && let Some((name, left)) = rest.split_once('/')
        && let Some(child) = beneath(root, node, name)
    {
        (node, rest) = (child, left);
    }
    (node, rest)
}

/// The namespace `name` right beneath another, unless it is ending.
fn beneath<'c>(root: &'c Catalog, node: &Node, name: &str) -> Option<&'c Node> {
    let child = root.tree().child(node.record.number, name)?;
    Some(child).filter(|child| !child.record.closing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::namespaces::NamespaceRecord;
    use proptest::prelude::*;

    const PATHS: [&str; 5] = ["a/", "a/b/", "a/b/c/", "b/", "b/a/"];

    fn root() -> Catalog {
        let records = PATHS.iter().zip(1..).map(|(path, number)| NamespaceRecord {
            number,
            path: (*path).to_owned(),
            ..NamespaceRecord::default()
        });
        Catalog::of_namespaces(records.collect())
    }

    fn found(root: &Catalog, header: Option<&str>, path: &str) -> Result<(String, String), Error> {
        let path = CanonPath::parse(path)?;
        let place = Place::find(root, header, &path)?;
        Ok((
            place.catalog.namespace().path.clone(),
            place.path.as_str().to_owned(),
        ))
    }

    #[test]
    fn headers_paths_and_both_say_the_same() {
        let root = root();
        let wanted = ("a/b/".to_owned(), "kv/x".to_owned());
        for (header, path) in [
            (None, "a/b/kv/x"),
            (Some("a"), "b/kv/x"),
            (Some("/a/"), "b/kv/x"),
            (Some("a/b"), "kv/x"),
            (Some("a/b/"), "kv/x"),
            (Some("root"), "a/b/kv/x"),
        ] {
            assert_eq!(found(&root, header, path).unwrap(), wanted, "{header:?} {path}");
        }
        for header in ["nope", "a/nope", "root/a", "A"] {
            let error = found(&root, Some(header), "kv/x").unwrap_err();
            assert_eq!(error.to_string(), "namespace not found", "{header}");
        }
        for header in ["../a", "../root", "a//b", "a/../b", "./a", "a\\b", "a\u{0}"] {
            let error = found(&root, Some(header), "kv/x").unwrap_err();
            assert!(matches!(error, Error::Invalid(_)), "{header}: {error}");
        }
        assert!(matches!(found(&root, None, "a/"), Err(Error::NoRoute(_))));
        assert_eq!(found(&root, None, "a").unwrap().1, "a");
        assert_eq!(
            found(&root, None, "c/a/kv").unwrap(),
            (String::new(), "c/a/kv".into())
        );
    }

    proptest! {
        #[test]
        fn one_name_for_each(
            segments in proptest::collection::vec("[abcx]", 1..7),
            cut in 0_usize..7,
        ) {
            let root = root();
            let whole = segments.join("/");
            let all = found(&root, None, &whole);
            let cut = cut.min(segments.len() - 1);
            let (header, path) = segments.split_at(cut);
            let split = found(&root, Some(&header.join("/")), &path.join("/"));
            if let Ok((namespace, rest)) = &all {
                prop_assert_eq!(format!("{namespace}{rest}"), whole);
            }
            // A header must name a namespace; where it does, it changes nothing.
            if let (Ok(split), Ok(all)) = (split, all) {
                prop_assert_eq!(split, all);
            }
        }
    }
}
