//! Whose a request is: an entity's, a token role's, or a token's own. Keys and labels are made and read here alone.

use conclave_anomaly::{Key, Keyer};

use crate::store::Opened;
use crate::tokens::TokenRecord;

/// Kinds of names, kept apart in keys.
#[derive(Clone, Copy)]
#[repr(u8)]
pub enum Domain {
    /// Identities.
    Identity = 1,
    /// Tokens, by the names of their rows.
    Token = 2,
    /// Paths with the number of their namespace.
    Path = 3,
    /// Networks.
    Network = 4,
    /// Names that were tried at a mount.
    Name = 5,
}

/// What begins the label's part that names an entity.
const ENTITY: &str = " (entity ";

/// Somebody.
#[derive(Clone)]
pub struct Identity {
    display: String,
    entity: String,
    role: String,
    row: String,
}

impl Identity {
    /// Of a token, whose row has this name.
    pub fn of(record: &TokenRecord, row: &str) -> Self {
        Self {
            display: record.display_name.clone(),
            entity: record.entity.clone(),
            role: record.role.clone(),
            row: row.to_owned(),
        }
    }

    /// Its key.
    pub fn key(&self, keyer: &Keyer) -> Key {
        if !self.entity.is_empty() {
            return key_of_entity(keyer, &self.entity);
        }
        let parts: [&[u8]; 2] = match self.role.is_empty() {
            false => [b"role", self.role.as_bytes()],
            true => [b"token", self.row.as_bytes()],
        };
        keyer.key(Domain::Identity as u8, &parts)
    }

    /// What people read.
    pub fn label(&self) -> String {
        let display = &self.display;
        if !self.entity.is_empty() {
            return format!("{display}{ENTITY}{})", self.entity);
        }
        match self.role.is_empty() {
            false => format!("{display} (token role {})", self.role),
            // The row's name is a hash; its beginning tells tokens of one name apart.
            true => format!("{display} (token {})", self.row.get(..8).unwrap_or(&self.row)),
        }
    }
}

/// The entity in a label.
pub fn entity_of(label: &str) -> Option<&str> {
    let (_, rest) = label.rsplit_once(ENTITY)?;
    rest.strip_suffix(')')
}

fn key_of_entity(keyer: &Keyer, entity: &str) -> Key {
    keyer.key(Domain::Identity as u8, &[b"entity", entity.as_bytes()])
}

/// What hashes names on all nodes of this cluster.
pub fn keyer(opened: &Opened) -> Keyer {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = opened.barrier().lease_hmac(b"anomaly\0keys");
    Keyer::new(&[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
}

/// The key of an entity, or of a token role.
pub fn key_of_identity(opened: &Opened, entity: &str) -> Key {
    key_of_entity(&keyer(opened), entity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_tell_their_entity() {
        let of = |entity: &str, role: &str| Identity {
            display: "userpass-ada (x".to_owned(),
            entity: entity.to_owned(),
            role: role.to_owned(),
            row: "0123456789".to_owned(),
        };
        let label = of("1f2e", "").label();
        assert_eq!(label, "userpass-ada (x (entity 1f2e)");
        assert_eq!(entity_of(&label), Some("1f2e"));
        assert_eq!(entity_of(&of("", "ci").label()), None);
        assert_eq!(of("", "").label(), "userpass-ada (x (token 01234567)");
        let keyer = Keyer::new(&[1; 16]);
        assert_ne!(of("a", "").key(&keyer), of("", "a").key(&keyer));
        assert_eq!(of("a", "").key(&keyer), of("a", "b").key(&keyer));
    }
}
