//! MySQL and MariaDB. Statements of a plan run in their order, each within what is left of its time: accounts know no
//! transactions there. The session holds a lock that bears the name the bounds give it before the first statement is sent;
//! whoever sweeps after us finds the session by the lock, and needs no right and no setting of the server for that. Knows no
//! templates: statements come as they are to be run.

mod address;
mod connect;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use conclave_engine_api::{Action, Bounds, Done, Failure, Hidden, Plan};
use futures::FutureExt;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, IoError, Row, Value};

use crate::pool::{self, Pool};
use crate::{left, there, within};

/// How long a session that was told to end is waited for.
const ENDING: Duration = Duration::from_millis(50);
/// Most rows of an answer that are taken.
const MAX_ROWS: usize = 100_000;

/// How a statement begins that makes accounts and takes over none.
const CREATE: &str = "CREATE USER ";

/// Errors of the server, by their numbers.
mod code {
    /// Access denied for user.
    pub const DENIED: u16 = 1045;
    /// The same, of an account that has no password.
    pub const DENIED_WITHOUT_PASSWORD: u16 = 1698;
    /// An operation on an account failed: for `CREATE USER`, it is there.
    pub const CANNOT_USER: u16 = 1396;
    /// Unknown thread id.
    pub const NO_SUCH_THREAD: u16 = 1094;
    /// You are not owner of thread.
    pub const KILL_DENIED: u16 = 1095;
    /// SELECT command denied for a table, a column, or in a database.
    pub const NOT_FOR_US: [u16; 3] = [1142, 1143, 1044];
    /// The server shuts down, or the connection was killed: it is over, whatever it was doing.
    pub const OVER: [u16; 2] = [1053, 1927];
    /// Errors that quote the statement or its values, which may hold a password: syntax, and values that do not fit.
    pub const QUOTING: [u16; 5] = [1064, 1292, 1366, 1367, 1411];
}

/// Connections to all servers.
#[derive(Default)]
pub struct Mysql {
    pool: Pool<Session>,
}

/// A connection, and the lock by which it is found; empty if the server lets nobody lock.
struct Session {
    conn: Conn,
    name: String,
}

impl Mysql {
    /// Carries out a plan.
    pub async fn run(&self, plan: &Plan, bounds: &Bounds) -> Result<Vec<String>, Failure> {
        // Another's code reads what the server sends: should it break off on nonsense, this plan does, and nothing else.
        let run = AssertUnwindSafe(self.run_it(plan, bounds));
        let broken = |_| Failure::new(Done::Unknown, "the target answers what no MySQL server would");
        run.catch_unwind().await.map_err(broken)?
    }

    async fn run_it(&self, plan: &Plan, bounds: &Bounds) -> Result<Vec<String>, Failure> {
        let server = self.pool.server(&plan.target);
        let _turn = server.turn(bounds).await?;
        let mut kept = None;
        while let Some(mut session) = server.idle() {
            // A connection that broke while it was idle is no failure of the plan.
            if session.take_name(bounds).await.is_ok() {
                kept = Some(session);
                break;
            }
        }
        let mut session = match kept {
            Some(session) => session,
            None => {
                let conn =
                    pool::connect(&plan.target, |url| connect::connect(url, &plan.target, bounds)).await?;
                let name = String::new();
                let mut session = Session { conn, name };
                session.take_name(bounds).await?;
                session
            }
        };
        let done = carry_out(&mut session.conn, plan, bounds).await;
        // Whatever failed may have left the session in any state.
        if done.is_ok() {
            server.keep(session);
        }
        done
    }
}

