//! Second factors: an answer that asks for one is completed by asking the person. Knows no command.

use conclave_client::http::{Fields, Json, Secret};

use crate::exit::Fail;
use crate::flags::Args;
use crate::goval::{plain, quote};
use crate::output::text::wrap;
use crate::session::{Api, Cx};

/// One way to prove oneself.
struct Method {
    kind: String,
    id: String,
    passcode: bool,
}

/// If the answer asks for a second factor and a person is there, asks and validates; else says what is to be done.
///
/// # Errors
/// The passcode cannot be read or the server refuses it.
pub fn complete(cx: &mut Cx, args: &Args, api: &Api, secret: Secret) -> Result<Secret, Fail> {
    let Some(requirement) = secret.auth.as_ref().and_then(|a| a.mfa_requirement.clone()) else {
        return Ok(secret);
    };
    let id = requirement.get("mfa_request_id").map(plain).unwrap_or_default();
    let Some(method) = only_method(&requirement).filter(|_| cx.may_ask(args)) else {
        let text = "A login request was issued that is subject to MFA validation. Please make sure to validate the \
                    login by sending another request to sys/mfa/validate endpoint.";
        cx.ui.warn(&format!("{}\n", wrap(text, 0)));
        return Ok(secret);
    };
    let mut passcode = String::new();
    if method.passcode {
        let prompt = format!(
            "Enter the passphrase for methodID {} of type {}:",
            quote(&method.id),
            quote(&method.kind)
        );
        passcode = cx.ask_secret(&prompt).map_err(|e| {
            Fail::remote(format!(
                "failed to read passphrase: {e}. please validate the login by sending a request to sys/mfa/validate"
            ))
        })?;
    } else {
        cx.ui.warn("The server asks the second factor's service. A notification should arrive on your device shortly.");
    }
    let payload: Fields = [(method.id.as_str(), Json::from(vec![passcode]))]
        .into_iter()
        .collect();
    let body: Fields = [
        ("mfa_request_id", Json::from(id)),
        ("mfa_payload", Json::Object(payload)),
    ]
    .into_iter()
    .collect();
    let validated = api.write("sys/mfa/validate", body)?.ok()?;
    validated.ok_or_else(|| Fail::remote("the server validated the login but sent no token"))
}

fn only_method(requirement: &Json) -> Option<Method> {
    let sets = requirement.get("mfa_constraints")?.as_object()?;
    let mut sets = sets.iter();
    let (Some((_, set)), None) = (sets.next(), sets.next()) else {
        return None;
    };
    let [one] = set.get("any")?.as_array()? else {
        return None;
    };
    Some(Method {
        kind: one.get("type").map(plain).unwrap_or_default(),
        id: one.get("id").map(plain).unwrap_or_default(),
        passcode: one.get("uses_passcode").and_then(Json::as_bool).unwrap_or(false),
    })
}
