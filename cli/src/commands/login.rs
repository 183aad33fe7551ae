//! `login`: exchanges credentials for a token and keeps it.

use std::collections::BTreeMap;

use conclave_client::http::{Auth, Fields, Json, Secret};

use super::{Command, FIELD, Output, sanitize, with_slash};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::{Args, Flag};
use crate::output::text::wrap;
use crate::session::{Api, Cx, TOOL};
use crate::{kvdata, mfa, output};

const METHOD: Flag = Flag::text(
    "method",
    "Kind of authentication: token, userpass, approle, ldap, radius, github, jwt, kubernetes, cert.",
)
.default("token");
const PATH: Flag = Flag::text("path", "Where the auth method is mounted; its kind by default.");
const NO_STORE: Flag = Flag::bool("no-store", "Do not keep the token for later commands.");
const NO_PRINT: Flag = Flag::bool("no-print", "Do not print the token.");
const TOKEN_ONLY: Flag = Flag::bool(
    "token-only",
    "Print the token alone and do not keep it: -field=token -no-store.",
);

pub const COMMANDS: &[Command] = &[Command::new("login", "[options] [AUTH K=V...]", "Authenticate locally", run)
    .help(
        "Exchanges credentials for a token and keeps it for later commands. Without -method the argument is a token; \
         without an argument it is asked for; the argument - is read from standard input.\n\n\
         $ conclave login -method=userpass username=ada\n\
         $ conclave login -method=approle role_id=... secret_id=@secret-id",
    )
    .output(Output::Field)
    .flags(&[METHOD, NO_PRINT, NO_STORE, PATH, TOKEN_ONLY])];

type Settings = BTreeMap<String, String>;

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let token_only = args.is(&TOKEN_ONLY);
    let no_store = args.is(&NO_STORE) || token_only;
    if no_store && args.is(&NO_PRINT) {
        return Err(Fail::usage("-no-store and -no-print cannot be used together"));
    }
    let method = match sanitize(args.text(&METHOD)) {
        "" => "token",
        method => method,
    };
    let method = Method::parse(method)?;
    let settings = settings(cx, args, &method)?;
    let mut api = cx.api_without_token(args)?;
    let secret = method.login(cx, args, &mut api, &settings)?;
    let awaits = |secret: &Secret| secret.auth.as_ref().is_some_and(|a| a.mfa_requirement.is_some());
    let secret = mfa::complete(cx, args, &api, secret)?;
    if awaits(&secret) {
        return Ok(output::secret(&mut cx.ui, &secret));
    }
    api.client.set_wrap_ttl("");
    let (secret, is_wrapped) = unwrap(&mut api, secret, !no_store)?;
    if is_wrapped {
        return Ok(match token_only {
            true => output::secret_field(&mut cx.ui, &secret, "wrapping_token"),
            false => output::secret(&mut cx.ui, &secret),
        });
    }
    keep(cx, &secret, no_store, token_only)?;
    if args.is(&NO_PRINT) {
        return Ok(Exit::OK);
    }
    print(cx, args, &secret, token_only)
}

fn print(cx: &mut Cx, args: &Args, secret: &Secret, token_only: bool) -> Result<Exit, Fail> {
    let field = if token_only {
        Some("token")
    } else {
        args.some(&FIELD)
    };
    if let Some(field) = field {
        return Ok(output::secret_field(&mut cx.ui, secret, field));
    }
    if cx.ui.is_table() {
        let text = format!(
            "Success! You are now authenticated. The token information displayed below is already stored in the token \
             helper. You do NOT need to run \"{TOOL} login\" again. Future Vault requests will automatically use this token."
        );
        cx.ui.line(&format!("{}\n", wrap(&text, 0)));
    }
    Ok(output::secret(&mut cx.ui, secret))
}

fn settings(cx: &mut Cx, args: &Args, method: &Method) -> Result<Settings, Fail> {
    let mut words = args.rest().to_vec();
    if let (Method::Token, Some(first)) = (method, words.first_mut())
        && !first.contains('=')
    {
        *first = format!("token={first}");
    }
    let parsed = kvdata::parse_texts(&mut cx.stdin(args), &words);
    let mut settings: Settings = parsed
        .map_err(|e| Fail::usage(format!("Error parsing configuration: {e}")))?
        .into_iter()
        .collect();
    if settings.get("mount").is_none_or(String::is_empty) {
        let path = args
            .some(&PATH)
            .map_or_else(|| with_slash(method.name()), str::to_owned);
        settings.insert("mount".into(), path);
    }
    Ok(settings)
}

