//! `audit tail`, `audit search`, `audit who-read`: what audit files say.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use super::records::{Record, files, longest, matches, open, shown};
use conclave_client::http::{Fields, Json};

use crate::commands::{Command, Output};
use crate::exit::{Exit, Fail};
use crate::flags::{Args, Flag};
use crate::output::{self, table};
use crate::session::Cx;

/// Between two looks for more.
const PAUSE: Duration = Duration::from_millis(250);

const PATH: Flag = Flag::text("path", "Only this path; * stands for anything.");
const OPERATION: Flag = Flag::text(
    "operation",
    "Only this operation: read, create, update, delete, list, ...",
);
const KIND: Flag = Flag::text(
    "type",
    "Only records of this type: request, response, act, recovered, chain, refused.",
);
const BY: Flag = Flag::text(
    "by",
    "Only this display name, or keyed hash of an accessor or token (sys/audit-hash).",
);
const REMOTE: Flag = Flag::text(
    "remote",
    "Only requests from this address; * stands for anything.",
);
const SINCE: Flag = Flag::text(
    "since",
    "Only records of this time or later, as in 2026-01-31T12:00:00Z.",
);
const UNTIL: Flag = Flag::text("until", "Only records before this time.");
const ERRORS: Flag = Flag::bool("errors", "Only what was refused or failed.");
const LINES: Flag = Flag::int("n", "How many of the last records are printed.").default("20");
const FOLLOW: Flag = Flag::bool("f", "Go on printing what is written.").alias(&["follow"]);

/// Prints the last records.
pub const TAIL: Command = Command::new("audit tail", "[options] [FILE]", "Prints the last audit records", tail)
    .help(
        "Prints the last records of an audit file, and with -f those that follow. Without FILE, of the server's file device, \
         which must be on this machine.\n\n$ conclave audit tail -f -path='secret/data/*' /var/log/conclave/audit.log",
    )
    .output(Output::Format)
    .flags(&[LINES, FOLLOW, PATH, OPERATION, KIND, BY, REMOTE, SINCE, UNTIL, ERRORS]);

/// Prints all records that are asked for.
pub const SEARCH: Command = Command::new(
    "audit search",
    "[options] [FILE...]",
    "Prints the audit records that are asked for",
    search,
)
.help(
    "Prints records of audit files that are as all options say; with -format=json as they stand in the file.\n\n$ conclave audit \
     search -path='secret/*' -errors -since=2026-01-31T12:00:00Z /var/log/conclave/audit.log",
)
.output(Output::Format)
.flags(&[PATH, OPERATION, KIND, BY, REMOTE, SINCE, UNTIL, ERRORS]);

/// Tells who read a secret.
pub const WHO_READ: Command = Command::new(
    "audit who-read",
    "[options] PATH [FILE...]",
    "Tells who read a secret, how often and when last",
    who_read,
)
.help(
    "Goes through audit files for answers to reads of a path. Of KV version 2 the path may be named with data/ or without.\n\n$ \
     conclave audit who-read secret/app /var/log/conclave/audit.log*",
)
.output(Output::Format)
.flags(&[SINCE, UNTIL]);

/// What is asked for.
struct Wanted<'a> {
    args: &'a Args,
}

impl Wanted<'_> {
    fn takes(&self, record: &Record) -> bool {
        let is = |flag: &Flag, at: &str| self.args.some(flag).is_none_or(|wanted| record.get(at) == wanted);
        let like =
            |flag: &Flag, found: &str| self.args.some(flag).is_none_or(|wanted| matches(wanted, found));
        let path = self.args.some(&PATH).is_none_or(|wanted| {
            matches(wanted, &record.path())
                || record.plain_path().is_some_and(|plain| matches(wanted, &plain))
        });
        path && is(&OPERATION, "/request/operation")
            && is(&KIND, "/type")
            && like(&REMOTE, record.get("/request/remote_address"))
            && self.args.some(&BY).is_none_or(|who| record.is_by(who))
            && (!self.args.is(&ERRORS) || record.failed())
            && self.is_in_time(record)
    }

    fn is_in_time(&self, record: &Record) -> bool {
        // Times of records are UTC in one form: they sort as texts.
        let time = record.get("/time").trim_end_matches('Z');
        let bound = |flag: &Flag| {
            self.args
                .some(flag)
                .map(|text| text.trim_end_matches('Z').to_owned())
        };
        bound(&SINCE).is_none_or(|since| time >= since.as_str())
            && bound(&UNTIL).is_none_or(|until| time < until.as_str())
    }
}

fn search(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let mut found = false;
    // Several devices have the same requests.
    let mut seen = HashSet::new();
    for file in files(cx, args, 0)? {
        each(&file, |record| {
            if (Wanted { args }).takes(&record) {
                let request = record.get("/request/id");
                if request.is_empty() || seen.insert(format!("{} {request}", record.get("/type"))) {
                    print(cx, &record);
                }
                found = true;
            }
            !cx.ui.is_broken()
        })?;
    }
    Ok(if found { Exit::OK } else { Exit::REMOTE })
}

