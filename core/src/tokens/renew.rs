//! Renewing a token: within the bounds of its mount and of itself, and, if a login made it, only as long as its method still
//! knows who logged in and would give them the same.

use conclave_engine_api::{LoggedIn, Renewal, Txn};

use crate::catalog::{Category, encode_record};
use crate::error::Error;
use crate::identity::policies_of;
use crate::routes::{Answer, Call};
use crate::tokens::lookup::Found;
use crate::tokens::{Bounds, LoginOrigin, TokenKind, TokenRecord, Wish, auth_object, life, uses};

/// Extends a token's life. `id` is shown only to who has shown it.
pub fn extend(call: &mut Call<'_, '_>, found: &Found, id: &str) -> Result<Answer, Error> {
    let now = call.env.now();
    let increment = call.fields().duration("increment")?.unwrap_or(0);
    let mut record = found.record.clone();
    if record.kind == TokenKind::Batch {
        return Err(Error::invalid("batch tokens cannot be renewed"));
    }
    // The use that is spent on asking is the last: it would be told of a life that it does not have.
    let is_last = || Ok::<_, Error>(uses(call.work.opened(), &found.name)?.is_none_or(|uses| uses < 2));
    if record.num_uses > 0 && found.name == call.caller.name && is_last()? {
        return Err(Error::invalid("token not found"));
    }
    if !record.renewable || record.expires == 0 {
        return Err(Error::invalid(if record.is_born_root() {
            "invalid lease ID"
        } else {
            "lease is not renewable"
        }));
    }
    let wish = Wish {
        increment,
        ttl: record.creation_ttl,
        explicit_max_ttl: record.explicit_max_ttl,
        period: record.period,
        ..Wish::default()
    };
    let (bounds, wish) = match &record.login {
        None => (bounds_of(call, "token/")?, wish),
        Some(login) => match ask_method(call, &record, login, wish)? {
            Some(answer) => answer,
            // Whoever logged in is not known any more.
            None => return Ok(Answer::empty()),
        },
    };
    let life = life(bounds, &wish, record.created, now);
    record.expires = now.saturating_add(life.ttl);
    record.renewed = now;
    call.work
        .tokens
        .put_due(&found.name, encode_record(&record)?, Some(record.expires))?;
    let work = &*call.work;
    let identity = policies_of(work.opened(), work.catalog, &record.entity)?;
    let mut answer = Answer {
        auth: Some(auth_object(&record, &identity, id, now)),
        ..Answer::default()
    };
    answer.reply.warnings.extend(life.warning);
    Ok(answer)
}

fn bounds_of(call: &Call<'_, '_>, path: &str) -> Result<Bounds, Error> {
    let mount = call.work.catalog.mounts(Category::Auth).get(path);
    let mount = mount.ok_or_else(|| Error::internal("the mount of a token is missing"))?;
    Ok(Bounds::of(&call.core.settings, mount))
}

/// What the method of a login says of it now; `None` if it knows nobody of this name any more.
fn ask_method(
    call: &mut Call<'_, '_>,
    record: &TokenRecord,
    login: &LoginOrigin,
    wish: Wish,
) -> Result<Option<(Bounds, Wish)>, Error> {
    let gone = || Error::internal("the mount of a token is missing");
    let catalog = call.work.catalog;
    let mount = catalog.mount_by_id(login.mount).ok_or_else(gone)?;
    let method = call.core.engine_of(mount).ok_or_else(gone)?;
    let settings = &call.core.settings;
    let seen = mount.to_mount(settings.default_lease_ttl, settings.max_lease_ttl);
    let token = LoggedIn {
        internal: &login.internal,
        policies: &record.policies,
    };
    let space = mount.space();
    let reader = call.work.opened().space(space);
    let mut txn = Txn::new(&reader);
    let renewal = method
        .renew(&mut txn, &seen, &token, &mut call.env)
        .map_err(|error| match Error::from(error) {
            Error::Invalid(text) => Error::Invalid(format!("failed to renew entry: {text}")),
            other => other,
        })?;
    call.work.draft.include(space, txn.into_changes())?;
    Ok(match renewal {
        Renewal::Gone => None,
        Renewal::Life { ttl, max_ttl, period } => {
            let wish = Wish {
                ttl,
                max_ttl,
                period,
                ..wish
            };
            Some((Bounds::of(settings, mount), wish))
        }
    })
}
