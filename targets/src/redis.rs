//! Redis and Valkey: accounts are ACL users. A statement is a command, a JSON array of its words. The connection bears the
//! name the bounds give it before the first command, so that whoever sweeps after us can end it. Knows no templates.

mod resp;

use std::time::Duration;

use conclave_engine_api::{Action, Bounds, Done, Failure, Hidden, Plan, Target};
use tokio::net::TcpStream;

use crate::pool::{self, Pool};
use crate::tls::Tls;
use crate::{left, there, url, within};
use resp::{Connection, Reply};

/// The port of Redis.
const PORT: u16 = 6379;
/// How long a connection that was told to end is waited for.
const ENDING: Duration = Duration::from_millis(20);

/// Connections to all servers.
#[derive(Default)]
pub struct Redis {
    pool: Pool<Connection>,
}

/// Where changes of accounts are written down besides the server's memory.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Keeping {
    /// In the server's ACL file, if it has one.
    IfThere,
    /// In its ACL file.
    AclFile,
    /// In its configuration.
    Rewrite,
}

/// Where a server is, and as whom it is reached.
struct Address {
    host: String,
    port: u16,
    user: Hidden,
    password: Hidden,
    tls: bool,
    keeping: Keeping,
}

impl Redis {
    /// Carries out a plan.
    pub async fn run(&self, plan: &Plan, bounds: &Bounds) -> Result<Vec<String>, Failure> {
        let keeping = address(&plan.target.url)?.keeping;
        let server = self.pool.server(&plan.target);
        let _turn = server.turn(bounds).await?;
        let mut kept = None;
        while let Some(mut connection) = server.idle() {
            // A connection that broke while it was idle is no failure of the plan.
            if name(&mut connection, bounds).await.is_ok() {
                kept = Some(connection);
                break;
            }
        }
        let mut connection = match kept {
            Some(connection) => connection,
            None => pool::connect(&plan.target, |url| connect(url, &plan.target, bounds)).await?,
        };
        let done = carry_out(&mut connection, plan, keeping, bounds).await;
        // Whatever failed may have left answers on their way.
        if done.is_ok() {
            server.keep(connection);
        }
        done
    }
}

