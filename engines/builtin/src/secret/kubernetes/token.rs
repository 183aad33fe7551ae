//! What an API server answered as a token: how long it lives, by its own words. Its signature is for the API server to verify.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use conclave_engine_api::{Error, Reply};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The field of an answer.
const FIELD: &str = "service_account_token";

/// What stands in an answer until there is a token.
#[derive(Serialize, Deserialize)]
struct Wanted {
    seconds: u64,
    /// Whether nothing ends it sooner than its own end.
    alone: bool,
}

/// The times of a token.
#[derive(Deserialize)]
struct Claims {
    exp: u64,
    iat: u64,
}

/// A token of so many seconds is asked for; `alone`: of an account that stays.
pub(super) fn wanted(seconds: u64, alone: bool) -> Value {
    json!(Wanted { seconds, alone })
}

/// The answer with its token.
pub(super) fn issued(mut reply: Reply, told: &[String]) -> Result<Reply, Error> {
    let lost = || Error::internal("an answer got lost on the way");
    let place = reply.data.as_mut().and_then(|data| data.get_mut(FIELD));
    let place = place.ok_or_else(lost)?;
    let Wanted { seconds, alone } = serde_json::from_value(place.take()).map_err(|_| lost())?;
    let token = told.first().map(String::as_str).unwrap_or_default();
    let claims =
        claims(token).ok_or_else(|| Error::Target("what the API server made is no token".to_owned()))?;
    *place = json!(token);
    let life = claims.exp.saturating_sub(claims.iat);
    if alone && life > seconds {
        return Err(Error::Target(format!(
            "the API server made a token of {life} seconds, longer than its lease, and nothing ends it sooner: it is not handed out"
        )));
    }
    Ok(match life < seconds {
        true => reply.warn(format!(
            "the token lives {life} seconds: the API server gives none that live longer, and the lease may end later"
        )),
        false => reply,
    })
}

fn claims(token: &str) -> Option<Claims> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(seconds: u64, alone: bool, token: &str) -> Result<Reply, Error> {
        let reply = Reply::json(json!({FIELD: wanted(seconds, alone)}));
        issued(reply, &[token.to_owned()])
    }

    fn token(life: u64) -> String {
        let claims = json!({"iat": 1_000, "exp": 1_000 + life}).to_string();
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn tokens_say_how_long_they_live() {
        for alone in [false, true] {
            let reply = answered(600, alone, &token(600)).unwrap();
            assert_eq!(reply.data.unwrap()[FIELD], token(600));
            assert!(reply.warnings.is_empty());
        }
        assert_eq!(answered(3600, true, &token(600)).unwrap().warnings.len(), 1);
        assert!(answered(600, true, &token(601)).is_err(), "nothing would end it");
        assert!(
            answered(600, false, &token(9999)).is_ok(),
            "it ends with its account"
        );
    }

    #[test]
    fn what_is_no_token_is_not_handed_out() {
        let text = |claims: &str| format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims));
        for bad in [
            "",
            "a.b",
            "a.b.c",
            "a.b.c.d",
            &text("{}"),
            &text("[]"),
            &text(r#"{"exp":-1,"iat":0}"#),
        ] {
            assert!(answered(600, false, bad).is_err(), "{bad}");
        }
        assert!(issued(Reply::json(json!({FIELD: wanted(1, true)})), &[]).is_err());
        assert!(issued(Reply::empty(), &[token(1)]).is_err());
    }
}
