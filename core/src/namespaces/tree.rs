//! All namespaces of a view, and the mounts of all of them by number.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::catalog::{Category, MountRecord, Own};
use crate::identity::mfa::Mfa;
use crate::namespaces::NamespaceRecord;
use crate::policy::Policy;

/// A namespace in the tree.
#[derive(Clone)]
pub struct Node {
    /// What is kept of it.
    pub record: Arc<NamespaceRecord>,
    /// Its mounts and policies.
    pub(crate) own: Arc<Own>,
    /// Namespaces right beneath it, by name. Those that are ending are among them.
    pub children: BTreeMap<String, u32>,
}

impl Node {
    /// Second factors that it asks for itself.
    pub fn mfa(&self) -> &Mfa {
        self.own.mfa()
    }

    /// Whether its keys are not here: then nothing of it is known but that it is there.
    pub fn is_sealed(&self) -> bool {
        self.own.is_sealed()
    }
}

/// All namespaces of a view.
pub struct Tree {
    nodes: HashMap<u32, Node>,
    mounts: HashMap<u32, Arc<MountRecord>>,
    /// What tokens that hold wrapped answers may do.
    pub(crate) wrapping: Arc<Policy>,
}

impl Tree {
    /// Joins namespaces into a tree; the root is one of them.
    pub(crate) fn new(all: Vec<(Arc<NamespaceRecord>, Arc<Own>)>, wrapping: Arc<Policy>) -> Self {
        let by_path: HashMap<String, u32> = all
            .iter()
            .map(|(record, _)| (record.path.clone(), record.number))
            .collect();
        let mut nodes = HashMap::with_capacity(all.len());
        let mut mounts = HashMap::new();
        let mut edges = Vec::new();
        for (record, own) in all {
            for mount in own.all_mounts() {
                mounts.insert(mount.id, mount.clone());
            }
            if !record.is_root()
                && let Some(parent) = by_path.get(record.parent_path())
            {
                edges.push((*parent, record.name().to_owned(), record.number));
            }
            let node = Node {
                record: record.clone(),
                own,
                children: BTreeMap::new(),
            };
            nodes.insert(record.number, node);
        }
        for (parent, name, number) in edges {
            if let Some(node) = nodes.get_mut(&parent) {
                node.children.insert(name, number);
            }
        }
        Self {
            nodes,
            mounts,
            wrapping,
        }
    }

    /// The namespace with this number.
    pub fn node(&self, number: u32) -> Option<&Node> {
        self.nodes.get(&number)
    }

    /// The namespace called `name` right beneath another.
    pub fn child(&self, number: u32, name: &str) -> Option<&Node> {
        let child = self.nodes.get(&number)?.children.get(name)?;
        self.nodes.get(child)
    }

    /// How many there are, the root included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none; there always is the root.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The mount with this number, in whatever namespace.
    pub fn mount(&self, id: u32) -> Option<&Arc<MountRecord>> {
        self.mounts.get(&id)
    }

    /// A namespace and all beneath it, parents before children, in the order of their paths.
    pub fn beneath(&self, number: u32) -> Vec<&Node> {
        let mut found = Vec::new();
        let mut pending = vec![number];
        while let Some(number) = pending.pop() {
            let Some(node) = self.nodes.get(&number) else {
                continue;
            };
            found.push(node);
            pending.extend(node.children.values().rev());
        }
        found
    }

    /// The same without those whose keys are not here.
    pub fn open_beneath(&self, number: u32) -> Vec<&Node> {
        let mut found = self.beneath(number);
        found.retain(|node| !node.is_sealed());
        found
    }

    /// From the root down to a namespace, both included.
    pub fn way(&self, number: u32) -> Vec<&Node> {
        let mut way = Vec::new();
        let Some(target) = self.nodes.get(&number) else {
            return way;
        };
        let mut at = self.nodes.get(&crate::store::layout::ROOT_NAMESPACE);
        let mut rest = target.record.path.as_str();
        while let Some(node) = at {
            way.push(node);
            let Some((name, beneath)) = rest.split_once('/') else {
                break;
            };
            at = node.children.get(name).and_then(|number| self.nodes.get(number));
            rest = beneath;
        }
        way
    }

    /// Secrets mounts of a namespace.
    pub(crate) fn secret_mounts(&self, number: u32) -> impl Iterator<Item = &Arc<MountRecord>> {
        let node = self.nodes.get(&number);
        node.into_iter()
            .flat_map(|node| node.own.mounts(Category::Secret).values())
    }
}
