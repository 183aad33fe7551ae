//! `policy explain` and `policy test`: what policies allow, by which rule, and what is missing. The server decides, by the
//! rules it decides requests by.

use std::io::Read;

use conclave_client::http::{Fields, Json, Secret, plain};

use super::{Command, Output, at_least, exactly};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::{Args, Flag};
use crate::kvdata::{self, read_file};
use crate::output;
use crate::session::{Api, Cx};

/// Most expectations of one file.
const MAX_EXPECTATIONS: usize = 10_000;
/// Largest file of expectations, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

const TOKEN: Flag = Flag::text(
    "token",
    "Ask about this token: @FILE or - for standard input, for a command line is seen by others. Without it and its \
     like, about the token in use.",
);
const ACCESSOR: Flag = Flag::text("accessor", "Ask about the token with this accessor.");
const POLICY: Flag = Flag::list(
    "policy",
    "Ask about a token with this policy, which the server has. May be given several times.",
);
const DRAFT: Flag = Flag::text(
    "draft",
    "Ask about a token with the policy in this file, which the server need not have.",
);
const WRAPPED: Flag = Flag::span(
    "wrapped",
    "Ask about a request whose answer is wrapped for this long.",
);

pub const COMMANDS: &[Command] = &[
    Command::new(
        "policy explain",
        "[options] CAPABILITY PATH [K=V...]",
        "Tells by which rule something is allowed, or what is missing",
        explain,
    )
    .help(
        "Tells whether a token may do something (create, read, update, patch, delete, list or scan) on a path, by which rule of \
         which policy, or what is missing. The pairs are the parameters of the request. Does nothing of it. Exits with 1 if \
         it is not allowed.\n\n$ conclave policy explain read secret/data/app\n$ conclave policy explain -accessor=hmz.. list \
         secret/metadata/\n$ conclave policy explain -draft=app.hcl update secret/data/app",
    )
    .output(Output::Format)
    .flags(&[TOKEN, ACCESSOR, POLICY, DRAFT, WRAPPED]),
    Command::new(
        "policy test",
        "[options] PATH",
        "Checks what policies allow against a list of expectations",
        test,
    )
    .help(
        "Reads lines like 'allow read secret/data/app' and 'deny delete secret/data/app' from a file, or from standard input if \
         the path is -, and asks the server about each. Lines that begin with # say nothing. Exits with 1 if anything is \
         otherwise.\n\n$ conclave policy test -draft=app.hcl app.expected\n$ conclave policy test -policy=app -policy=default \
         app.expected",
    )
    .output(Output::Format)
    .flags(&[TOKEN, ACCESSOR, POLICY, DRAFT]),
];

fn explain(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    at_least(args, 2)?;
    let api = cx.api(args)?;
    let mut question = subject(cx, args)?;
    let pairs = args.rest().get(2..).unwrap_or_default();
    if !pairs.is_empty() {
        let data = kvdata::parse(&mut cx.stdin(args), pairs)
            .map_err(|e| Fail::usage(format!("Failed to parse K=V data: {e}")))?;
        question.insert("data", data);
    }
    if let Some(ttl) = args.some(&WRAPPED) {
        question.insert("wrap_ttl", ttl);
    }
    let answer = ask(&api, &question, args.arg(0), args.arg(1))?;
    let allowed = answer.field("allowed").and_then(Json::as_bool) == Some(true);
    let exit = if allowed { Exit::OK } else { Exit::USAGE };
    if !cx.ui.is_table() {
        output::fields(&mut cx.ui, &answer.data.clone().unwrap_or_default());
        return Ok(exit);
    }
    cx.ui.line(&told(&answer, args.arg(0), args.arg(1), allowed));
    Ok(exit)
}