impl Session {
    /// Takes the lock of a name, after others that hold it have ended if it is to be alone, and lets go of the one before.
    async fn take_name(&mut self, bounds: &Bounds) -> Result<(), Failure> {
        let name = bounds.session.as_str();
        let mut query = format!("SELECT GET_LOCK({}, 0)", literal(name));
        if !self.name.is_empty() {
            query.push_str(&format!(", RELEASE_LOCK({})", literal(&self.name)));
        }
        let ended = match bounds.alone {
            true => end_session(&mut self.conn, name, bounds).await,
            false => Ok(()),
        };
        let taken = match ended {
            Ok(()) => call(&mut self.conn, &query, bounds).await,
            Err(failure) => Err(failure),
        };
        match taken {
            Ok(_) => self.name = name.to_owned(),
            Err(failure) if failure.done == Done::Refused => {
                // Some clusters let nobody lock: then only sweeping again protects from what is still on its way.
                tracing::warn!(%failure, "a MySQL server lets its sessions take no name");
                self.name.clear();
            }
            // Nothing of the plan was sent.
            Err(failure) => return Err(Failure::new(Done::Nothing, failure.text)),
        }
        Ok(())
    }
}

async fn carry_out(conn: &mut Conn, plan: &Plan, bounds: &Bounds) -> Result<Vec<String>, Failure> {
    match &plan.action {
        Action::Check => {
            call(conn, "SELECT 1", bounds).await?;
            Ok(Vec::new())
        }
        Action::Run { statements } => {
            // What came before a statement that fails is done, and stays.
            let done = execute(conn, statements, bounds, Done::Unknown).await;
            done.map_err(|refusal| refusal.failure)?;
            Ok(Vec::new())
        }
        Action::Make { account, statements } => {
            make(conn, account, statements, bounds).await?;
            Ok(Vec::new())
        }
        Action::List { prefix, .. } => {
            let prefix = literal(prefix);
            let query = format!(
                "SELECT DISTINCT User FROM mysql.user WHERE LEFT(User, CHAR_LENGTH({prefix})) = {prefix} \
                 ORDER BY 1 LIMIT {MAX_ROWS}"
            );
            call(conn, &query, bounds).await
        }
        Action::Drop {
            account,
            statements,
            session,
        } => {
            if !session.is_empty() {
                end_session(conn, session, bounds).await?;
            }
            drop_account(conn, account, statements, bounds).await?;
            Ok(Vec::new())
        }
    }
}

/// Makes an account that is not there. Who may not read mysql.user is told by the server, if all that was to be made by the
/// first statement was this one account.
async fn make(conn: &mut Conn, account: &str, statements: &[Hidden], bounds: &Bounds) -> Result<(), Failure> {
    let hosts = hosts_of(conn, account, bounds).await;
    // Nothing of the plan was sent.
    let hosts = hosts.map_err(|failure| Failure::new(Done::Nothing, failure.text))?;
    if hosts.is_some_and(|hosts| !hosts.is_empty()) {
        return Err(there(account));
    }
    let first = statements.first().map(|statement| statement.split(';').next());
    let alone = first.flatten().is_some_and(|first| {
        first.matches(account).count() == 1
            && first
                .trim_start()
                .get(..CREATE.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(CREATE))
    });
    match execute(conn, statements, bounds, Done::Unknown).await {
        Err(refusal) if alone && refusal.first && refusal.code == Some(code::CANNOT_USER) => {
            Err(there(account))
        }
        done => done.map_err(|refusal| refusal.failure),
    }
}

/// Ends the session that has a name, unless it is this one, and waits until it is gone: what it was doing is done or given up
/// then.
async fn end_session(conn: &mut Conn, name: &str, bounds: &Bounds) -> Result<(), Failure> {
    let query = format!("SELECT NULLIF(IS_USED_LOCK({}), CONNECTION_ID())", literal(name));
    while let Some(id) = call(conn, &query, bounds).await?.pop() {
        kill(conn, &id, bounds).await?;
        tokio::time::sleep(ENDING.min(left(bounds)?)).await;
    }
    Ok(())
}

/// Ends all sessions of an account that we may see and end.
async fn end_sessions_of(conn: &mut Conn, account: &str, bounds: &Bounds) -> Result<(), Failure> {
    let query = format!(
        "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = {} AND ID <> CONNECTION_ID()",
        literal(account)
    );
    loop {
        let ids = call(conn, &query, bounds).await?;
        for id in &ids {
            if !kill(conn, id, bounds).await? {
                tracing::warn!(
                    account,
                    "a dropped account has sessions that we may not end: that takes CONNECTION ADMIN or SUPER"
                );
                return Ok(());
            }
        }
        if ids.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(ENDING.min(left(bounds)?)).await;
    }
}

