//! Requests shown instead of sent: as a curl command or as the policy that would allow them. Never shows a token.

use super::request::Request;
use super::tls::Tls;

/// What to show instead of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preview {
    /// A curl command line.
    Curl,
    /// An ACL policy in HCL.
    Policy,
}

/// The curl command of a request. `command` is the name of the tool that prints the token.
pub(super) fn curl(
    request: &Request,
    url: &str,
    headers: &[(String, String)],
    tls: &Tls,
    command: &str,
) -> String {
    let mut line = String::from("curl ");
    if tls.skip_verify {
        line.push_str("--insecure ");
    }
    if request.method != "GET" {
        line.push_str(&format!("-X {} ", request.method));
    }
    let files = [
        ("cacert", &tls.ca_cert),
        ("capath", &tls.ca_path),
        ("cert", &tls.client_cert),
        ("key", &tls.client_key),
    ];
    for (option, file) in files {
        if let Some(file) = file {
            line.push_str(&format!("--{option} {} ", quote(&file.display().to_string())));
        }
    }
    for (name, value) in headers {
        if name == super::TOKEN_HEADER {
            line.push_str(&format!("-H \"{name}: $({command} print token)\" "));
        } else {
            line.push_str(&format!("-H \"{name}: {value}\" "));
        }
    }
    if let Some(body) = request.json_text() {
        line.push_str(&format!("-d {} ", quote(&body)));
    }
    let url = url.replace('\\', "\\\\").replace('"', "\\\"");
    line.push_str(&format!("\"{url}\""));
    line
}

/// The smallest policy that allows a request.
pub(super) fn policy(request: &Request, api_path: &str) -> String {
    let asks = |name: &str| request.query.iter().any(|(k, v)| k == name && v == "true");
    let mut capabilities = match request.method.as_str() {
        _ if asks("list") => vec!["list"],
        _ if asks("scan") => vec!["scan"],
        "POST" | "PUT" => vec!["create", "update"],
        "PATCH" => vec!["patch"],
        "DELETE" => vec!["delete"],
        _ => vec!["read"],
    };
    let path = api_path.trim_start_matches("/v1").trim_start_matches('/');
    if needs_sudo(path) {
        capabilities.push("sudo");
    }
    format!(
        "path \"{path}\" {{\n  capabilities = [\"{}\"]\n}}",
        capabilities.join("\", \"")
    )
}

/// Paths that the server serves only to tokens with the sudo capability.
fn needs_sudo(path: &str) -> bool {
    const EXACT: [&str; 10] = [
        "auth/token/accessors",
        "sys/audit",
        "sys/config/auditing/request-headers",
        "sys/leases",
        "sys/rotate",
        "sys/seal",
        "sys/step-down",
        "sys/plugins/catalog",
        "sys/leases/lookup",
        "sys/config/cors",
    ];
    const UNDER: [&str; 9] = [
        "sys/audit/",
        "sys/config/auditing/request-headers/",
        "sys/config/ui/headers",
        "sys/internal/inspect/router/",
        "sys/leases/lookup/",
        "sys/leases/revoke-force/",
        "sys/leases/revoke-prefix/",
        "sys/plugins/catalog/",
        "sys/raw",
    ];
    let path = path.trim_end_matches('/');
    EXACT.contains(&path)
        || UNDER.iter().any(|prefix| path.starts_with(prefix))
        || (path.starts_with("sys/auth/") && !path.ends_with("/tune"))
        || path == "auth/token/revoke-orphan"
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}
