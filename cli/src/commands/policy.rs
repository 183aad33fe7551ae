//! `policy`: ACL policies of the server, and formatting of policy files.

use conclave_client::http::{Fields, Json, Secret};

use super::{Command, Output, at_most, exactly};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::{Args, Flag};
use crate::kvdata::read_file;
use crate::output;
use crate::session::Cx;

const KV2: Flag = Flag::list(
    "kv2",
    "Path of a key-value mount with versions. May be given several times; secret/ alone if it is not given.",
);

pub const COMMANDS: &[Command] = &[
    Command::group("policy", "Interact with policies", "Reads and writes ACL policies.\n\n$ conclave policy write app app.hcl"),
    Command::new("policy write", "[options] NAME PATH", "Uploads a named policy from a file", write)
        .help("Uploads a policy from a file, or from standard input if the path is -.\n\n$ conclave policy write app app.hcl"),
    Command::new("policy read", "[options] [NAME]", "Prints the contents of a policy", read)
        .help("Prints a policy.\n\n$ conclave policy read app")
        .output(Output::Format),
    Command::new("policy list", "[options]", "Lists the installed policies", list).output(Output::Format),
    Command::new("policy delete", "[options] NAME", "Deletes a policy by name", delete)
        .help("Deletes a policy; tokens lose what it granted at once.\n\n$ conclave policy delete app"),
    Command::new("policy fmt", "[options] PATH", "Formats a policy on disk", fmt)
        .help("Checks a policy file and rewrites it in the usual layout.\n\n$ conclave policy fmt app.hcl"),
    Command::new("policy lint", "[options] PATH", "Finds rules that hardly mean what they say", lint)
        .help(
            "Names rules that widen one another and rules that no request to a key-value mount with versions can match. Asks no \
             server. Exits with 1 if there is anything to look at.\n\n$ conclave policy lint -kv2=secret -kv2=team/kv app.hcl",
        )
        .output(Output::Format)
        .flags(&[KV2]),
];

fn write(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 2)?;
    let api = cx.api(args)?;
    let given = args.arg(0);
    let name = given.to_lowercase().trim().to_owned();
    let bytes = match args.arg(1).trim() {
        "-" => {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut cx.stdin(args), &mut bytes).map_err(|e| {
                Fail::remote(format!(
                    "Error reading policy: {}",
                    conclave_client::http::plain(&e)
                ))
            })?;
            bytes
        }
        path => read_file(path).map_err(|e| Fail::remote(format!("Error opening policy file: {e}")))?,
    };
    let text =
        String::from_utf8(bytes).map_err(|_| Fail::remote("Error reading policy: it is not UTF-8 text"))?;
    let body: Fields = [("policy", text)].into_iter().collect();
    api.call("PUT", &format!("sys/policies/acl/{name}"), Some(body))
        .context("Error uploading policy")?;
    if given != name {
        cx.ui.warn(&format!(
            "Policy name was converted from \"{given}\" to \"{name}\""
        ));
    }
    cx.ui.line(&format!("Success! Uploaded policy: {name}"));
    Ok(Exit::OK)
}

fn read(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let api = cx.api(args)?;
    let name = args.arg(0).trim().to_lowercase();
    let secret = api
        .read(&format!("sys/policies/acl/{name}"))
        .context(&format!("Error reading policy named {name}"))?;
    let rules = secret
        .as_ref()
        .and_then(|s| s.field("policy").or_else(|| s.field("rules")))
        .and_then(Json::as_str);
    let Some(rules) = rules.filter(|r| !r.is_empty()) else {
        return Err(Fail::remote(format!("No policy named: {name}")));
    };
    if cx.ui.is_table() {
        cx.ui.line(rules.trim());
        return Ok(Exit::OK);
    }
    let fields: Fields = [("policy", rules)].into_iter().collect();
    Ok(output::value(&mut cx.ui, &fields.into()))
}

fn list(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let api = cx.api(args)?;
    let secret = api
        .list("sys/policies/acl", None)
        .context("Error listing policies")?;
    let keys = secret
        .as_ref()
        .and_then(|s: &Secret| s.field("keys"))
        .cloned()
        .unwrap_or_default();
    if !cx.ui.is_table() {
        return Ok(output::value(&mut cx.ui, &keys));
    }
    for name in keys
        .as_array()
        .unwrap_or_default()
        .iter()
        .filter_map(Json::as_str)
    {
        cx.ui.line(name);
    }
    Ok(Exit::OK)
}

fn delete(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let api = cx.api(args)?;
    let name = args.arg(0).trim().to_lowercase();
    api.call("DELETE", &format!("sys/policies/acl/{name}"), None)
        .context(&format!("Error deleting {name}"))?;
    cx.ui.line(&format!("Success! Deleted policy: {name}"));
    Ok(Exit::OK)
}

fn fmt(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let path = crate::policyfmt::expand(&cx.env, args.arg(0).trim());
    let bytes = read_file(&path).map_err(|e| Fail::usage(format!("Error reading source file: {e}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Fail::usage("Error reading source file: it is not UTF-8 text"))?;
    let formatted =
        crate::policyfmt::format(&text).map_err(|e| Fail::usage(format!("failed to parse policy: {e}")))?;
    std::fs::write(&path, formatted).map_err(|e| {
        Fail::usage(format!(
            "Error writing result: {}",
            conclave_client::http::plain(&e)
        ))
    })?;
    cx.ui.line(&format!("Success! Formatted policy: {path}"));
    Ok(Exit::OK)
}

fn lint(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let path = crate::policyfmt::expand(&cx.env, args.arg(0).trim());
    let bytes = read_file(&path).map_err(|e| Fail::usage(format!("Error reading source file: {e}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Fail::usage("Error reading source file: it is not UTF-8 text"))?;
    let mut mounts: Vec<String> = args
        .list(&KV2)
        .iter()
        .map(|mount| format!("{}/", mount.trim_matches('/')))
        .collect();
    if mounts.is_empty() {
        mounts.push("secret/".to_owned());
    }
    let found = crate::policylint::lint(&text, &mounts);
    let found = found.map_err(|e| Fail::usage(format!("failed to parse policy: {e}")))?;
    let exit = if found.is_empty() { Exit::OK } else { Exit::USAGE };
    if cx.ui.is_table() {
        for finding in &found {
            cx.ui.line(&format!("{path}:{}: {}", finding.line, finding.what));
        }
        return Ok(exit);
    }
    let rows = found.iter().map(|finding| {
        let line = i64::from(finding.line);
        [
            ("line", Json::from(line)),
            ("what", Json::from(finding.what.as_str())),
        ]
        .into_iter()
        .collect::<Fields>()
    });
    output::value(&mut cx.ui, &rows.collect::<Vec<_>>().into());
    Ok(exit)
}