/// `redis://user:password@host:port`, or `rediss://` for TLS; `?keep=aclfile` or `rewrite`.
fn address(text: &str) -> Result<Address, Failure> {
    let nothing = |text: String| Failure::new(Done::Nothing, text);
    let wrong = || nothing("the connection is no redis:// URL".to_owned());
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let tls = match scheme {
        "redis" => false,
        "rediss" => true,
        _ => return Err(wrong()),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (account, place) = rest.rsplit_once('@').unwrap_or(("", rest));
    let (user, password) = account.split_once(':').unwrap_or((account, ""));
    let (host, port) = url::host_and_port(place.trim_end_matches('/'), PORT).map_err(nothing)?;
    Ok(Address {
        host,
        port,
        user: url::decoded(user).map_err(nothing)?,
        password: url::decoded(password).map_err(nothing)?,
        tls,
        keeping: match query {
            "" => Keeping::IfThere,
            "keep=aclfile" => Keeping::AclFile,
            "keep=rewrite" => Keeping::Rewrite,
            _ => return Err(wrong()),
        },
    })
}

/// A new connection, logged in and named.
async fn connect(url: Hidden, target: &Target, bounds: &Bounds) -> Result<Connection, Failure> {
    let nothing = |text: String| Failure::new(Done::Nothing, text);
    let address = address(&url)?;
    let host = address.host.as_str();
    let opening = async {
        let stream = TcpStream::connect((host, address.port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    let opened: Result<TcpStream, std::io::Error> = within(bounds, Done::Nothing, opening).await?;
    let stream = opened.map_err(|error| nothing(error.to_string()))?;
    let mut connection = if address.tls {
        let tls = Tls::new(&target.tls).map_err(nothing)?;
        let secured = within(bounds, Done::Nothing, tls.secure(host, stream)).await?;
        Connection::new(Box::new(secured.map_err(|error| nothing(error.to_string()))?))
    } else {
        Connection::new(Box::new(stream))
    };
    let login: &[&str] = match address.user.as_str() {
        "" => &["AUTH", &address.password],
        user => &["AUTH", user, &address.password],
    };
    match within(bounds, Done::Nothing, connection.ask(login)).await? {
        Ok(Reply::Error(text)) if text.starts_with("WRONGPASS") => Err(Failure::new(Done::Denied, text)),
        Ok(Reply::Error(text)) => Err(nothing(text)),
        Ok(_) => name(&mut connection, bounds).await.map(|()| connection),
        Err(error) => Err(nothing(error.to_string())),
    }
}

/// Gives a connection its name, after others of that name have ended if it is to be alone. Nothing of a plan was sent before.
async fn name(connection: &mut Connection, bounds: &Bounds) -> Result<(), Failure> {
    let named = async {
        if bounds.alone {
            match end_connections(connection, &bounds.session, bounds).await {
                Err(failure) if failure.done == Done::Refused => {
                    tracing::warn!(%failure, "a Redis lets nobody end what is still on its way to it");
                }
                ended => ended?,
            }
        }
        ask(connection, &["CLIENT", "SETNAME", &bounds.session], bounds).await
    };
    named
        .await
        .map(|_| ())
        .map_err(|failure| Failure::new(Done::Nothing, failure.text))
}

async fn carry_out(
    connection: &mut Connection,
    plan: &Plan,
    keeping: Keeping,
    bounds: &Bounds,
) -> Result<Vec<String>, Failure> {
    match &plan.action {
        Action::Check => {
            ask(connection, &["PING"], bounds).await?;
            Ok(Vec::new())
        }
        Action::Run { statements } => {
            // What came before a command that fails is done, and stays.
            execute(connection, statements, keeping, bounds, Done::Unknown).await?;
            Ok(Vec::new())
        }
        Action::Make { account, statements } => {
            // `SETUSER` would change one that is there.
            let found = ask(connection, &["ACL", "GETUSER", account], bounds).await;
            match found.map_err(|failure| Failure::new(Done::Nothing, failure.text))? {
                Reply::Nothing => execute(connection, statements, keeping, bounds, Done::Unknown).await?,
                _ => return Err(there(account)),
            }
            Ok(Vec::new())
        }
        Action::List { prefix, .. } => {
            let users = texts(ask(connection, &["ACL", "USERS"], bounds).await?);
            Ok(users
                .into_iter()
                .filter(|user| user.starts_with(prefix))
                .collect())
        }
        Action::Drop {
            account,
            statements,
            session,
        } => {
            if !session.is_empty() {
                end_connections(connection, session, bounds).await?;
            }
            let usual;
            let statements = if statements.is_empty() {
                // Whoever is logged in as it is thrown out with it.
                usual = [Hidden::new(
                    serde_json::json!(["ACL", "DELUSER", account]).to_string(),
                )];
                usual.as_slice()
            } else {
                statements
            };
            execute(connection, statements, keeping, bounds, Done::Refused).await?;
            Ok(Vec::new())
        }
    }
}

/// Ends the connections that have a name, except this one, and waits until they are gone.
async fn end_connections(connection: &mut Connection, name: &str, bounds: &Bounds) -> Result<(), Failure> {
    let own = texts(ask(connection, &["CLIENT", "ID"], bounds).await?).concat();
    loop {
        let list = texts(ask(connection, &["CLIENT", "LIST"], bounds).await?).concat();
        let ids: Vec<&str> = list
            .lines()
            .filter_map(|line| id_of(line, name))
            .filter(|id| *id != own)
            .collect();
        if ids.is_empty() {
            return Ok(());
        }
        for id in ids {
            // It may have ended by itself meanwhile.
            match ask(connection, &["CLIENT", "KILL", "ID", id], bounds).await {
                Ok(_) => {}
                Err(failure) if failure.text.contains("No such client") => {}
                Err(failure) => return Err(failure),
            }
        }
        tokio::time::sleep(ENDING.min(left(bounds)?)).await;
    }
}

/// The id in a line of `CLIENT LIST`, if the connection has this name.
fn id_of<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    let value = |key: &str| {
        line.split(' ')
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    };
    (value("name") == Some(name)).then(|| value("id")).flatten()
}

/// Runs commands one after the other and has accounts written down. `begun`: what is said if one is refused after another was
/// carried out that changes something.
async fn execute(
    connection: &mut Connection,
    statements: &[Hidden],
    keeping: Keeping,
    bounds: &Bounds,
    begun: Done,
) -> Result<(), Failure> {
    let mut changed = false;
    let partly = |changed: bool, mut failure: Failure| {
        if changed && failure.done == Done::Refused {
            failure.done = begun;
        }
        failure
    };
    for statement in statements {
        let words: Vec<String> = serde_json::from_str(statement).unwrap_or_default();
        if words.is_empty() {
            let wrong = Failure::new(Done::Refused, "a command must be a JSON array of words");
            return Err(partly(changed, wrong));
        }
        let words: Vec<Hidden> = words.into_iter().map(Hidden::new).collect();
        let words: Vec<&str> = words.iter().map(|word| word.as_str()).collect();
        let reply = ask(connection, &words, bounds).await;
        let asks = matches!(words.as_slice(), ["ACL", "GETUSER", ..]);
        match reply.map_err(|failure| partly(changed, failure))? {
            Reply::Nothing if asks => {
                let none = Failure::new(Done::Refused, "the target has no such account");
                return Err(partly(changed, none));
            }
            _ => changed |= !asks,
        }
    }
    write_down(connection, keeping, bounds)
        .await
        .map_err(|failure| partly(changed, failure))
}

/// Accounts are in the server's memory until it is told to write them down.
async fn write_down(connection: &mut Connection, keeping: Keeping, bounds: &Bounds) -> Result<(), Failure> {
    let command = match keeping {
        Keeping::Rewrite => ["CONFIG", "REWRITE"],
        Keeping::IfThere | Keeping::AclFile => ["ACL", "SAVE"],
    };
    match ask(connection, &command, bounds).await {
        Err(failure) if keeping == Keeping::IfThere && has_no_file(&failure.text) => Ok(()),
        asked => asked.map(|_| ()),
    }
}

fn has_no_file(text: &str) -> bool {
    text.contains("not configured to use an ACL file")
}

/// Asks. An error of the server is one of ours.
async fn ask(connection: &mut Connection, words: &[&str], bounds: &Bounds) -> Result<Reply, Failure> {
    let asked = within(bounds, Done::Unknown, connection.ask(words)).await?;
    match asked {
        Ok(Reply::Error(text)) => Err(Failure::new(Done::Refused, told(text))),
        Ok(reply) => Ok(reply),
        Err(error) => Err(Failure::new(Done::Unknown, error.to_string())),
    }
}

/// What is said of an error. One of a rule quotes it, which may be a password.
fn told(text: String) -> String {
    match text.split_once("modifier '") {
        Some((before, rest)) => match rest.rsplit_once("': ") {
            Some((_, reason)) => format!("{before}rule: {reason}"),
            None => format!("{before}rule"),
        },
        None => text,
    }
}

/// The texts of an answer.
fn texts(reply: Reply) -> Vec<String> {
    match reply {
        Reply::Text(text) => vec![text],
        Reply::List(list) => list.into_iter().flat_map(texts).collect(),
        Reply::Nothing | Reply::Error(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_never_repeated() {
        let read = address("rediss://a%20b:p%40ss@[::1]:7000?keep=rewrite").unwrap();
        assert_eq!((read.host.as_str(), read.port, read.tls), ("::1", 7000, true));
        assert_eq!((read.user.as_str(), read.password.as_str()), ("a b", "p@ss"));
        assert_eq!(read.keeping, Keeping::Rewrite);
        let read = address("redis://h").unwrap();
        assert_eq!((read.port, read.user.as_str(), read.tls), (6379, "", false));
        for bad in [
            "hunter2",
            "http://u:hunter2@h",
            "redis://u:hunter2@",
            "redis://u:hunter2@h?hunter2",
        ] {
            let failure = address(bad).err().unwrap();
            assert!(!failure.text.contains("hunter2"), "{failure}");
        }
    }

    #[test]
    fn connections_are_found_by_their_whole_name() {
        let line = "id=7 addr=127.0.0.1:5 laddr=127.0.0.1:6 fd=8 name=conclave/1/2/ab age=0 user=default";
        assert_eq!(id_of(line, "conclave/1/2/ab"), Some("7"));
        assert_eq!(id_of(line, "conclave/1/2/a"), None);
        assert_eq!(id_of("name=x", "x"), None);
    }

    #[test]
    fn a_rule_is_not_told() {
        let said = told("ERR Error in ACL SETUSER modifier '>hunter2': Syntax error".to_owned());
        assert_eq!(said, "ERR Error in ACL SETUSER rule: Syntax error");
        assert!(!told("ERR Error in ACL SETUSER modifier '>hunter2".to_owned()).contains("hunter2"));
        assert_eq!(told("NOPERM no".to_owned()), "NOPERM no");
    }
}
