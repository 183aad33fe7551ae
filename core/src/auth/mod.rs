//! Letting people and machines in: what a login becomes, who is locked out, and where passwords are hashed. Auth methods
//! themselves are engines; this knows none by name.

mod hashing;
pub mod lockout;
mod login;
mod second;

pub use hashing::Hashing;
pub use lockout::{Lockout, LockoutSettings};
pub use login::{Asked, Decided, login, mount_of_login, mount_of_owner, owner_of, role_of_login};
pub use second::{is_validation, validate};