/// An answer for people.
fn told(answer: &Secret, capability: &str, path: &str, allowed: bool) -> String {
    let text = |name: &str| answer.field(name).and_then(Json::as_str).unwrap_or_default();
    let names = |name: &str| {
        let list = answer.field(name).and_then(Json::as_array).unwrap_or_default();
        list.iter()
            .filter_map(Json::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let verdict = if allowed { "allowed" } else { "denied" };
    let mut lines = vec![format!("{verdict}: {capability} {path}")];
    if !text("rule").is_empty() {
        lines.push(format!("by the rule for {}", text("rule")));
        let each = answer.field("rule_of").and_then(Json::as_object);
        for (policy, granted) in each.iter().flat_map(|each| each.iter()) {
            let granted = granted.as_array().unwrap_or_default().iter();
            let granted: Vec<&str> = granted.filter_map(Json::as_str).collect();
            lines.push(format!("  policy {policy}: {}", granted.join(", ")));
        }
    }
    if text("reason") != verdict {
        lines.push(text("reason").to_owned());
    }
    if !text("hint").is_empty() {
        lines.push(text("hint").to_owned());
    }
    if !names("unknown_policies").is_empty() {
        lines.push(format!(
            "policies that are named and not there: {}",
            names("unknown_policies")
        ));
    }
    if !text("to_allow").is_empty() {
        lines.push(format!("\nthis would allow it:\n\n{}", text("to_allow")));
    }
    lines.join("\n")
}

/// One line of a file of expectations.
struct Expectation {
    line: usize,
    allowed: bool,
    capability: String,
    path: String,
}

fn test(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    exactly(args, 1)?;
    let api = cx.api(args)?;
    let expected = expectations(&read_expectations(cx, args)?)?;
    let question = subject(cx, args)?;
    let mut wrong = Vec::new();
    for one in &expected {
        let answer = ask(&api, &question, &one.capability, &one.path)?;
        let allowed = answer.field("allowed").and_then(Json::as_bool) == Some(true);
        if allowed != one.allowed {
            wrong.push((one, answer));
        }
    }
    let exit = if wrong.is_empty() { Exit::OK } else { Exit::USAGE };
    if !cx.ui.is_table() {
        let rows = wrong.iter().map(|(one, answer)| {
            let mut row = answer.data.clone().unwrap_or_default();
            row.insert("line", i64::try_from(one.line).unwrap_or(i64::MAX));
            row
        });
        output::value(&mut cx.ui, &rows.collect::<Vec<Fields>>().into());
        return Ok(exit);
    }
    for (one, answer) in &wrong {
        let expected = if one.allowed { "allow" } else { "deny" };
        let told = told(answer, &one.capability, &one.path, !one.allowed).replace('\n', "\n    ");
        cx.ui
            .line(&format!("line {}: expected {expected}\n    {told}", one.line));
    }
    let (all, failed) = (expected.len(), wrong.len());
    cx.ui
        .line(&format!("{} of {all} expectations hold", all - failed));
    Ok(exit)
}

fn read_expectations(cx: &mut Cx, args: &Args) -> Result<String, Fail> {
    let bytes = match args.arg(0).trim() {
        "-" => {
            let mut bytes = Vec::new();
            let mut input = cx.stdin(args).take(MAX_BYTES);
            input
                .read_to_end(&mut bytes)
                .map_err(|e| Fail::usage(format!("Error reading expectations: {}", plain(&e))))?;
            bytes
        }
        path => read_file(path).map_err(|e| Fail::usage(format!("Error reading expectations: {e}")))?,
    };
    String::from_utf8(bytes).map_err(|_| Fail::usage("Error reading expectations: they are not UTF-8 text"))
}

fn expectations(text: &str) -> Result<Vec<Expectation>, Fail> {
    let mut all = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let (allowed, capability, path) = match words.as_slice() {
            ["allow", capability, path] => (true, *capability, *path),
            ["deny", capability, path] => (false, *capability, *path),
            _ => {
                return Err(Fail::usage(format!(
                    "line {}: expected 'allow CAPABILITY PATH' or 'deny CAPABILITY PATH'",
                    at + 1
                )));
            }
        };
        all.push(Expectation {
            line: at + 1,
            allowed,
            capability: capability.to_owned(),
            path: path.to_owned(),
        });
    }
    match all.len() {
        0 => Err(Fail::usage("there is no expectation in the file")),
        1..=MAX_EXPECTATIONS => Ok(all),
        _ => Err(Fail::usage(format!(
            "there are more than {MAX_EXPECTATIONS} expectations in the file"
        ))),
    }
}

/// Whose rights are asked about, as the server reads it.
fn subject(cx: &mut Cx, args: &Args) -> Result<Fields, Fail> {
    let mut question = Fields::new();
    if let Some(token) = args.some(&TOKEN) {
        if token != "-" && !token.starts_with('@') {
            return Err(Fail::usage(
                "-token takes @FILE, or - for standard input: a command line is seen by others",
            ));
        }
        let pair = [format!("token={token}")];
        question = kvdata::parse(&mut cx.stdin(args), &pair)
            .map_err(|e| Fail::usage(format!("Error reading the token: {e}")))?;
        let trimmed = question
            .get("token")
            .and_then(Json::as_str)
            .map(|token| token.trim().to_owned());
        question.insert("token", trimmed.unwrap_or_default());
    }
    if let Some(accessor) = args.some(&ACCESSOR) {
        question.insert("accessor", accessor);
    }
    let policies = args.list(&POLICY);
    if !policies.is_empty() {
        let names: Vec<Json> = policies.iter().map(|name| Json::from(name.as_str())).collect();
        question.insert("policies", names);
    }
    if let Some(path) = args.some(&DRAFT) {
        let path = crate::policyfmt::expand(&cx.env, path.trim());
        let bytes = read_file(&path).map_err(|e| Fail::usage(format!("Error reading policy file: {e}")))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Fail::usage("Error reading policy file: it is not UTF-8 text"))?;
        question.insert("draft", text);
    }
    Ok(question)
}

fn ask(api: &Api, question: &Fields, capability: &str, path: &str) -> Result<Secret, Fail> {
    let mut question = question.clone();
    question.insert("capability", capability);
    question.insert("path", path);
    let asking = "Error asking about the path";
    let response = api
        .call("POST", "sys/policies/explain", Some(question))
        .context(asking)?;
    let secret = Secret::parse(&response.body).map_err(|e| Fail::remote(format!("{asking}: {e}")))?;
    secret.ok_or_else(|| Fail::remote("the server said nothing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectations_are_read_and_wrong_lines_are_named() {
        let all = expectations("# a\nallow read a/b\n\n  deny  list a/ \n").unwrap();
        let all: Vec<_> = all
            .iter()
            .map(|one| (one.line, one.allowed, one.capability.as_str(), one.path.as_str()))
            .collect();
        assert_eq!(all, [(2, true, "read", "a/b"), (4, false, "list", "a/")]);
        for wrong in ["", "# only\n", "may read a\n", "allow read\n", "allow read a b\n"] {
            assert!(expectations(wrong).is_err(), "{wrong:?}");
        }
        let told = expectations("allow read a\nnonsense").err().unwrap().message;
        assert!(told.starts_with("line 2:"), "{told}");
    }
}
