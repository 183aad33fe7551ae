//! The square {`bao`, `conclave`} x {bao server, conclave server}: what each line of a script must print in all four
//! corners, and the only lines for which less is asked, each with its reason.

use super::script::{Outcome, Side, Step};
use super::server::{Product, Server};

/// How two tools may differ on purpose, in front of the same server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tool {
    /// Everything but the exit code.
    Text,
}

/// How our server may differ on purpose, behind the same tool.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Stands on something that is not built: both tools must say the same.
    Stands,
    /// Deliberately not the original's: both tools must say the same. `docs/compatibility.md` says why.
    Better,
    /// In our words: both tools must say the same, and all must exit alike.
    Worded,
}

use Answer::{Better, Stands, Worded};
use Tool::Text;

/// Deliberate differences of our tool: a part of the line between `^` and `$`, what differs, and why.
const TOOL: &[(&str, Tool, &str)] = &[
    (
        "VAULT_ADDR=ftp",
        Text,
        "an address that is none is named as such instead of by Go's URL parser",
    ),
    (
        "-output-curl-string",
        Text,
        "the order of headers is Go's map order; a failure is said in our words",
    ),
    (
        "VAULT_TOKEN=bad kv get -output-policy",
        Text,
        "a failure to show the request is said in our words",
    ),
    (
        "-output-policy sys/seal",
        Text,
        "the server demands sudo there, so our policy grants it",
    ),
    (
        "scan -output-policy",
        Text,
        "scanning needs the scan capability, not read",
    ),
    ("status -h", Text, "help texts are our own"),
    ("^kv nosuch$", Text, "help texts are our own"),
    ("^kv metadata$", Text, "help texts are our own"),
    ("^kv$", Text, "help texts are our own"),
    ("^nosuch$", Text, "help texts are our own"),
    ("^-nosuch$", Text, "help texts are our own"),
    ("^secrets nosuch$", Text, "help texts are our own"),
    ("^plugin$", Text, "help texts are our own"),
    ("^operator nosuch$", Text, "help texts are our own"),
    ("^-foo status", Text, "help texts are our own"),
    (
        "operator rotate-keys -nonce",
        Text,
        "what to do with new keys is said in our words",
    ),
    (
        "operator generate-root -decode=QUJD",
        Text,
        "a one-time password of another length is refused or warned of",
    ),
];

/// What our server does not answer as the original does: a part of the line between `^` and `$`, how, and why.
const SERVER: &[(&str, Answer, &str)] = &[
    // What the original answers before it has read an entity back from its disk.
    (
        "identity/lookup/entity name=ada",
        Better,
        "metadata that nobody gave an alias is null",
    ),
    (
        "identity/lookup/entity alias_name",
        Better,
        "metadata that nobody gave an alias is null",
    ),
    (
        "VAULT_TOKEN= read identity/entity/name/ada",
        Better,
        "metadata that nobody gave an alias is null",
    ),
    (
        "identity/lookup/group name=crew",
        Better,
        "a group that becomes a member of another has not changed",
    ),
    (
        "identity/group name=above member_group_ids=none",
        Better,
        "a wrong request is 400, never 500",
    ),
    (
        "identity/group id=$CREW member_group_ids",
        Better,
        "a wrong request is 400, never 500",
    ),
    (
        "^namespace unseal ns3 x",
        Worded,
        "how a key share may be written is said in our words",
    ),
    // Deliberate.
    (
        "operator raft autopilot get-config",
        Better,
        "a member that has caught up votes at once, unless told otherwise",
    ),
    (
        "^operator raft autopilot state",
        Better,
        "a development server is a cluster of one",
    ),
    ("^kv get secret/a$", Better, "a number keeps its digits"),
    ("^kv get -field=n secret/a", Better, "a number keeps its digits"),
    (
        "cubbyhole/j$",
        Better,
        "a number keeps its digits; exponents are written with their sign",
    ),
    ("list -limit=1 sys/policies/acl", Better, "pages are honoured"),
    (
        "list -after=default sys/policies/acl",
        Better,
        "pages are honoured",
    ),
    (
        "sys/mounts -format=json$",
        Better,
        "parameters that a path does not know are ignored without a warning",
    ),
    (
        "-field=x$",
        Better,
        "parameters that a path does not know are ignored without a warning",
    ),
    (
        "write -f cubbyhole/a",
        Better,
        "a wrong request is 400, never 500",
    ),
    (
        "policy=zz",
        Better,
        "where and how a policy is wrong is said in our words",
    ),
    (
        "policy write x FILE",
        Better,
        "where and how a policy is wrong is said in our words",
    ),
    (
        "audit enable file",
        Better,
        "devices can be enabled by API, inside audit_directories",
    ),
    (
        "token create -id=mine",
        Better,
        "no token is hashed with SHA-1, so nothing is to be warned of",
    ),
    ("path-help", Worded, "help texts are our own"),
    (
        "operator members",
        Better,
        "a member is called by its name, not by its host's",
    ),
    (
        "operator step-down",
        Better,
        "a sole member says that nobody can take over",
    ),
    (
        "admin:^operator raft",
        Better,
        "a development server is a cluster of one",
    ),
    (
        "operator raft remove-peer nosuch",
        Better,
        "removing an unknown member is an error that names it",
    ),
    (
        "operator raft list-peers -format=json",
        Better,
        "a member has a number and a zone too",
    ),
    (
        "operator raft promote n1",
        Better,
        "promoting a voter changes nothing and is no error",
    ),
    (
        "operator raft snapshot restore FILE",
        Better,
        "a wrong request is 400, never 500",
    ),
    (
        "operator raft join https",
        Better,
        "a node that belongs to a cluster cannot join another",
    ),
    (
        "operator unseal -reset",
        Better,
        "an unsealed node counts shares for the cluster",
    ),
    ("operator rekey", Better, "with a token, the old paths answer"),
    (
        "operator:^secrets list$",
        Better,
        "a node that belongs to no cluster says so, not that it is sealed",
    ),
    (
        "operator:^status -format=json$",
        Stands,
        "since when a leader leads is not kept",
    ),
    (
        "generate-root -nonce=$GN zz",
        Better,
        "a wrong request is 400, never 500",
    ),
];

