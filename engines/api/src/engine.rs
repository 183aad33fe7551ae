//! What a secrets engine or an auth method implements. Engines are synchronous and pure: a request, a transaction and an environment
//! go in, an outcome comes out. They must not know how state is stored or who calls.

use serde_json::{Map, Value};

use crate::effect::{Census, Effect, Failure, Leased, Plan, Terms};
use crate::env::{Env, Millis};
use crate::error::Error;
use crate::login::{Class, LoggedIn, Renewal};
use crate::outcome::{Outcome, Reply};
use crate::request::{Mount, Operation, Request};
use crate::txn::Txn;
use crate::watch::{ChangedRow, Happening};

/// A secrets engine or an auth method. One value serves all mounts of its kind; what differs between mounts is in `Request::mount`.
pub trait Engine: Send + Sync + 'static {
    /// The mount type, as in `secrets enable TYPE`.
    fn kind(&self) -> &'static str;

    /// Every path the engine answers, for routing, help and the OpenAPI document.
    fn routes(&self) -> &'static [Route];

    /// Checks a mount's options before it is made or tuned.
    fn check_mount(&self, mount: &Mount) -> Result<(), Error> {
        let _ = mount;
        Ok(())
    }

    /// Whether what a write addresses exists, which decides between the `create` and `update` capabilities.
    /// `None`: the engine does not distinguish, and a write is an update.
    fn exists(&self, txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Option<bool>, Error> {
        let _ = (txn, request);
        Ok(None)
    }

    /// A mount's settings change from `old` to `new`. The engine refuses, or adapts its rows through `txn`, which is
    /// committed together with the new settings.
    fn tune(&self, txn: &mut Txn<'_>, old: &Mount, new: &Mount, env: &mut Env<'_>) -> Result<(), Error> {
        let _ = (txn, old, env);
        self.check_mount(new)
    }

    /// Answers one request. All changes go through `txn`; on `Err` none is made.
    fn handle(&self, txn: &mut Txn<'_>, request: &Request<'_>, env: &mut Env<'_>) -> Result<Outcome, Error>;

    /// A row written with a deadline fell due. The engine does what is due (or moves the deadline) through `txn`; a
    /// row left with the same deadline is offered again later.
    fn due(&self, txn: &mut Txn<'_>, mount: &Mount, path: &str, env: &mut Env<'_>) -> Result<(), Error> {
        let _ = (txn, mount, path, env);
        Ok(())
    }

    /// A row that `due` left to be done outside: the effect, whose transaction must move the row's deadline. Called where
    /// `Engine::acts_when_due` says so.
    fn due_outside(
        &self,
        txn: &mut Txn<'_>,
        mount: &Mount,
        path: &str,
        env: &mut Env<'_>,
    ) -> Result<Option<Box<Effect>>, Error> {
        let _ = (txn, mount, path, env);
        Ok(None)
    }

    /// Whether what is due at `path` is done outside the cluster.
    fn acts_when_due(&self, path: &str) -> bool {
        let _ = path;
        false
    }

    /// An effect without a lease was carried out, or was not: the engine writes the result and says what is answered, which
    /// may be an error. On an outer error nothing is written.
    fn settle(
        &self,
        txn: &mut Txn<'_>,
        mount: &Mount,
        memo: &Map<String, Value>,
        result: Result<&[String], &Failure>,
        env: &mut Env<'_>,
    ) -> Result<Result<Reply, Error>, Error> {
        let _ = (txn, mount, memo, env);
        Ok(match result {
            Ok(_) => Ok(Reply::empty()),
            Err(failure) => Err(Error::Target(failure.text.clone())),
        })
    }

    /// The account of a lease was made: what is answered, by what the target told when it made it. On an error the account is
    /// dropped again.
    fn issued(&self, reply: Reply, told: &[String]) -> Result<Reply, Error> {
        let _ = told;
        Ok(reply)
    }

    /// How the account of a lease is dropped. It must do no harm when the account is gone or was never made.
    fn revocation(
        &self,
        txn: &mut Txn<'_>,
        mount: &Mount,
        lease: &Leased<'_>,
        env: &mut Env<'_>,
    ) -> Result<Plan, Error> {
        let _ = (txn, mount, lease, env);
        Err(Error::Unsupported(
            "revoking what this engine hands out".to_owned(),
        ))
    }

    /// What life a lease would be given now.
    fn terms(&self, txn: &mut Txn<'_>, mount: &Mount, lease: &Leased<'_>) -> Result<Terms, Error> {
        let _ = (txn, mount, lease);
        Err(Error::Unsupported(
            "renewing what this engine hands out".to_owned(),
        ))
    }

    /// What is done outside so that the account of a lease lives until `expires`; `None`: nothing.
    fn extension(
        &self,
        txn: &mut Txn<'_>,
        mount: &Mount,
        lease: &Leased<'_>,
        expires: Millis,
        env: &mut Env<'_>,
    ) -> Result<Option<Plan>, Error> {
        let _ = (txn, mount, lease, expires, env);
        Ok(None)
    }

    /// Where accounts of a mount are, and how each target lists those that the mount made: what has no lease there is dropped.
    fn census(&self, txn: &mut Txn<'_>, mount: &Mount) -> Result<Vec<Census>, Error> {
        let _ = (txn, mount);
        Ok(Vec::new())
    }

    /// The account of a lease, as its target lists it; `None`: it has none that is listed.
    fn account<'l>(&self, lease: &Leased<'l>) -> Option<&'l str> {
        let _ = lease;
        None
    }

    /// What a lease of an account would keep that was found without one in this target: enough for `revocation` to drop it.
    fn adopted(&self, target: &str, account: &str) -> Map<String, Value> {
        let _ = (target, account);
        Map::new()
    }

    /// The token that `caller` stands for ended: rows that hang on it go. Called again, each time in a transaction of its
    /// own, until it answers `true`: nothing is left.
    fn forget_caller(&self, txn: &mut Txn<'_>, mount: &Mount, caller: &str) -> Result<bool, Error> {
        let _ = (txn, mount, caller);
        Ok(true)
    }

    /// Whether what it writes hangs on the token that asked for it, and ends by [`Engine::forget_caller`].
    fn keeps_for_callers(&self) -> bool {
        false
    }

    /// Whether it keeps secrets or lets people in.
    fn class(&self) -> Class {
        Class::Secret
    }

    /// Patterns of `routes` that are answered without a token: logins. Only those of an auth method count.
    fn logins(&self) -> &'static [&'static str] {
        &[]
    }

    /// Patterns of `routes` that are answered without a token although nobody logs in by them: what is public, such as the key
    /// that servers trust. Only those of a secrets engine count.
    fn open_paths(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whom a login is for, in the one spelling under which failures are counted, before anything is verified. `None`:
    /// this login cannot be locked out.
    fn alias(&self, txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Option<String>, Error> {
        let _ = (txn, request);
        Ok(None)
    }

    /// The one spelling of the name of a role that logins name, as rules about roles are kept. `None`: the method knows no roles.
    fn role_name(&self, given: &str) -> Result<Option<String>, Error> {
        let _ = given;
        Ok(None)
    }

    /// The role that a login names, in that spelling, before anything is verified. `None`: it names none that there is.
    fn login_role(&self, txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Option<String>, Error> {
        let _ = (txn, request);
        Ok(None)
    }

    /// Whether the method still knows whom it let in under this alias. `None`: it keeps no list, or another directory does.
    fn knows(&self, txn: &mut Txn<'_>, alias: &str) -> Result<Option<bool>, Error> {
        let _ = (txn, alias);
        Ok(None)
    }

    /// A token that a login of this method made is to be renewed: whether its owner is still known, and what life it would
    /// be given now. An error refuses the renewal; the token lives on as it is.
    fn renew(
        &self,
        txn: &mut Txn<'_>,
        mount: &Mount,
        token: &LoggedIn<'_>,
        env: &mut Env<'_>,
    ) -> Result<Renewal, Error> {
        let _ = (txn, mount, token, env);
        Err(Error::Unsupported(
            "renewing tokens of this auth method".to_owned(),
        ))
    }

    /// Names of plugins that it drives itself, as clients look them up.
    fn plugins(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// The rows that tell of a key and of the keys beneath it: each of these paths and what lies beneath it. `key` is as users
    /// name it, without a trailing slash; empty for all keys. `None`: the engine's paths cannot be watched.
    fn watched_rows(&self, mount: &Mount, key: &str) -> Option<Vec<String>> {
        let _ = (mount, key);
        None
    }

    /// What happened, by the rows that one command changed: once for each key, in the order of the keys. Rows that tell of no
    /// key are passed over.
    fn happenings(&self, mount: &Mount, rows: &[ChangedRow]) -> Vec<Happening> {
        let _ = (mount, rows);
        Vec::new()
    }

    /// The paths, relative to the mount, at which a key is read: whoever may read one of them may know what happens to it.
    fn readable_at(&self, mount: &Mount, key: &str) -> Vec<String> {
        let _ = mount;
        vec![key.to_owned()]
    }

    /// Whether `path` (relative to the mount) needs the `sudo` capability.
    fn is_sudo_path(&self, path: &str) -> bool {
        let _ = path;
        false
    }
}

/// One path of an engine, for help and the OpenAPI document.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Pattern relative to the mount; `:name` is one segment, a final `*path` is the rest.
    pub pattern: &'static str,
    /// Operations it answers.
    pub operations: &'static [Operation],
    /// One sentence for `path-help`.
    pub summary: &'static str,
}
