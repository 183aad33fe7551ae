//! `server` and `dev`: run a node in this process. Only reads the flags; the node itself is the server crate's.

use conclave_server::dev::{DevOptions, DevServer};
use conclave_server::operations::logs;
use conclave_server::serve::ServeOptions;
use conclave_server::{Error, hardening};

use super::Command;
use crate::exit::{Exit, Fail};
use crate::flags::{Args, Flag};
use crate::session::Cx;

const CONFIG: Flag = Flag::list(
    "config",
    "A configuration file, or a directory of them. May be given several times.",
);
const DEV: Flag = Flag::bool(
    "dev",
    "Run a development server: in memory, unsealed, not for secrets.",
);
const DEV_ROOT_TOKEN_ID: Flag =
    Flag::text("dev-root-token-id", "The development server's root token.").env("DEV_ROOT_TOKEN_ID");
const DEV_LISTEN_ADDRESS: Flag = Flag::text("dev-listen-address", "Where the development server listens.")
    .default("127.0.0.1:8200")
    .env("DEV_LISTEN_ADDRESS");
const DEV_NO_STORE_TOKEN: Flag = Flag::bool(
    "dev-no-store-token",
    "Do not keep the development server's root token for commands.",
);
const DEV_TLS: Flag = Flag::bool(
    "dev-tls",
    "Let the development server speak TLS with a certificate of its own.",
);
const LOG_LEVEL: Flag = Flag::text(
    "log-level",
    "Least level that is logged: trace, debug, info, warn, error.",
)
.env("LOG_LEVEL");
const LOG_FORMAT: Flag = Flag::text("log-format", "Format of the log: standard or json.").env("LOG_FORMAT");

const FLAGS: &[Flag] = &[
    CONFIG,
    DEV,
    DEV_LISTEN_ADDRESS,
    DEV_NO_STORE_TOKEN,
    DEV_ROOT_TOKEN_ID,
    DEV_TLS,
    LOG_FORMAT,
    LOG_LEVEL,
];

pub const COMMANDS: &[Command] = &[
    Command::new("server", "[options]", "Start a Conclave server", |cx, args| run(cx, args, args.is(&DEV)))
        .help("Runs a node of a cluster until it is told to stop.\n\n$ conclave server -config=/etc/conclave/config.hcl\n$ conclave server -dev -dev-root-token-id=root")
        .flags(FLAGS),
    Command::new("dev", "[options]", "Start a development server", |cx, args| run(cx, args, true))
        .help("Runs a server in memory, unsealed, with a root token. Not for secrets: the short form of 'server -dev'.")
        .flags(FLAGS),
];

/// What `server` and `dev` were told.
pub struct ServerArgs {
    /// Configuration files and directories, in order.
    pub config: Vec<String>,
    /// The development server's settings, if it is one.
    pub dev: Option<DevArgs>,
    /// Least level that is logged; empty for the configuration's.
    pub log_level: String,
    /// Format of the log; empty for the configuration's.
    pub log_format: String,
}

/// Settings of a development server.
pub struct DevArgs {
    /// Root token; random if empty.
    pub root_token_id: String,
    /// `host:port` to listen on.
    pub listen_address: String,
    /// Whether the root token is kept for later commands.
    pub store_token: bool,
    /// Whether to speak TLS.
    pub tls: bool,
}

fn parse(args: &Args, dev: bool) -> Result<ServerArgs, Fail> {
    if !args.rest().is_empty() {
        return Err(Fail::usage(format!(
            "Too many arguments (expected 0, got {})",
            args.rest().len()
        )));
    }
    let config = args.list(&CONFIG);
    if config.is_empty() && !dev {
        return Err(Fail::usage("Must specify at least one config path using -config"));
    }
    let dev = dev.then(|| DevArgs {
        root_token_id: args.text(&DEV_ROOT_TOKEN_ID).to_owned(),
        listen_address: args.text(&DEV_LISTEN_ADDRESS).to_owned(),
        store_token: !args.is(&DEV_NO_STORE_TOKEN),
        tls: args.is(&DEV_TLS),
    });
    let text = |flag: &Flag| args.text(flag).to_owned();
    Ok(ServerArgs {
        config,
        dev,
        log_level: text(&LOG_LEVEL),
        log_format: text(&LOG_FORMAT),
    })
}

fn run(cx: &mut Cx, args: &Args, dev: bool) -> Result<Exit, Fail> {
    let parsed = parse(args, dev)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Fail::usage(format!("Error starting threads: {error}")))?;
    let ended = match &parsed.dev {
        Some(options) => runtime.block_on(run_dev(cx, &parsed, options)),
        None => runtime.block_on(serve(&parsed)),
    };
    ended.map_err(|error| Fail::usage(format!("Error starting the server: {error}")))?;
    Ok(Exit::OK)
}

async fn run_dev(cx: &mut Cx, parsed: &ServerArgs, options: &DevArgs) -> Result<(), Error> {
    let level = if parsed.log_level.is_empty() {
        "warn"
    } else {
        &parsed.log_level
    };
    logs::start(logs::level(level)?, logs::format(&parsed.log_format)?)?;
    hardening::harden()?;
    let dev = DevServer::start(DevOptions {
        listen_address: options.listen_address.clone(),
        root_token: Some(options.root_token_id.clone()).filter(|token| !token.is_empty()),
        tls: options.tls,
    })
    .await?;
    cx.ui.line(&dev.banner());
    if options.store_token {
        let stored = cx
            .token_file()
            .and_then(|file| file.store(&dev.root_token).map_err(Fail::usage));
        if let Err(fail) = stored {
            cx.ui
                .warn(&format!("The root token was not kept: {}", fail.message));
        }
    }
    dev.server.run().await
}

async fn serve(parsed: &ServerArgs) -> Result<(), Error> {
    let options = ServeOptions {
        config: parsed.config.clone(),
        log_level: parsed.log_level.clone(),
        log_format: parsed.log_format.clone(),
    };
    conclave_server::serve::run(options).await
}
