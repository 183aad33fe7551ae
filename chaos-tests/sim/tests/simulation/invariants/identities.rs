//! A node's id is given to one key, once: a second owner would count where the first did (etcd and openraft forbid the same).

use std::collections::BTreeMap;

#[derive(Default)]
pub struct Identities {
    owners: BTreeMap<u64, u64>,
}

impl Identities {
    /// The register allotted `id` to the machine with this number.
    pub fn allotted(&mut self, id: u64, machine: u64) -> Result<(), String> {
        let owner = *self.owners.entry(id).or_insert(machine);
        match owner == machine {
            true => Ok(()),
            false => Err(format!(
                "identities: id {id} was allotted to machine {owner} and to machine {machine}"
            )),
        }
    }
}
