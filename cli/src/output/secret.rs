//! The envelope as a table for people, and single fields of it. Knows no command.

use conclave_client::http::{Auth, Fields, Json, Secret, WrapInfo};

use super::table::{HOPE, with_header};
use super::text::wrap;
use crate::goval::{Span, human, plain, quote_list, time_string};
use crate::ui::Ui;

/// Says what the server warned of.
pub fn warnings(ui: &mut Ui, secret: &Secret) {
    warnings_titled(
        ui,
        secret,
        "WARNING! The following warnings were returned from the server:\n",
    );
}

/// As [`warnings`] under another title.
pub fn warnings_titled(ui: &mut Ui, secret: &Secret, title: &str) {
    let Some(warnings) = secret.warnings.as_ref().filter(|w| !w.is_empty()) else {
        return;
    };
    ui.warn(title);
    for warning in warnings {
        ui.warn(&wrap(&format!("* {warning}"), 2));
        ui.warn("");
    }
}

/// Prints lease, auth, wrapping and data as two columns.
pub fn table(ui: &mut Ui, secret: &Secret) {
    warnings(ui, secret);
    let mut lines = Vec::new();
    if secret.lease_duration > 0 {
        let lasts = human(Span::seconds(secret.lease_duration));
        if secret.lease_id.is_empty() {
            lines.push(row("refresh_interval", &lasts));
        } else {
            lines.push(row("lease_id", &secret.lease_id));
            lines.push(row("lease_duration", &lasts));
            lines.push(row("lease_renewable", &secret.renewable.to_string()));
        }
    }
    if let Some(auth) = &secret.auth {
        auth_rows(&mut lines, auth);
    }
    if let Some(wrap) = &secret.wrap_info {
        wrap_rows(&mut lines, wrap);
    }
    if let Some(data) = &secret.data {
        lines.extend(rows(data));
    }
    if let Some(text) = two_columns(&lines) {
        ui.line(&text);
    }
}

/// One row for each field, ordered by name.
pub fn rows(fields: &Fields) -> Vec<String> {
    fields
        .sorted()
        .into_iter()
        .map(|(name, value)| row(name, &shown(name, value)))
        .collect()
}

/// Rows under `Key` and `Value`; `None` if there are none.
pub fn two_columns(rows: &[String]) -> Option<String> {
    if rows.is_empty() {
        return None;
    }
    let mut lines = vec![format!("Key{HOPE}Value")];
    lines.extend_from_slice(rows);
    Some(with_header(&lines, HOPE))
}

fn row(name: &str, value: &str) -> String {
    format!("{name} {HOPE} {value}")
}

/// Fields named like durations hold seconds.
fn shown(name: &str, value: &Json) -> String {
    let is_span = ["period", "ttl", "duration"]
        .iter()
        .any(|end| name == *end || name.strip_suffix(end).is_some_and(|before| before.ends_with('_')))
        || name == "lease_max"
        || name == "ttl_max";
    match value.as_i64() {
        Some(seconds) if is_span => human(Span::seconds(seconds)),
        _ => plain(value),
    }
}

fn auth_rows(lines: &mut Vec<String>, auth: &Auth) {
    if let Some(mfa) = &auth.mfa_requirement {
        return mfa_rows(lines, mfa);
    }
    lines.push(row("token", &auth.client_token));
    lines.push(row("token_accessor", &auth.accessor));
    let lasts = if auth.lease_duration == 0 {
        "∞".to_owned()
    } else {
        human(Span::seconds(auth.lease_duration))
    };
    lines.push(row("token_duration", &lasts));
    lines.push(row("token_renewable", &auth.renewable.to_string()));
    let policies = |list: &Option<Vec<String>>| quote_list(list.as_deref().unwrap_or_default());
    lines.push(row("token_policies", &policies(&auth.token_policies)));
    lines.push(row("identity_policies", &policies(&auth.identity_policies)));
    lines.push(row("policies", &policies(&auth.policies)));
    for (name, value) in auth.metadata.iter().flat_map(Fields::iter) {
        lines.push(row(&format!("token_meta_{name}"), &plain(value)));
    }
}

fn mfa_rows(lines: &mut Vec<String>, mfa: &Json) {
    let text = |of: &Json, name: &str| of.get(name).map(plain).unwrap_or_default();
    lines.push(row("mfa_request_id", &text(mfa, "mfa_request_id")));
    let sets = mfa.get("mfa_constraints").and_then(Json::as_object);
    for (name, set) in sets.iter().flat_map(|s| s.iter()) {
        for one in set.get("any").and_then(Json::as_array).unwrap_or_default() {
            let prefix = format!("mfa_constraint_{name}_{}", text(one, "type"));
            lines.push(row(&format!("{prefix}_id"), &text(one, "id")));
            let passcode = one.get("uses_passcode").and_then(Json::as_bool).unwrap_or(false);
            lines.push(row(&format!("{prefix}_uses_passcode"), &passcode.to_string()));
            if one.get("name").is_some() {
                lines.push(row(&format!("{prefix}_name"), &text(one, "name")));
            }
        }
    }
}

