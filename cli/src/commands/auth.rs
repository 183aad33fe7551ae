//! `auth`: mounts of auth methods.

use conclave_client::http::Fields;

use super::mounts::{AUTH_ENABLE, AUTH_TUNE, DETAILED, Family, disable, enable, list, relocate, tune};
use super::{Command, Output, exactly, sanitize, with_slash};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::Args;
use crate::goval::{plain, quote};
use crate::session::{Cx, TOOL};

const FAMILY: Family = Family::Auth;

pub const COMMANDS: &[Command] = &[
    Command::group(
        "auth",
        "Interact with auth methods",
        "Mounts, tunes, moves and unmounts auth methods.\n\n$ conclave auth enable userpass",
    ),
    Command::new(
        "auth enable",
        "[options] TYPE",
        "Enables a new auth method",
        |cx, args| enable(cx, args, FAMILY),
    )
    .help("Mounts an auth method, at its type's name if no path is given.\n\n$ conclave auth enable userpass")
    .flags(AUTH_ENABLE),
    Command::new(
        "auth disable",
        "[options] PATH",
        "Disables an auth method",
        |cx, args| disable(cx, args, FAMILY),
    )
    .help("Unmounts an auth method: all tokens made by it are revoked.\n\n$ conclave auth disable userpass/"),
    Command::new(
        "auth list",
        "[options]",
        "Lists enabled auth methods",
        |cx, args| list(cx, args, FAMILY),
    )
    .output(Output::Format)
    .flags(&[DETAILED]),
    Command::new(
        "auth tune",
        "[options] PATH",
        "Tunes an auth method configuration",
        |cx, args| tune(cx, args, FAMILY),
    )
    .help("Changes settings of a mount.\n\n$ conclave auth tune -default-lease-ttl=72h userpass/")
    .flags(AUTH_TUNE),
    Command::new(
        "auth move",
        "[options] SOURCE DESTINATION",
        "Move an auth method to a new path",
        |cx, args| relocate(cx, args, FAMILY),
    )
    .help("Moves a mount with its data; its leases are revoked.\n\n$ conclave auth move approle/ machines/"),
    Command::new(
        "auth help",
        "[options] TYPE | PATH",
        "Prints usage for an auth method",
        help,
    )
    .help("Tells how to log in by an auth method.\n\n$ conclave auth help userpass"),
];

fn help(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let api = cx.api(args)?;
    let given = sanitize(args.arg(0));
    let kind = match usage(given) {
        Some(_) if !args.arg(0).ends_with('/') => given.to_owned(),
        _ => {
            let mounts: Fields = api.get("sys/auth").context("Error listing auth methods")?;
            let path = with_slash(given);
            let mount = mounts.get(&path);
            let mount = mount.ok_or_else(|| {
                Fail::usage(format!(
                    "No auth method available on the server at {}",
                    quote(&path)
                ))
            })?;
            mount.get("type").map(plain).unwrap_or_default()
        }
    };
    let Some((example, settings)) = usage(&kind) else {
        return Err(Fail::usage(format!(
            "No method-specific CLI handler available for auth method {}",
            quote(&kind)
        )));
    };
    cx.ui.line(&format!("Usage: {TOOL} login -method={kind} [CONFIG K=V...]\n\n      $ {TOOL} login {example}\n\nConfiguration:\n"));
    let lines: Vec<String> = settings
        .iter()
        .map(|(name, text)| format!("  {name}=<string>\n      {text}"))
        .collect();
    cx.ui.line(&lines.join("\n\n"));
    Ok(Exit::OK)
}

type Settings = &'static [(&'static str, &'static str)];

fn usage(kind: &str) -> Option<(&'static str, Settings)> {
    const PASSWORD: Settings = &[
        ("password", "The password; asked for if it is not given."),
        ("username", "Name of the user."),
    ];
    Some(match kind {
        "token" => (
            "TOKEN",
            &[
                ("token", "The token."),
                ("lookup", "Whether to look the token up; true by default."),
            ],
        ),
        "userpass" => ("-method=userpass username=ada", PASSWORD),
        "ldap" => ("-method=ldap username=ada", PASSWORD),
        "radius" => ("-method=radius username=ada", PASSWORD),
        "approle" => (
            "-method=approle role_id=ID secret_id=@secret-id",
            &[
                ("role_id", "Identifier of the role."),
                ("secret_id", "The secret that goes with it."),
            ],
        ),
        "github" => (
            "-method=github",
            &[("token", "A GitHub token; VAULT_AUTH_GITHUB_TOKEN by default.")],
        ),
        "jwt" => (
            "-method=jwt role=app jwt=@token.jwt",
            &[("jwt", "The signed token."), ("role", "Name of the role.")],
        ),
        "kubernetes" => (
            "-method=kubernetes role=app jwt=@/var/run/secrets/kubernetes.io/serviceaccount/token",
            &[
                ("jwt", "The service account's token."),
                ("role", "Name of the role."),
            ],
        ),
        "cert" => (
            "-method=cert -client-cert=ada.pem -client-key=ada.key",
            &[("name", "Name of the certificate role.")],
        ),
        _ => return None,
    })
}
