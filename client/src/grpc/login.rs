//! Logging in: by role, and by name and password, with a second factor where one is wanted. What keeps the token alive is
//! the session's business.

use std::collections::BTreeMap;

use serde::Serialize;

use super::call::Repeat;
use super::logical::Verb;
use super::secret::SecretText;
use super::{Answer, Conclave, Error, SecondFactor, Token};

/// How an application proves who it is. It has no `Debug`.
#[derive(Clone)]
pub struct Login {
    mount: String,
    proof: Proof,
}

#[derive(Clone)]
enum Proof {
    AppRole { role_id: String, secret_id: SecretText },
    Userpass { username: String, password: SecretText },
}

impl Login {
    /// By role, at the mount `approle`. A role that asks for no secret id takes an empty one.
    pub fn approle(role_id: impl Into<String>, secret_id: impl Into<String>) -> Self {
        Self {
            mount: "approle".to_owned(),
            proof: Proof::AppRole {
                role_id: role_id.into(),
                secret_id: SecretText::new(secret_id.into()),
            },
        }
    }

    /// By name and password, at the mount `userpass`.
    pub fn userpass(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            mount: "userpass".to_owned(),
            proof: Proof::Userpass {
                username: username.into(),
                password: SecretText::new(password.into()),
            },
        }
    }

    /// The same at another mount, named without `auth/`.
    #[must_use]
    pub fn at(self, mount: impl Into<String>) -> Self {
        Self {
            mount: mount.into().trim_matches('/').to_owned(),
            ..self
        }
    }
}

/// How a login was answered. It has no `Debug`.
#[derive(Clone)]
pub enum Admission {
    /// The token, which nobody renews.
    Token(Token),
    /// No token yet: a second factor is to be shown by [`Conclave::validate`], within five minutes.
    Waits(SecondFactor),
}

#[derive(Serialize)]
struct ByRole<'a> {
    role_id: &'a str,
    secret_id: &'a str,
}

#[derive(Serialize)]
struct ByPassword<'a> {
    password: &'a str,
}

#[derive(Serialize)]
struct Shown<'a> {
    mfa_request_id: &'a str,
    mfa_payload: BTreeMap<&'a str, [&'a str; 1]>,
}

impl Conclave {
    /// Logs in once: the token, which nobody renews. [`Conclave::sign_in`] keeps it alive. A login whose answer was lost is
    /// sent again: the token that nobody got ends with its time, and of a secret id with limited uses one more is spent; but
    /// one that fails counts once.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the cluster does not know who this is, in its words; [`Error::Unauthenticated`] if the name is locked;
    /// [`Error::OutcomeUnknown`] if no answer came in time, so that there may be a token;
    /// [`Error::Unsupported`] if a second factor is wanted: [`Conclave::begin_login`] is for those who can show one.
    pub async fn login(&self, login: &Login) -> Result<Token, Error> {
        match self.begin_login(login).await? {
            Admission::Token(token) => Ok(token),
            Admission::Waits(_) => Err(Error::Unsupported(
                "this login wants a second factor: begin it by `begin_login`, and show one by `validate`"
                    .to_owned(),
            )),
        }
    }

    /// The same where a second factor may be wanted: the token, or what is to be shown to [`Conclave::validate`].
    ///
    /// # Errors
    /// As [`Conclave::login`], but for the last.
    pub async fn begin_login(&self, login: &Login) -> Result<Admission, Error> {
        let mount = &login.mount;
        let logical = self.logical();
        let answer = match &login.proof {
            Proof::AppRole { role_id, secret_id } => {
                let secret_id = secret_id.expose();
                let path = format!("auth/{mount}/login");
                let data = ByRole { role_id, secret_id };
                logical.ask(Repeat::ByKey, Verb::Write, &path, &data).await?
            }
            Proof::Userpass { username, password } => {
                let path = format!("auth/{mount}/login/{username}");
                let password = password.expose();
                let data = ByPassword { password };
                logical.ask(Repeat::ByKey, Verb::Write, &path, &data).await?
            }
        };
        let token = handed_out(answer)?;
        Ok(match token.second_factor {
            None => Admission::Token(token),
            Some(waits) => Admission::Waits(waits),
        })
    }

    /// Ends a login that waits: `codes` are passcodes by the id, or the name, of the method that makes them, one for something of each
    /// of its demands. Any node takes them, and each code once. What it says of this client's own token does not matter.
    ///
    /// # Errors
    /// [`Error::Denied`] if a code is wrong or was taken before: the login waits on. [`Error::Invalid`] if no such login waits, or
    /// no longer. [`Error::OutcomeUnknown`] if the answer was lost: begin anew, with the next code.
    pub async fn validate<'c, I>(&self, waits: &SecondFactor, codes: I) -> Result<Token, Error>
    where
        I: IntoIterator<Item = (&'c str, &'c SecretText)>,
    {
        let codes = codes.into_iter();
        let data = Shown {
            mfa_request_id: waits.request.expose(),
            mfa_payload: codes.map(|(method, code)| (method, [code.expose()])).collect(),
        };
        handed_out(self.logical().write("sys/mfa/validate", &data).await?)
    }
}

fn handed_out(answer: Answer) -> Result<Token, Error> {
    let none = || Error::Internal("the node answered a login without a token".to_owned());
    answer.token.ok_or_else(none)
}