fn tail(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let all = files(cx, args, 0)?;
    let [file] = all.as_slice() else {
        return Err(Fail::usage(format!("Name one of these files: {}", all.join(" "))));
    };
    let kept = usize::try_from(args.int(&LINES)).unwrap_or(0);
    let mut last = VecDeque::new();
    let mut reader = open_file(file)?;
    let mut line = String::new();
    while next(&mut reader, &mut line, file)? {
        if let Some(record) = Record::read(&line).filter(|record| (Wanted { args }).takes(record)) {
            last.push_back(record);
            if last.len() > kept {
                last.pop_front();
            }
        }
        line.clear();
    }
    for record in last {
        print(cx, &record);
    }
    while args.is(&FOLLOW) && !cx.ui.is_broken() {
        if next(&mut reader, &mut line, file)? {
            if let Some(record) = Record::read(&line).filter(|record| (Wanted { args }).takes(record)) {
                print(cx, &record);
            }
            line.clear();
            continue;
        }
        std::thread::park_timeout(PAUSE);
        if line.is_empty()
            && let Some(fresh) = moved_away(&reader, file)
        {
            reader = fresh;
        }
    }
    Ok(Exit::OK)
}

fn who_read(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    let path = args.arg(0);
    if path.is_empty() {
        return Err(Fail::usage("Not enough arguments (expected at least 1, got 0)"));
    }
    let mut readers: BTreeMap<[String; 3], (u64, String)> = BTreeMap::new();
    // Several devices have the same requests.
    let mut seen = HashSet::new();
    for file in files(cx, args, 1)? {
        each(&file, |record| {
            let read = record.get("/type") == "response" && record.get("/request/operation") == "read";
            let same = record.path() == path || record.plain_path().is_some_and(|plain| plain == path);
            if read
                && same
                && !record.failed()
                && (Wanted { args }).is_in_time(&record)
                && seen.insert(record.get("/request/id").to_owned())
            {
                let who = ["/auth/display_name", "/auth/accessor", "/request/remote_address"]
                    .map(|at| record.get(at).to_owned());
                let (count, last) = readers.entry(who).or_default();
                *count += 1;
                if record.get("/time") > last.as_str() {
                    record.get("/time").clone_into(last);
                }
            }
            true
        })?;
    }
    if readers.is_empty() {
        cx.ui.line("Nobody, as far as these records go.");
        return Ok(Exit::REMOTE);
    }
    if cx.ui.is_table() {
        let mut lines = vec!["Name | Reads | Last | From | Accessor".to_owned()];
        lines.extend(readers.iter().map(|([name, accessor, remote], (count, last))| {
            let [name, accessor, remote, last] =
                [name, accessor, remote, last].map(|text| shown(text).replace('|', "/"));
            format!("{name} | {count} | {last} | {remote} | {accessor}")
        }));
        cx.ui.line(&table::with_header(&lines, "|"));
    } else {
        let list = readers.iter().map(|([name, accessor, remote], (count, last))| {
            let mut reader = Fields::new();
            reader.insert("display_name", name.as_str());
            reader.insert("accessor", accessor.as_str());
            reader.insert("remote_address", remote.as_str());
            reader.insert("reads", i64::try_from(*count).unwrap_or(i64::MAX));
            reader.insert("last", last.as_str());
            Json::Object(reader)
        });
        let list = Json::Array(list.collect());
        return Ok(output::value(&mut cx.ui, &list));
    }
    Ok(Exit::OK)
}

fn print(cx: &mut Cx, record: &Record) {
    if cx.ui.is_table() {
        cx.ui.line(&record.line());
    } else {
        cx.ui.line(&record.text);
    }
}

/// Each record of a file, until `take` wants no more.
fn each(file: &str, mut take: impl FnMut(Record) -> bool) -> Result<(), Fail> {
    let mut reader = open(file)?;
    let mut line = Vec::new();
    let wrong = |error: std::io::Error| Fail::usage(format!("Error reading {file}: {error}"));
    while longest(&mut reader).read_until(b'\n', &mut line).map_err(wrong)? > 0 {
        if let Some(record) = Record::read(&String::from_utf8_lossy(&line))
            && !take(record)
        {
            break;
        }
        line.clear();
    }
    Ok(())
}

fn open_file(file: &str) -> Result<BufReader<File>, Fail> {
    let opened = File::open(file);
    Ok(BufReader::new(opened.map_err(|error| {
        Fail::usage(format!("Error reading {file}: {error}"))
    })?))
}

/// Adds what there is of the next line; whether that is all of it.
fn next(reader: &mut BufReader<File>, line: &mut String, file: &str) -> Result<bool, Fail> {
    let mut bytes = Vec::new();
    let read = longest(reader).read_until(b'\n', &mut bytes);
    read.map_err(|error| Fail::usage(format!("Error reading {file}: {error}")))?;
    line.push_str(&String::from_utf8_lossy(&bytes));
    Ok(line.ends_with('\n'))
}

/// The file that is under the name now, if it is another one.
fn moved_away(reader: &BufReader<File>, file: &str) -> Option<BufReader<File>> {
    let fresh = File::open(file).ok()?;
    let (old, new) = (reader.get_ref().metadata().ok()?, fresh.metadata().ok()?);
    (old.ino() != new.ino() || old.dev() != new.dev()).then(|| BufReader::new(fresh))
}