/// Ends a session. Whether we may.
async fn kill(conn: &mut Conn, id: &str, bounds: &Bounds) -> Result<bool, Failure> {
    let wrong = |_| Failure::new(Done::Refused, "the target names a session by no number");
    let id: u64 = id.parse().map_err(wrong)?;
    let killed = within(
        bounds,
        Done::Unknown,
        conn.query_drop(format!("KILL CONNECTION {id}")),
    )
    .await?;
    match killed {
        Ok(()) => Ok(true),
        Err(Error::Server(error)) if error.code == code::NO_SUCH_THREAD => Ok(true),
        Err(Error::Server(error)) if error.code == code::KILL_DENIED => Ok(false),
        Err(error) => Err(failure(&error)),
    }
}

async fn drop_account(
    conn: &mut Conn,
    account: &str,
    statements: &[Hidden],
    bounds: &Bounds,
) -> Result<(), Failure> {
    let hosts = hosts_of(conn, account, bounds).await?;
    if hosts.as_ref().is_none_or(|hosts| !hosts.is_empty()) {
        if statements.is_empty() {
            // Who may not read mysql.user drops what Vault drops.
            let hosts = hosts.unwrap_or_else(|| vec!["%".to_owned()]);
            let accounts: Vec<String> = hosts
                .iter()
                .map(|host| format!("{}@{}", identifier(account), identifier(host)))
                .collect();
            let drop = Hidden::new(format!("DROP USER IF EXISTS {}", accounts.join(", ")));
            drop_by(conn, &[drop], bounds).await?;
        } else {
            drop_by(conn, statements, bounds).await?;
        }
    }
    end_sessions_of(conn, account, bounds).await
}

async fn drop_by(conn: &mut Conn, statements: &[Hidden], bounds: &Bounds) -> Result<(), Failure> {
    let done = execute(conn, statements, bounds, Done::Refused).await;
    done.map_err(|refusal| refusal.failure)
}

/// From where an account may log in; `None` if we may not know.
async fn hosts_of(conn: &mut Conn, account: &str, bounds: &Bounds) -> Result<Option<Vec<String>>, Failure> {
    let query = format!("SELECT Host FROM mysql.user WHERE User = {}", literal(account));
    let asked = within(bounds, Done::Unknown, ask(conn, &query)).await?;
    match asked {
        Ok(hosts) => Ok(Some(hosts)),
        Err(Error::Server(error)) if code::NOT_FOR_US.contains(&error.code) => Ok(None),
        Err(error) => Err(failure(&error)),
    }
}

/// Why statements were not all carried out.
struct Refusal {
    failure: Failure,
    /// Whether nothing was carried out before.
    first: bool,
    /// What the server calls it.
    code: Option<u16>,
}

/// Runs statements one after the other. `begun`: what is said if one is refused after another was carried out.
async fn execute(
    conn: &mut Conn,
    statements: &[Hidden],
    bounds: &Bounds,
    begun: Done,
) -> Result<(), Refusal> {
    for (carried_out, statement) in statements.iter().enumerate() {
        let ours = |failure: Failure| Refusal {
            failure: Failure::new(if carried_out > 0 { begun } else { Done::Nothing }, failure.text),
            first: false,
            code: None,
        };
        let limits = limits(left(bounds).map_err(ours)?);
        call(conn, &limits, bounds).await.map_err(ours)?;
        let statement = statement.trim().trim_end_matches(';');
        let mut sent = 0;
        let ran = within(bounds, Done::Unknown, each(conn, statement, &mut sent)).await;
        let late = |failure| Refusal {
            failure,
            first: false,
            code: None,
        };
        if let Err(error) = ran.map_err(late)? {
            let mut failure = failure(&error);
            let first = carried_out == 0 && sent == 0;
            if failure.done == Done::Refused && !first {
                failure.done = begun;
            }
            let code = match &error {
                Error::Server(error) => Some(error.code),
                _ => None,
            };
            return Err(Refusal { failure, first, code });
        }
    }
    Ok(())
}

