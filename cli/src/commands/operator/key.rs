//! `operator key-status`, `operator rotate`, `operator members`.

use conclave_client::http::{Fields, Json};

use crate::commands::{Command, Output, at_most};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::Args;
use crate::goval::plain;
use crate::output::{self, table};
use crate::session::{Api, Cx};

pub const STATUS: Command = Command::new(
    "operator key-status",
    "[options]",
    "Provides information about the barrier's encryption key",
    status,
)
.output(Output::Format);
pub const ROTATE: Command =
    Command::new("operator rotate", "[options]", "Rotates the underlying encryption key", rotate)
        .help("Makes a new key for what is written from now on. Nobody notices; unseal keys stay.\n\n$ conclave operator rotate")
        .output(Output::Format);
pub const MEMBERS: Command = Command::new(
    "operator members",
    "[options]",
    "Returns the list of nodes in the cluster",
    members,
)
.output(Output::Format);

fn status(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let api = cx.api(args)?;
    let key = read(&api)?;
    print(cx, &key, "")
}

fn rotate(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_most(args, 0)?;
    let api = cx.api(args)?;
    api.call("POST", "sys/rotate/keyring", None)
        .context("Error rotating key")?;
    let key = read(&api)?;
    print(cx, &key, "Success! Rotated key\n\n")
}

fn read(api: &Api) -> Result<Fields, Fail> {
    api.get("sys/key-status").context("Error reading key status")
}

fn print(cx: &mut Cx, key: &Fields, before: &str) -> Result<Exit, Fail> {
    let get = |name: &str| key.get(name).cloned().unwrap_or_default();
    if !cx.ui.is_table() {
        let mut out = Fields::new();
        for name in ["term", "install_time", "encryptions"] {
            out.push(name, get(name));
        }
        return Ok(output::value(&mut cx.ui, &out.into()));
    }
    let lines = [
        format!("Key Term | {}", plain(&get("term"))),
        format!("Install Time | {}", rfc822(&plain(&get("install_time")))),
        format!("Encryption Count | {}", plain(&get("encryptions"))),
    ];
    cx.ui.line(&format!("{before}{}", table::columns(&lines, "|")));
    Ok(Exit::OK)
}

/// An RFC 3339 time in UTC in Go's `RFC822` layout: `22 Nov 26 05:14 UTC`.
fn rfc822(time: &str) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let part = |from: usize, to: usize| time.get(from..to).unwrap_or_default();
    let month = part(5, 7)
        .parse::<usize>()
        .ok()
        .and_then(|m| MONTHS.get(m.checked_sub(1)?));
    match month {
        Some(month) if time.ends_with('Z') => {
            format!("{} {month} {} {} UTC", part(8, 10), part(2, 4), part(11, 16))
        }
        _ => time.to_owned(),
    }
}

fn members(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let api = cx.api(args)?;
    let answer = api.get("sys/ha-status")?;
    let nodes = answer.get("nodes").and_then(Json::as_array).unwrap_or_default();
    let text = |node: &Json, name: &str| {
        node.get(name)
            .filter(|v| !v.is_null())
            .map(plain)
            .unwrap_or_default()
    };
    if !cx.ui.is_table() {
        let nodes: Vec<Json> = nodes.iter().map(|node| node_document(node).into()).collect();
        let mut out = Fields::new();
        out.push("Nodes", Json::Array(nodes));
        return Ok(output::value(&mut cx.ui, &out.into()));
    }
    let mut lines = vec![
        "Host Name | API Address | Cluster Address | Active Node | Version | Upgrade Version | Last Echo"
            .to_owned(),
    ];
    for node in nodes {
        let active = node.get("active_node").and_then(Json::as_bool).unwrap_or(false);
        // Seconds are enough for people.
        let echo = text(node, "last_echo");
        let echo = match (echo.split_once('.'), echo.ends_with('Z')) {
            (Some((seconds, _)), true) => format!("{seconds}Z"),
            _ => echo,
        };
        lines.push(format!(
            "{} | {} | {} | {active} | {} | {} | {echo}",
            text(node, "hostname"),
            text(node, "api_address"),
            text(node, "cluster_address"),
            text(node, "version"),
            text(node, "upgrade_version"),
        ));
    }
    cx.ui.line(&table::with_header(&lines, "|"));
    // Scripts get what the original prints.
    if cx.ui.is_watched() {
        for warning in warnings(&answer) {
            cx.ui.warn(&format!("WARNING! {warning}"));
        }
    }
    Ok(Exit::OK)
}

/// What people should know beside who the members are.
fn warnings(answer: &Fields) -> Vec<String> {
    let nodes = answer.get("nodes").and_then(Json::as_array).unwrap_or_default();
    let differs = |node: &&Json| node.get("diverged").and_then(Json::as_bool) == Some(true);
    let differ = nodes.iter().filter(differs).map(|node| {
        let name = node.get("hostname").map(plain).unwrap_or_default();
        format!("The state of {name} differs from that of most members: it serves nothing.")
    });
    let recorded = match answer.get("audit_devices").and_then(Json::as_str) {
        Some("none") => Some("No audit device is enabled: nothing records who asked for what."),
        Some("degraded") => Some("An audit device of this server does not take its records."),
        _ => None,
    };
    differ.chain(recorded.map(str::to_owned)).collect()
}

fn node_document(node: &Json) -> Fields {
    let mut out = Fields::new();
    for name in [
        "hostname",
        "api_address",
        "cluster_address",
        "active_node",
        "last_echo",
        "version",
    ] {
        out.push(name, node.get(name).cloned().unwrap_or_default());
    }
    for name in ["upgrade_version", "redundancy_zone"] {
        if let Some(value) = node
            .get(name)
            .filter(|v| v.as_str().is_some_and(|s| !s.is_empty()))
        {
            out.push(name, value.clone());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_hear_what_no_member_says_of_itself() {
        let of = |text: &str| warnings(Json::parse(text.as_bytes()).unwrap().as_object().unwrap());
        let nobody = of(r#"{"nodes":[{"hostname":"a"}],"audit_devices":"none"}"#);
        assert!(nobody[0].starts_with("No audit device is enabled"), "{nobody:?}");
        let both =
            of(r#"{"nodes":[{"hostname":"a"},{"hostname":"b","diverged":true}],"audit_devices":"degraded"}"#);
        assert!(both[0].contains("The state of b differs"), "{both:?}");
        assert!(both[1].contains("does not take its records"), "{both:?}");
        for fine in [
            r#"{"nodes":[{"hostname":"a"}],"audit_devices":"enabled"}"#,
            r#"{"nodes":[{"hostname":"a","diverged":false}]}"#,
            "{}",
        ] {
            assert_eq!(of(fine), Vec::<String>::new(), "{fine}");
        }
    }

    #[test]
    fn times_are_rfc_822() {
        assert_eq!(rfc822("2026-11-22T05:14:03.162415763Z"), "22 Nov 26 05:14 UTC");
        assert_eq!(rfc822("junk"), "junk");
    }
}
