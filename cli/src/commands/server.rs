//! `server`: runs a node in this process, or a development server. Only reads the flags; the node itself is the server
//! crate's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use conclave_client::http::{Fields, Json};
use conclave_server::config;
use conclave_server::dev::{DevKv, DevOptions, DevServer};
use conclave_server::operations::logs;
use conclave_server::serve::ServeOptions;
use conclave_server::{Error, hardening};

use super::Command;
use super::dev;
use crate::exit::{Exit, Fail};
use crate::flags::{Args, Flag};
use crate::session::Cx;

const CONFIG: Flag = Flag::list(
    "config",
    "A configuration file, or a directory of them. May be given several times.",
)
.env("CONFIG_PATH");
const DEV: Flag = Flag::bool(
    "dev",
    "Run a development server: in memory, unsealed, not for secrets.",
);
const DEV_CLUSTER_JSON: Flag = Flag::text(
    "dev-cluster-json",
    "File to write addresses, authority and root token of the development server to.",
);
pub(super) const DEV_ROOT_TOKEN_ID: Flag =
    Flag::text("dev-root-token-id", "The development server's root token.").env("DEV_ROOT_TOKEN_ID");
pub(super) const DEV_LISTEN_ADDRESS: Flag =
    Flag::text("dev-listen-address", "Where the development server listens.")
        .default("127.0.0.1:8200")
        .env("DEV_LISTEN_ADDRESS");
pub(super) const DEV_NO_STORE_TOKEN: Flag = Flag::bool(
    "dev-no-store-token",
    "Do not keep the development server's root token for commands.",
);
const DEV_TLS: Flag = Flag::bool(
    "dev-tls",
    "Run a development server that speaks TLS with a certificate of its own.",
);
const DEV_TLS_CERT_DIR: Flag = Flag::text(
    "dev-tls-cert-dir",
    "Where that certificate and its authority go and stay. Without it they go with the server.",
);
const DEV_NO_KV: Flag = Flag::bool("dev-no-kv", "Mount nothing at secret/.");
const DEV_KV_V1: Flag = Flag::bool(
    "dev-kv-v1",
    "Run a development server with kv without versions at secret/.",
);
pub(super) const LOG_LEVEL: Flag = Flag::text(
    "log-level",
    "Least level that is logged: trace, debug, info, warn, error.",
)
.env("LOG_LEVEL");
const LOG_FORMAT: Flag = Flag::text("log-format", "Format of the log: standard or json.").env("LOG_FORMAT");
const EXIT_ON_CORE_SHUTDOWN: Flag = Flag::bool(
    "exit-on-core-shutdown",
    "Has no effect: the process always ends with what it runs.",
);
const RECOVERY: Flag = Flag::bool("recovery", "Unsupported: rows are not served raw.");
/// With which process a node of a throw-away cluster ends.
pub(super) const DEV_PARENT: Flag = Flag::int("dev-parent", "").hidden();
/// What such a node removes when it ended without being told to.
pub(super) const DEV_FOLDER: Flag = Flag::text("dev-folder", "").hidden();

const LOG_FILE: Flag = Flag::text("log-file", "Has no effect: the log goes to standard error.");
const LOG_ROTATE_BYTES: Flag = Flag::text("log-rotate-bytes", "Has no effect: see -log-file.");
const LOG_ROTATE_DURATION: Flag = Flag::text("log-rotate-duration", "Has no effect: see -log-file.");
const LOG_ROTATE_MAX_FILES: Flag = Flag::text("log-rotate-max-files", "Has no effect: see -log-file.");

const FLAGS: [Flag; 20] = [
    CONFIG,
    DEV,
    DEV_CLUSTER_JSON,
    DEV_FOLDER,
    DEV_KV_V1,
    DEV_LISTEN_ADDRESS,
    DEV_NO_KV,
    DEV_NO_STORE_TOKEN,
    DEV_PARENT,
    DEV_ROOT_TOKEN_ID,
    DEV_TLS,
    DEV_TLS_CERT_DIR,
    EXIT_ON_CORE_SHUTDOWN,
    LOG_FILE,
    LOG_FORMAT,
    LOG_LEVEL,
    LOG_ROTATE_BYTES,
    LOG_ROTATE_DURATION,
    LOG_ROTATE_MAX_FILES,
    RECOVERY,
];

pub const COMMANDS: &[Command] = &[
    Command::new("server", "[options]", "Start a Conclave server", run)
        .help("Runs a node of a cluster until it is told to stop.\n\n$ conclave server -config=/etc/conclave/conclave.hcl\n$ conclave server -dev -dev-root-token-id=root")
        .flags(&FLAGS),
    dev::COMMAND,
];

/// Every flag of `server` and one more.
pub(super) const fn with(flag: Flag) -> [Flag; FLAGS.len() + 1] {
    let mut flags = [flag; FLAGS.len() + 1];
    let (_, rest) = flags.split_at_mut(1);
    rest.copy_from_slice(&FLAGS);
    flags
}

/// A cluster is configured by its flags alone.
pub(super) fn refuse_files(args: &Args) -> Result<(), Fail> {
    match [&CONFIG, &DEV_TLS_CERT_DIR]
        .into_iter()
        .find(|flag| args.given(flag))
    {
        Some(flag) => Err(Fail::usage(format!(
            "-{} and -nodes exclude each other",
            flag.name
        ))),
        None => Ok(()),
    }
}

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let is_dev = [DEV, DEV_TLS, DEV_KV_V1].iter().any(|flag| args.is(flag));
    if is_dev {
        development(cx, args)
    } else {
        node(cx, args)
    }
}