/// Sends a text of one or more statements and counts those that were carried out.
async fn each(conn: &mut Conn, text: &str, carried_out: &mut usize) -> Result<(), Error> {
    let mut result = conn.query_iter(text).await?;
    *carried_out += 1;
    // The error of a statement comes with the end of the answer to the one before.
    while !result.is_empty() {
        result.for_each(drop::<Row>).await?;
        *carried_out += 1;
    }
    result.drop_result().await
}

/// No statement goes on after this time: what each of the two servers knows to bound it with.
fn limits(left: Duration) -> String {
    let (seconds, millis) = (left.as_secs().max(1), left.as_millis().max(1));
    format!(
        "SET SESSION lock_wait_timeout = {seconds}, innodb_lock_wait_timeout = {seconds} \
         /*M!100101 , max_statement_time = {}.{:03} */ /*!50708 , max_execution_time = {millis} */",
        millis / 1000,
        millis % 1000
    )
}

/// Asks, and answers the first column of what is not NULL.
async fn call(conn: &mut Conn, query: &str, bounds: &Bounds) -> Result<Vec<String>, Failure> {
    let answer = within(bounds, Done::Unknown, ask(conn, query)).await?;
    answer.map_err(|error| failure(&error))
}

async fn ask(conn: &mut Conn, query: &str) -> Result<Vec<String>, Error> {
    let mut result = conn.query_iter(query).await?;
    let mut found = Vec::new();
    let first = |row: Row| {
        if found.len() < MAX_ROWS {
            found.extend(row.as_ref(0).and_then(text));
        }
    };
    result.for_each(first).await?;
    result.drop_result().await?;
    Ok(found)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::Int(number) => Some(number.to_string()),
        Value::UInt(number) => Some(number.to_string()),
        _ => None,
    }
}

/// An error of a statement.
fn failure(error: &Error) -> Failure {
    let done = match error {
        Error::Server(error) if code::OVER.contains(&error.code) => Done::Unknown,
        Error::Server(_) => Done::Refused,
        _ => Done::Unknown,
    };
    Failure::new(done, told(error))
}

/// What is said of an error.
fn told(error: &Error) -> String {
    match error {
        Error::Server(error) if code::QUOTING.contains(&error.code) => {
            let what = "a statement has a syntax error or a value that does not fit";
            format!("{what} (error {}, SQLSTATE {})", error.code, error.state)
        }
        Error::Server(error) => format!(
            "{} (error {}, SQLSTATE {})",
            error.message, error.code, error.state
        ),
        Error::Url(_) => "connection_url cannot be used".to_owned(),
        Error::Io(IoError::Io(error)) => format!("the connection to the server failed: {error}"),
        Error::Io(IoError::Tls(error)) => format!("TLS with the server failed: {error}"),
        other => other.to_string(),
    }
}

/// A text in whatever mode of quoting the server is.
fn literal(text: &str) -> String {
    let mut digits = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        digits.push_str(&format!("{byte:02x}"));
    }
    format!("CONVERT(X'{digits}' USING utf8mb4)")
}

/// A quoted name.
fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_names_cannot_end_their_quotes() {
        assert_eq!(literal("it's \\"), "CONVERT(X'69742773205c' USING utf8mb4)");
        assert_eq!(identifier("a`b"), "`a``b`");
    }

    #[test]
    fn what_quotes_a_statement_is_not_told() {
        let server = |code| {
            Error::Server(mysql_async::ServerError {
                code,
                message: "near 'hunter2'".to_owned(),
                state: "42000".to_owned(),
            })
        };
        assert!(!told(&server(1064)).contains("hunter2"));
        assert!(told(&server(1396)).contains("1396"));
        assert_eq!(failure(&server(1396)).done, Done::Refused);
        assert_eq!(failure(&server(1927)).done, Done::Unknown, "it was killed");
    }

    #[test]
    fn limits_are_never_none() {
        let limits = limits(Duration::from_micros(1_500_250));
        assert!(limits.contains("max_statement_time = 1.500 ") && limits.contains("lock_wait_timeout = 1,"));
        assert!(super::limits(Duration::ZERO).contains("max_statement_time = 0.001 "));
    }
}