/// The four corners.
struct Square {
    /// `bao` and `conclave` before a bao server, then `bao` and `conclave` before a conclave server.
    sides: [Side; 4],
    _servers: [Server; 4],
}

impl Square {
    fn new(start: fn(Product) -> Server) -> Self {
        let ours = std::path::PathBuf::from(env!("CARGO_BIN_EXE_conclave"));
        let servers = [Product::Bao, Product::Bao, Product::Conclave, Product::Conclave].map(start);
        let bao = servers[0].program.clone();
        let tools = [bao.clone(), ours.clone(), bao, ours];
        let mut corners = tools
            .into_iter()
            .zip(&servers)
            .map(|(tool, server)| Side::new(tool, server));
        let sides = std::array::from_fn(|_| corners.next().unwrap());
        Self {
            sides,
            _servers: servers,
        }
    }

    fn run(&mut self, step: &Step) -> Vec<Outcome> {
        std::thread::scope(|scope| {
            let running: Vec<_> = self
                .sides
                .iter_mut()
                .map(|side| scope.spawn(move || side.run(step)))
                .collect();
            running.into_iter().map(|side| side.join().unwrap()).collect()
        })
    }
}

/// Runs a script in the four corners and panics with every line that differs.
pub fn run(name: &str, script: &str, start: fn(Product) -> Server) {
    let steps = Step::parse_all(script);
    assert!(!steps.is_empty());
    let mut square = Square::new(start);
    let mut failures = Vec::new();
    for step in &steps {
        if step.waits {
            square.sides.iter_mut().for_each(|side| side.wait(step));
            continue;
        }
        let outcomes = square.run(step);
        let wrong = judge(name, &step.line, &outcomes);
        failures.extend(wrong.map(|(what, one, other)| {
            format!(
                "$ {}\n{what}\n{}",
                step.line,
                outcomes[one].difference(&outcomes[other])
            )
        }));
    }
    assert!(
        failures.is_empty(),
        "{} of {} commands differ:\n\n{}",
        failures.len(),
        steps.len(),
        failures.join("\n")
    );
}

/// What is wrong with a line's outcomes, and the two corners that show it.
fn judge(script: &str, line: &str, outcomes: &[Outcome]) -> Option<(&'static str, usize, usize)> {
    let marked = mark(script, line);
    let tool = TOOL
        .iter()
        .find(|(part, ..)| marked.contains(part))
        .map(|found| found.1);
    let answer = SERVER
        .iter()
        .find(|(part, ..)| marked.contains(part))
        .map(|found| found.1);
    let same_tools = |one: &Outcome, other: &Outcome| match tool {
        None => one.same(other),
        Some(Text) => one.code == other.code,
    };
    if !same_tools(&outcomes[0], &outcomes[1]) {
        return Some(("the tools differ before a bao server", 0, 1));
    }
    if !same_tools(&outcomes[2], &outcomes[3]) {
        return Some(("the tools differ before a conclave server", 2, 3));
    }
    match answer {
        None if !outcomes[0].same(&outcomes[2]) => Some(("the servers differ before bao", 0, 2)),
        Some(Worded) if outcomes[0].code != outcomes[2].code => Some(("the servers differ before bao", 0, 2)),
        None | Some(Stands | Better | Worded) => None,
    }
}

/// `script:^line$` of a line, as exceptions name it.
pub fn mark(script: &str, line: &str) -> String {
    format!("{script}:^{line}$")
}

/// Whether a line counts as one of the square: nothing about it is excepted.
pub fn is_whole(marked: &str) -> bool {
    !TOOL.iter().any(|(part, ..)| marked.contains(part))
        && !SERVER.iter().any(|(part, ..)| marked.contains(part))
}

/// Exceptions that no line needs.
pub fn idle_exceptions(marked: &[String]) -> Vec<&'static str> {
    let parts = TOOL
        .iter()
        .map(|(part, ..)| *part)
        .chain(SERVER.iter().map(|(part, ..)| *part));
    parts
        .filter(|part| !marked.iter().any(|line| line.contains(part)))
        .collect()
}
