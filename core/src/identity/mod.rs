//! Who stands behind tokens: entities, their names at auth mounts (aliases), and groups of them. A login finds its entity
//! or makes one in the command that makes the token; the policies of the entity and of its groups count at each request.
//!
//! Rows lie among those of the identity mount: `entity/<id>` with its aliases inside, `group/<id>` with its members, and
//! indexes by hashed name, by alias, and by member (`member/<id>`: the groups that hold it). One marker row, `groups`,
//! moves with every change to any group: whoever rests on memberships expects the entity's row and that marker.

mod alias;
mod aliases;
mod described;
mod entities;
mod group_aliases;
mod groups;
mod login;
mod lookup;
mod membership;
mod merge;
mod metadata;
pub(crate) mod mfa;
mod record;
mod routes;
mod rows;
mod subject;
mod watched;
mod who;

pub use alias::forget_mount;
pub use login::{Known, sign_in, still_known};
pub use record::{Alias, Entity};
pub use routes::ROUTES;
pub(crate) use rows::count_entities;
pub use subject::{Standing, Subject, policies_of};
pub use watched::{disable, each_entity, groups_of_entity, has_factor, home_of};
pub use who::who;
