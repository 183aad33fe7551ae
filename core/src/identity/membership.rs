//! Which groups a member is in, directly and through other groups. It must not know what groups are for.

use crate::error::Error;

/// Most groups that one member may be in, counted through all levels.
const MAX_GROUPS: usize = 1000;

/// Ids of all groups that hold `member`, those that hold it directly first, each once. `parents` tells the groups that hold
/// a member directly.
pub fn groups_of(
    member: &str,
    mut parents: impl FnMut(&str) -> Result<Vec<String>, Error>,
) -> Result<Groups, Error> {
    let direct = parents(member)?;
    let mut all = direct.clone();
    let mut at = 0;
    while let Some(group) = all.get(at).cloned() {
        at += 1;
        for parent in parents(&group)? {
            if !all.contains(&parent) {
                all.push(parent);
            }
        }
        if all.len() > MAX_GROUPS {
            return Err(Error::invalid(format!(
                "a member is in more than {MAX_GROUPS} groups"
            )));
        }
    }
    let inherited = all.split_off(direct.len());
    Ok(Groups { direct, inherited })
}

/// Ids of the groups of a member.
pub struct Groups {
    /// Those that hold it.
    pub direct: Vec<String>,
    /// Those that hold one of its groups, at any depth.
    pub inherited: Vec<String>,
}

impl Groups {
    /// All of them, the direct ones first.
    pub fn all(&self) -> impl Iterator<Item = &String> {
        self.direct.iter().chain(&self.inherited)
    }
}
