//! The end of a login: the token is handed out, or waits for a second factor and comes with `sys/mfa/validate`, at any node.
//! What a method knows of who logs in is over by then. Without effects, so it may run again.

use conclave_engine_api::cidr::admits;
use conclave_engine_api::{Env, Fields, Operation, Txn};
use conclave_raft::Condition;

use crate::answered;
use crate::auth::login::{Asked, Decided};
use crate::canon::CanonPath;
use crate::catalog::{CONFIG, EPOCH, MountRecord};
use crate::entropy::OsEntropy;
use crate::error::Error;
use crate::identity::mfa::{self, Checked, Credentials, Pending, Waiting};
use crate::identity::{self, Known};
use crate::leases;
use crate::routes::Answer;
use crate::seal::rows;
use crate::tokens::{self, NewToken};
use crate::work::{Readers, Work};

/// How far a login came.
pub(super) enum Granted {
    /// There is a token.
    In(Answer),
    /// There will be one, once a second factor is shown.
    Waits(Answer),
    /// There is none.
    Out(Error),
}

/// Whether `path` is where logins that wait are gone on with: it is answered without a token.
pub fn is_validation(path: &CanonPath) -> bool {
    path.as_str() == "sys/mfa/validate"
}

/// Goes on with a login whose first factor was right: `new` is the token that comes of it.
pub(super) fn grant(
    asked: &Asked<'_>,
    mount: &MountRecord,
    work: &mut Work<'_>,
    env: &mut Env<'_>,
    (known, mut new, warnings): (&Known, NewToken, Vec<String>),
    role: Option<String>,
) -> Result<Granted, Error> {
    let demands = mfa::demands(asked.catalog, mount, known.who())?;
    let by = (mount, role.as_deref());
    if demands.is_empty() {
        return Ok(Granted::In(hand_out(work, env, (known, by), new, warnings)?));
    }
    let shown = Credentials::of_headers(&asked.request.mfa)?;
    let space = mfa::passing(work.namespace());
    let reader = asked.opened.space(space);
    let mut txn = Txn::new(&reader);
    let granted = if !shown.is_empty() {
        let places = (asked.catalog, &mut txn);
        let name = answered::name_of_login(asked.opened, asked.request, asked.path)?;
        let shown = (known.entity.as_str(), &shown, name.as_deref());
        match mfa::check(work, places, &demands, shown, asked.now)? {
            Checked::Failed(text) => Granted::Out(Error::SecondFactor(text)),
            Checked::Passed => {
                new.factor = asked.now;
                Granted::In(hand_out(work, env, (known, by), new, warnings)?)
            }
        }
    } else if asked.inline {
        let text =
            "a login in the headers of a request cannot wait for its second factor: show it in X-Vault-MFA";
        Granted::Out(Error::SecondFactor(text.to_owned()))
    } else {
        let waiting = Waiting {
            mount: mount.id,
            role,
            token: new,
            warnings,
            seals: rows::seal_epoch(asked.opened.view())?,
        };
        let id = Pending::begin(&mut txn, asked.opened.barrier(), env, &waiting)?;
        let (auth, warning) = mfa::requirement(&id, &demands);
        let mut answer = Answer {
            auth: Some(auth),
            ..Answer::default()
        };
        answer.reply.warnings.push(warning);
        Granted::Waits(answer)
    };
    work.draft.include(space, txn.into_changes())?;
    Ok(granted)
}

/// `sys/mfa/validate`: goes on with a login that waits.
///
/// # Errors
/// A refusal of what is no login that waits, or of who may not log in any more.
pub fn validate(asked: &Asked<'_>) -> Result<Decided, Error> {
    if asked.operation != Operation::Update {
        return Err(Error::UnsupportedOperation);
    }
    let fields = Fields::new(&asked.request.data);
    let id = fields.string("mfa_request_id")?.unwrap_or_default();
    if id.is_empty() {
        return Err(Error::invalid("missing request ID"));
    }
    let shown = Credentials::of_payload(fields.object("mfa_payload")?)?;
    let number = asked.catalog.namespace().number;
    let readers = Readers::within(asked.opened, number);
    let mut work = Work::new(&readers, asked.catalog);
    work.draft
        .expect(CONFIG, EPOCH, Condition::Revision(asked.derived.epoch))?;
    work.draft.decided_at(asked.now);
    let space = mfa::passing(number);
    let reader = asked.opened.space(space);
    let mut txn = Txn::new(&reader);
    let moment = (rows::seal_epoch(asked.opened.view())?, asked.now);
    let pending = Pending::find(&mut txn, asked.opened.barrier(), &id, moment)?;
    let mount = mount_of(asked, &pending.waiting)?;
    let known = identity::still_known(&mut work, &pending.waiting.token.entity)?;
    if !admits(&pending.waiting.token.bound_cidrs, asked.request.remote) {
        return Err(Error::unauthenticated());
    }
    let demands = mfa::demands(asked.catalog, mount, known.who())?;
    if demands.is_empty() {
        return Err(Error::invalid("found nil or empty MFAEnforcement configuration"));
    }
    let places = (asked.catalog, &mut txn);
    let name = answered::name_of_login(asked.opened, asked.request, asked.path)?;
    let shown = (known.entity.as_str(), &shown, name.as_deref());
    let checked = mfa::check(&mut work, places, &demands, shown, asked.now)?;
    let metrics = &asked.core.metrics;
    if let Checked::Failed(text) = checked {
        metrics.logged_in(&mount.kind, "failure");
        work.draft.include(space, txn.into_changes())?;
        return Ok(Decided::Out(Box::new((
            work.finish()?,
            Error::SecondFactor(text),
        ))));
    }
    let Waiting {
        mut token,
        warnings,
        role,
        ..
    } = pending.end(&mut txn)?;
    token.factor = asked.now;
    let mut entropy = OsEntropy;
    let mut env = Env::new(asked.now, &mut entropy);
    let by = (mount, role.as_deref());
    let answer = hand_out(&mut work, &mut env, (&known, by), token, warnings)?;
    metrics.logged_in(&mount.kind, "success");
    work.draft.include(space, txn.into_changes())?;
    Ok(Decided::In(Box::new((work.finish()?, answer))))
}

/// The mount that let a login in, if it is still there and where it was.
fn mount_of<'a>(asked: &Asked<'a>, waiting: &Waiting) -> Result<&'a MountRecord, Error> {
    let login = waiting.token.login.as_ref();
    let mount = asked.catalog.mount_by_id(waiting.mount);
    let mount = mount.filter(|mount| login.is_some_and(|login| login.era == mount.logins.era));
    mount
        .map(AsRef::as_ref)
        .ok_or_else(|| Error::invalid("invalid request ID"))
}

/// Makes the token of whoever is known by now, and what its holder is told. `by` is the mount that let them in, and the role
/// that they named.
fn hand_out(
    work: &mut Work<'_>,
    env: &mut Env<'_>,
    (known, (mount, role)): (&Known, (&MountRecord, Option<&str>)),
    new: NewToken,
    warnings: Vec<String>,
) -> Result<Answer, Error> {
    let minted = tokens::mint(work, env, new)?;
    leases::begin_login(work, mount, role, &minted)?;
    let mut answer = Answer {
        auth: Some(tokens::auth_object(
            &minted.record,
            &known.policies,
            &minted.id,
            env.now(),
        )),
        login: Some(Box::new(minted.record)),
        ..Answer::default()
    };
    answer.reply.warnings = warnings;
    Ok(answer)
}