fn wrap_rows(lines: &mut Vec<String>, wrap: &WrapInfo) {
    lines.push(row("wrapping_token:", &wrap.token));
    lines.push(row("wrapping_accessor:", &wrap.accessor));
    lines.push(row("wrapping_token_ttl:", &human(Span::seconds(wrap.ttl))));
    lines.push(row(
        "wrapping_token_creation_time:",
        &time_string(&wrap.creation_time),
    ));
    lines.push(row("wrapping_token_creation_path:", &wrap.creation_path));
    if !wrap.wrapped_accessor.is_empty() {
        lines.push(row("wrapped_accessor:", &wrap.wrapped_accessor));
    }
}

/// Prints the names of a list, with columns for what `key_info` tells of them.
///
/// # Errors
/// A name that is no text.
pub fn list(ui: &mut Ui, answer: &Secret, keys: &Json) -> Result<(), String> {
    warnings(ui, answer);
    let keys = keys
        .as_array()
        .ok_or("error: table formatter cannot output list for this data type")?;
    let mut names = Vec::new();
    for key in keys {
        names.push(
            key.as_str()
                .ok_or_else(|| format!("{} is not a string", plain(key)))?,
        );
    }
    if names.is_empty() {
        return Ok(());
    }
    names.sort_unstable();
    let info = answer
        .field("key_info")
        .and_then(Json::as_object)
        .filter(|i| ui.detailed && !i.is_empty());
    let mut headers: Vec<&str> = Vec::new();
    for (name, of) in info.iter().flat_map(|i| i.iter()) {
        if names.binary_search(&name).is_ok() {
            headers.extend(of.as_object().iter().flat_map(|f| f.iter()).map(|(k, _)| k));
        }
    }
    headers.sort_unstable();
    headers.dedup();
    let mut lines = vec![
        std::iter::once("Keys")
            .chain(headers.iter().copied())
            .collect::<Vec<_>>()
            .join(HOPE),
    ];
    for name in names {
        let mut cells = vec![name.to_owned()];
        if let Some(of) = info.and_then(|i| i.get(name)) {
            cells.extend(
                headers
                    .iter()
                    .map(|h| of.get(h).map_or_else(|| "n/a".into(), |v| shown(h, v))),
            );
        }
        lines.push(cells.join(HOPE));
    }
    ui.line(&with_header(&lines, HOPE));
    Ok(())
}

/// The value that `-field=name` means.
pub fn field(secret: &Secret, name: &str) -> Option<Json> {
    let data = || secret.field(name).cloned();
    let list = |l: &Option<Vec<String>>| Json::from(l.clone().unwrap_or_default());
    if let Some(auth) = &secret.auth {
        return match name {
            "token" => Some(auth.client_token.as_str().into()),
            "token_accessor" => Some(auth.accessor.as_str().into()),
            "token_duration" => Some(auth.lease_duration.into()),
            "token_renewable" => Some(auth.renewable.into()),
            "token_policies" => Some(list(&auth.token_policies)),
            "identity_policies" => Some(list(&auth.identity_policies)),
            "policies" => Some(list(&auth.policies)),
            _ => data(),
        };
    }
    if let Some(wrap) = &secret.wrap_info {
        return match name {
            "wrapping_token" => Some(wrap.token.as_str().into()),
            "wrapping_accessor" => Some(wrap.accessor.as_str().into()),
            "wrapping_token_ttl" => Some(wrap.ttl.into()),
            "wrapping_token_creation_time" => Some(wrap.creation_time.as_str().into()),
            "wrapping_token_creation_path" => Some(wrap.creation_path.as_str().into()),
            "wrapped_accessor" => Some(wrap.wrapped_accessor.as_str().into()),
            _ => data(),
        };
    }
    match name {
        "lease_duration" | "refresh_interval" => Some(secret.lease_duration.into()),
        "lease_id" => Some(secret.lease_id.as_str().into()),
        "request_id" => Some(secret.request_id.as_str().into()),
        "renewable" => Some(secret.renewable.into()),
        "data" => data().or_else(|| secret.data.clone().map(Json::Object)),
        _ => data(),
    }
}