/// Runs a development server in this process.
pub(super) fn development(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    check(cx, args)?;
    let (config, warnings) = config::load_for_dev(&args.list(&CONFIG)).map_err(failed)?;
    for warning in warnings {
        cx.ui.warn(&format!("WARNING! {warning}"));
    }
    let text = |flag: &Flag| args.some(flag).map(str::to_owned);
    let options = DevOptions {
        listen_address: args.text(&DEV_LISTEN_ADDRESS).to_owned(),
        root_token: text(&DEV_ROOT_TOKEN_ID),
        tls: args.is(&DEV_TLS),
        tls_dir: text(&DEV_TLS_CERT_DIR).map(PathBuf::from),
        kv: kv(args),
        log: None,
        config,
    };
    runtime()?
        .block_on(serve_dev(cx, args, options))
        .map_err(failed)?;
    Ok(Exit::OK)
}

/// What is mounted at `secret/`.
pub(super) fn kv(args: &Args) -> DevKv {
    match (args.is(&DEV_NO_KV), args.is(&DEV_KV_V1)) {
        (true, _) => DevKv::Nothing,
        (false, true) => DevKv::Plain,
        (false, false) => DevKv::Versioned,
    }
}

/// Complains of what no server can have, warns of what has no effect.
pub(super) fn check(cx: &mut Cx, args: &Args) -> Result<(), Fail> {
    super::at_most(args, 0)?;
    if args.is(&RECOVERY) {
        return Err(Fail::usage("-recovery is unsupported: rows are not served raw"));
    }
    let supervised = [
        &LOG_FILE,
        &LOG_ROTATE_BYTES,
        &LOG_ROTATE_DURATION,
        &LOG_ROTATE_MAX_FILES,
    ];
    for flag in supervised.into_iter().filter(|flag| args.given(flag)) {
        let name = flag.name;
        cx.ui.warn(&format!(
            "-{name} has no effect: the log goes to standard error; let the supervisor keep it"
        ));
    }
    Ok(())
}

async fn serve_dev(cx: &mut Cx, args: &Args, mut options: DevOptions) -> Result<(), Error> {
    let level = args.some(&LOG_LEVEL).unwrap_or("warn");
    let log = logs::start(logs::level(level)?, logs::format(args.text(&LOG_FORMAT))?, None)?;
    options.log = Some(log);
    hardening::harden()?;
    let dev = DevServer::start(options).await?;
    cx.ui.line(&dev.banner());
    let known = Known {
        addresses: &[&dev.api_addr],
        ca: dev.ca_cert.as_deref(),
        root_token: &dev.root_token,
    };
    known.tell(cx, args);
    dev.server.run().await
}

/// What clients of a development server must know.
pub(super) struct Known<'a> {
    /// URLs of its nodes.
    pub addresses: &'a [&'a str],
    /// The authority of its certificates, with TLS.
    pub ca: Option<&'a Path>,
    /// Its root token.
    pub root_token: &'a str,
}

impl Known<'_> {
    /// Keeps the token for later commands, and writes the file of `-dev-cluster-json`. What fails is said and no more: the
    /// server runs.
    pub fn tell(&self, cx: &mut Cx, args: &Args) {
        if !args.is(&DEV_NO_STORE_TOKEN) {
            let file = cx.token_file();
            let stored = file.and_then(|file| file.store(self.root_token).map_err(Fail::usage));
            if let Err(fail) = stored {
                cx.ui
                    .warn(&format!("The root token was not kept: {}", fail.message));
            }
        }
        if let Some(file) = args.some(&DEV_CLUSTER_JSON)
            && let Err(error) = crate::token_helper::write_private(Path::new(file), &self.json())
        {
            cx.ui.warn(&format!("{file} was not written: {error}"));
        }
    }

    fn json(&self) -> String {
        let nodes = self.addresses.iter().map(|address| {
            let mut node = Fields::new();
            node.push("api_address", (*address).to_owned());
            Json::from(node)
        });
        let mut known = Fields::new();
        known.push("nodes", Json::Array(nodes.collect()));
        known.push(
            "ca_cert_path",
            self.ca.map_or(String::new(), |ca| ca.display().to_string()),
        );
        known.push("root_token", self.root_token.to_owned());
        Json::from(known).to_compact()
    }
}

fn node(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    check(cx, args)?;
    let config = args.list(&CONFIG);
    if config.is_empty() {
        return Err(Fail::usage("Must specify at least one config path using -config"));
    }
    let parent = args.given(&DEV_PARENT).then(|| args.int(&DEV_PARENT));
    let options = ServeOptions {
        config,
        log_level: args.text(&LOG_LEVEL).to_owned(),
        log_format: args.text(&LOG_FORMAT).to_owned(),
        parent: parent.and_then(|parent| i32::try_from(parent).ok()),
    };
    let ended = runtime()?.block_on(conclave_server::serve::run(options));
    if let Some(folder) = args.some(&DEV_FOLDER) {
        dev::abandon(Path::new(folder));
    }
    ended.map_err(failed)?;
    Ok(Exit::OK)
}

/// How long a thread for what may block waits for more of it. When it ends its stack is wiped: what it did may have taken keys.
const IDLE_THREAD: Duration = Duration::from_secs(1);

fn runtime() -> Result<tokio::runtime::Runtime, Fail> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_keep_alive(IDLE_THREAD)
        .on_thread_stop(conclave_server::wiping::wipe_own)
        .build();
    runtime.map_err(|error| Fail::usage(format!("Error starting threads: {error}")))
}

fn failed(error: Error) -> Fail {
    Fail::usage(format!("Error starting the server: {error}"))
}