/// Stores the token, and says what that means.
fn keep(cx: &mut Cx, secret: &Secret, no_store: bool, token_only: bool) -> Result<(), Fail> {
    let Some(auth) = &secret.auth else {
        let text = "Vault returned a secret, but the secret has no authentication information attached. This should \
                    never happen and is likely a bug.";
        return Err(Fail::remote(wrap(text, 0)));
    };
    if no_store {
        if !token_only {
            let text = "The token was not stored in token helper. Set the VAULT_TOKEN environment variable or pass the \
                        token below with each request to Vault.";
            cx.ui.warn(&format!("{}\n", wrap(text, 0)));
        }
        return Ok(());
    }
    if let Err(why) = cx.token_file()?.store(&auth.client_token) {
        cx.ui.error(&format!("Error storing token: {why}"));
        let text = "Authentication was successful, but the token was not persisted. The resulting token is shown below \
                    for your records.";
        cx.ui.error(&format!("{}\n", wrap(text, 0)));
        output::secret(&mut cx.ui, secret);
        return Err(Fail::remote(""));
    }
    if let Some(variable) = cx.env.variable("TOKEN") {
        let text = format!(
            "WARNING! The {variable} environment variable is set! The value of this variable will take precedence; if this is \
             unwanted please unset {variable} or update its value accordingly."
        );
        cx.ui.warn(&format!("{}\n", wrap(&text, 0)));
    }
    Ok(())
}

/// The token inside a wrapped answer if `open`; else the wrapped answer as it is, and `true`.
fn unwrap(api: &mut Api, secret: Secret, open: bool) -> Result<(Secret, bool), Fail> {
    let failed = |why: &str| Fail::remote(format!("Error extracting token: {why}"));
    match (&secret.auth, &secret.wrap_info) {
        (Some(_), _) => Ok((secret, false)),
        (None, None) => Err(failed("no auth or wrapping info in response")),
        (None, Some(wrap)) if wrap.wrapped_accessor.is_empty() => {
            Err(failed("wrapped response does not contain a token"))
        }
        (None, Some(_)) if !open => Ok((secret, true)),
        (None, Some(wrap)) => {
            api.client.set_token(wrap.token.as_str());
            let response = api
                .call("PUT", "sys/wrapping/unwrap", None)
                .context("Error extracting token")?;
            let inner = Secret::parse(&response.body).map_err(|e| failed(&e.to_string()))?;
            let inner = inner.ok_or_else(|| failed("empty response from auth helper"))?;
            if inner.auth.is_none() {
                Err(failed("no auth or wrapping info in response"))
            } else {
                Ok((inner, false))
            }
        }
    }
}

