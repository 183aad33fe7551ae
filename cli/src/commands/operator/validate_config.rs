//! `operator validate-config`: reads server configuration files without starting anything.

use crate::commands::Command;
use crate::exit::{Exit, Fail};
use crate::flags::{Args, Flag};
use crate::kvdata::read_file;
use crate::session::Cx;

const CONFIG: Flag = Flag::list(
    "config",
    "A configuration file, or a directory of them. May be given several times.",
)
.env("CONFIG_PATH");

pub const COMMAND: Command =
    Command::new("operator validate-config", "[options]", "Validate configuration files", run)
        .help("Reads server configuration files and tells what is wrong with them.\n\n$ conclave operator validate-config -config=/etc/conclave/config.hcl")
        .flags(&[CONFIG]);

/// Exit code for a missing flag, as the original's.
const NO_CONFIG: Exit = Exit(3);

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let given = args.list(&CONFIG);
    if given.is_empty() {
        return Err(Fail {
            exit: NO_CONFIG,
            message: "Must specify a configuration file using -config.".into(),
        });
    }
    let mut files = Vec::new();
    for path in &given {
        files.extend(expand(path)?);
    }
    if files.is_empty() {
        return Err(Fail::usage("No configuration files found"));
    }
    for file in &files {
        let failed = |why: String| Fail::usage(format!("error loading configuration from {file}: {why}"));
        let text = String::from_utf8(read_file(file).map_err(failed)?);
        let text = text.map_err(|_| failed("it is not UTF-8 text".into()))?;
        conclave_hcl::parse(&text).map_err(|e| failed(e.to_string()))?;
        cx.ui.line(&format!("{file}: syntax is valid"));
    }
    Ok(Exit::OK)
}

/// The file itself, or the configuration files in a directory in the order of their names.
fn expand(path: &str) -> Result<Vec<String>, Fail> {
    let failed = |e: &std::io::Error| {
        let why = conclave_client::http::plain(e);
        Fail::usage(format!(
            "error loading configuration from {path}: stat {path}: {why}"
        ))
    };
    if !std::fs::metadata(path).map_err(|e| failed(&e))?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(|e| failed(&e))?;
    let mut files: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.path().into_os_string().into_string().ok())
        .filter(|name| name.ends_with(".hcl") || name.ends_with(".json"))
        .collect();
    files.sort();
    Ok(files)
}
