//! Takes out of a command's output what differs between two runs: times, ids, tokens, ports and the tools' names.

/// The text with everything that changes replaced by a word for it.
pub fn mask(text: &str) -> String {
    // How often a move is asked for depends on the moment, and so does whether a server that was just unsealed leads yet.
    // Our own version stands beside the one that clients of the original read.
    const LEFT_OUT: [&str; 4] = [
        "Waiting for terminal status",
        "Active Since ",
        "\"conclave_version\":",
        "conclave_version: ",
    ];
    let lines = text
        .split('\n')
        .filter(|line| !LEFT_OUT.iter().any(|start| line.trim_start().starts_with(start)));
    let lines: Vec<String> = lines.map(|line| mask_words(&mask_line(line))).collect();
    lines.join("\n")
}

/// Lines whose value is random or counts what happened meanwhile.
fn mask_line(line: &str) -> String {
    const STARTS: [&str; 28] = [
        "\"index\":",
        "Cluster Name ",
        "\"cluster_name\":",
        "cluster_name: ",
        "raft_applied_index: ",
        "raft_committed_index: ",
        "HA Cluster ",
        "HA Mode ",
        "Unseal Key ",
        "Key 1: ",
        "Key 2: ",
        "Initial Root Token: ",
        "Unlock Key: ",
        "OTP ",
        "Encryption Count ",
        "\"encryptions\":",
        "Raft Committed Index ",
        "Raft Applied Index ",
        "\"raft_committed_index\":",
        "\"raft_applied_index\":",
        "id ",
        "\"id\":",
        "Install Time ",
        "Last Index:",
        "\"LastIndex\":",
        "Last Term:",
        "\"LastTerm\":",
        "Last Contact:",
    ];
    let trimmed = line.trim_start();
    let indent = &line[..line.len() - trimmed.len()];
    for start in STARTS {
        if let Some(rest) = trimmed.strip_prefix(start) {
            // Titles and the numbers of keys stay.
            let kept = rest
                .find([':', ' '])
                .filter(|_| start == "Unseal Key ")
                .map_or("", |at| &rest[..at]);
            let is_number = kept.chars().all(|c| c.is_ascii_digit());
            if start != "Unseal Key " || (is_number && !kept.is_empty()) {
                return format!("{indent}{start}{kept} <masked>");
            }
        }
    }
    line.to_owned()
}

fn mask_words(text: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-' | '+') {
            word.push(c);
        } else {
            out.push_str(&mask_word(&word));
            word.clear();
            out.push(c);
        }
    }
    out.push_str(&mask_word(&word));
    out.replace("returned from OpenBao", "returned from the server")
}

fn mask_word(word: &str) -> String {
    let core = word.trim_end_matches(['.', ':']);
    let rest = &word[core.len()..];
    let masked = match core {
        "bao" => "conclave",
        c if is_uuid(c) => "<uuid>",
        c if is_time(c) => "<time>",
        c if is_clock(c) => "<clock>",
        c if is_token(c) => "<token>",
        // Those of a namespace end in its id.
        c if in_namespace(c).is_some() => "<id of a namespace's>",
        c if c.len() == 24 && c.chars().all(char::is_alphanumeric) && has_mix(c) => "<id>",
        c if c.starts_with("vault-cluster-") => "<cluster>",
        c if c.strip_prefix("127.0.0.1:").is_some_and(|port| port.len() == 5) => "<socket>",
        c if is_epoch(c) => "<epoch>",
        c if span(c).is_some() => return format!("{}{rest}", span(c).unwrap()),
        c if c.len() == 7 && c.starts_with("2764") => "2764800",
        c if c.len() == 4 && c.starts_with("35") => "3600",
        c if c.contains(':') => {
            let (name, value) = c.split_once(':').unwrap();
            return format!("{}:{}{rest}", mask_word(name), mask_word(value));
        }
        c => return accessor(c).map_or_else(|| word.to_owned(), |name| format!("{name}_<id>{rest}")),
    };
    format!("{masked}{rest}")
}

fn in_namespace(word: &str) -> Option<&str> {
    let (token, namespace) = word.rsplit_once('.')?;
    let is_id = token.len() == 24 && has_mix(token);
    (namespace.len() == 6 && (is_id || is_token(token))).then_some(token)
}

fn is_uuid(word: &str) -> bool {
    let parts: Vec<usize> = word.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12] && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

fn is_time(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.len() >= 19
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && bytes[10] == b'T'
        && bytes[..4].iter().all(u8::is_ascii_digit)
}

/// The clock part of Go's `Time.String`, which has no fraction when it is zero, and the date before it.
fn is_clock(word: &str) -> bool {
    let bytes = word.as_bytes();
    let date = bytes.len() == 10 && bytes[4] == b'-' && bytes[7] == b'-' && word.starts_with("20");
    let digits = |at: std::ops::Range<usize>| bytes[at].iter().all(u8::is_ascii_digit);
    let clock = bytes.len() >= 8 && bytes[2] == b':' && bytes[5] == b':' && digits(0..2) && digits(6..8);
    (date && word != "2020-01-01") || clock
}

/// Seconds since 1970 of our days.
fn is_epoch(word: &str) -> bool {
    word.len() == 10 && word.starts_with('1') && word.chars().all(|c| c.is_ascii_digit())
}

fn is_token(word: &str) -> bool {
    let body = ["hvs.", "hvb.", "hvr.", "s.", "b.", "r."]
        .iter()
        .find_map(|p| word.strip_prefix(p));
    body.is_some_and(|b| {
        b.len() >= 24
            && b.chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    })
}

fn has_mix(word: &str) -> bool {
    word.chars().any(char::is_uppercase) && word.chars().any(char::is_lowercase)
}

/// `kv_1a2b3c4d`: the accessor of a mount.
fn accessor(word: &str) -> Option<&str> {
    let (name, id) = word.rsplit_once('_')?;
    (id.len() == 8 && id.chars().all(|c| c.is_ascii_hexdigit()) && !name.is_empty()).then_some(name)
}

/// A duration of minutes and more, rounded up to the minute: a command later it is some seconds less.
fn span(word: &str) -> Option<String> {
    let (mut seconds, mut number) = (0, String::new());
    for c in word.chars() {
        let unit = match c {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            c if c.is_ascii_digit() => {
                number.push(c);
                continue;
            }
            _ => return None,
        };
        seconds += unit * number.parse::<u64>().ok()?;
        number.clear();
    }
    (number.is_empty() && seconds > 300).then(|| format!("<{} minutes>", seconds.div_ceil(60)))
}
