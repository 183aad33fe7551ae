//! Logging in: by role, and by name and password. What keeps the token alive is the session's business.

use serde::Serialize;

use super::call::Repeat;
use super::logical::Verb;
use super::secret::SecretText;
use super::{Conclave, Error, Token};

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

#[derive(Serialize)]
struct ByRole<'a> {
    role_id: &'a str,
    secret_id: &'a str,
}

#[derive(Serialize)]
struct ByPassword<'a> {
    password: &'a str,
}

impl Conclave {
    /// Logs in once: the token, which nobody renews. [`Conclave::sign_in`] keeps it alive. A login whose answer was lost is
    /// sent again: the token that nobody got ends with its time, and of a secret id with limited uses one more is spent.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the cluster does not know who this is, in its words; [`Error::Denied`] if the name is locked;
    /// [`Error::Unsupported`] if a second factor is wanted, which a program has not.
    pub async fn login(&self, login: &Login) -> Result<Token, Error> {
        let mount = &login.mount;
        let logical = self.logical();
        let answer = match &login.proof {
            Proof::AppRole { role_id, secret_id } => {
                let secret_id = secret_id.expose();
                let path = format!("auth/{mount}/login");
                let data = ByRole { role_id, secret_id };
                logical.ask(Repeat::Freely, Verb::Write, &path, &data).await?
            }
            Proof::Userpass { username, password } => {
                let path = format!("auth/{mount}/login/{username}");
                let password = password.expose();
                let data = ByPassword { password };
                logical.ask(Repeat::Freely, Verb::Write, &path, &data).await?
            }
        };
        let token = answer
            .token
            .ok_or_else(|| Error::Internal("the node answered a login without a token".to_owned()))?;
        match token.second_factor {
            None => Ok(token),
            Some(_) => Err(Error::Unsupported(
                "this login wants a second factor: log in by `Logical`, and go on with sys/mfa/validate"
                    .to_owned(),
            )),
        }
    }
}