/// A way to log in.
enum Method {
    Token,
    /// User name in the path, password in the body.
    Password(&'static str),
    /// Fields in the body; the first list must be given.
    Fields(&'static str, &'static [&'static str], &'static [&'static str]),
}

impl Method {
    fn parse(name: &str) -> Result<Self, Fail> {
        Ok(match name {
            "token" => Self::Token,
            "userpass" => Self::Password("userpass"),
            "ldap" => Self::Password("ldap"),
            "radius" => Self::Password("radius"),
            "approle" => Self::Fields("approle", &["role_id"], &["secret_id"]),
            "github" => Self::Fields("github", &["token"], &[]),
            "jwt" => Self::Fields("jwt", &["jwt"], &["role"]),
            "kubernetes" => Self::Fields("kubernetes", &["role", "jwt"], &[]),
            "cert" => Self::Fields("cert", &[], &["name"]),
            other => {
                let text = format!(
                    "Unknown auth method: {other}. Use \"{TOOL} auth list\" to see the complete list of auth methods. \
                     Additionally, some auth methods are only available via the HTTP API."
                );
                return Err(Fail::usage(wrap(&text, 0)));
            }
        })
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Password(name) | Self::Fields(name, _, _) => name,
        }
    }

    fn login(&self, cx: &mut Cx, args: &Args, api: &mut Api, settings: &Settings) -> Result<Secret, Fail> {
        let failed = |why: String| Fail::remote(format!("Error authenticating: {why}"));
        let given = |name: &str| settings.get(name).map(String::as_str).filter(|v| !v.is_empty());
        let mount = sanitize(given("mount").unwrap_or(self.name()));
        let mut body = Fields::new();
        let path = match self {
            Self::Token => return token(cx, args, api, settings),
            Self::Password(_) => {
                let user = given("username").ok_or_else(|| failed("'username' must be specified".into()))?;
                let password = match given("password") {
                    Some(password) => password.to_owned(),
                    None => ask(cx, args, "Password (will be hidden): ").map_err(failed)?,
                };
                body.insert("password", password);
                format!("auth/{mount}/login/{}", user.to_lowercase())
            }
            Self::Fields(name, needed, optional) => {
                for field in *needed {
                    // GitHub's token is known by the environment too, as the original tool knows it.
                    let variable = if *name == "github" {
                        cx.env.get("AUTH_GITHUB_TOKEN")
                    } else {
                        None
                    };
                    let value = given(field).or(variable);
                    let value = value.ok_or_else(|| failed(format!("'{field}' must be specified")))?;
                    body.insert(*field, value.trim());
                }
                for field in *optional {
                    if let Some(value) = given(field) {
                        body.insert(*field, value.trim());
                    }
                }
                format!("auth/{mount}/login")
            }
        };
        let secret = api
            .write(&path, body)
            .and_then(conclave_client::http::Answer::ok)
            .context("Error authenticating")?;
        secret.ok_or_else(|| Fail::remote("Error extracting token: empty response from auth helper"))
    }
}

fn ask(cx: &mut Cx, args: &Args, prompt: &str) -> Result<String, String> {
    if !cx.may_ask(args) {
        cx.ui.ask(&format!("{prompt}\n"));
        return Err("file descriptor 0 is not a terminal".into());
    }
    cx.ask_secret(prompt)
}

fn token(cx: &mut Cx, args: &Args, api: &mut Api, settings: &Settings) -> Result<Secret, Fail> {
    let failed = |why: String| Fail::remote(format!("Error authenticating: {why}"));
    let token = match settings.get("token").map(|t| t.trim()).filter(|t| !t.is_empty()) {
        Some(token) => token.to_owned(),
        None => ask(cx, args, "Token (will be hidden): ").map_err(|e| {
            failed(format!(
                "An error occurred attempting to ask for a token. The raw error message is shown below, but usually this \
                 is because you attempted to pipe a value into the command or you are executing outside of a terminal \
                 (tty). If you want to pipe the value, pass \"-\" as the argument to read from stdin. The raw error was: {e}"
            ))
        })?,
    };
    let token = token.trim().to_owned();
    if token.is_empty() {
        return Err(failed(
            "a token must be passed to auth, please view the help for more information".into(),
        ));
    }
    let mut auth = Auth {
        client_token: token.clone(),
        ..Auth::default()
    };
    let lookup = settings
        .get("lookup")
        .is_none_or(|l| crate::goval::parse_bool(l).unwrap_or(true));
    if !lookup {
        return Ok(Secret {
            auth: Some(auth),
            ..Secret::default()
        });
    }
    api.client.set_token(token);
    let response = api.call("GET", "auth/token/lookup-self", None);
    let response = response.map_err(|e| failed(format!("error looking up token: {e}")))?;
    let found = Secret::parse(&response.body).map_err(|e| failed(e.to_string()))?;
    let found = found.ok_or_else(|| failed("empty response from lookup-self".into()))?;
    let list = |name: &str| -> Vec<String> {
        let items = found.field(name).and_then(Json::as_array).unwrap_or_default();
        items.iter().filter_map(Json::as_str).map(str::to_owned).collect()
    };
    auth.accessor = found
        .field("accessor")
        .and_then(Json::as_str)
        .unwrap_or_default()
        .to_owned();
    auth.token_policies = Some(list("policies"));
    auth.identity_policies = Some(list("identity_policies"));
    auth.policies = Some([list("policies"), list("identity_policies")].concat());
    auth.metadata = found.field("meta").and_then(Json::as_object).cloned();
    auth.lease_duration = found.field("ttl").and_then(Json::as_i64).unwrap_or_default();
    auth.renewable = found
        .field("renewable")
        .and_then(Json::as_bool)
        .unwrap_or_default();
    Ok(Secret {
        auth: Some(auth),
        ..Secret::default()
    })
}
