//! `sys/wrapping/`: wrapping what the caller sends, and taking wrapped answers out. That a token holds one is checked
//! before anything else about the request; looking one up needs no other token.

use crate::error::Error;
use crate::routes::{Answer, Call};
use crate::wrapping::{self, Wish, Wrap};

/// `wrap`: the body comes back wrapped.
pub fn wrap(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    if !call.wraps {
        return Err(Error::invalid("endpoint requires response wrapping to be used"));
    }
    Ok(Answer::data(call.data.clone()))
}

/// `unwrap`: the wrapped answer, once.
pub fn unwrap(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let found = found(call)?;
    wrapping::take(call.core, call.work, &found, call.env.now())
}

/// `rewrap`: the wrapped answer in another wrapping of the same kind.
pub fn rewrap(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let found = found(call)?;
    let answer = wrapping::take(call.core, call.work, &found, call.env.now())?;
    Ok(Answer {
        wrap: Some(Wrap::Again(Wish {
            ttl: found.record.creation_ttl,
            path: found.record.path,
        })),
        ..answer
    })
}

fn found(call: &mut Call<'_, '_>) -> Result<crate::tokens::Found, Error> {
    let told = call.fields().string("token")?.filter(|token| !token.is_empty());
    let own = told.is_none() || told.as_deref() == Some(call.token);
    let id = told.unwrap_or_else(|| call.token.to_owned());
    wrapping::find(call.work, &id, call.env.now(), own)
}
