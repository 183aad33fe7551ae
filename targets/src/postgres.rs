//! PostgreSQL. Statements of a plan run in one transaction; the session bears the name the bounds give it before the first
//! of them is sent, so that whoever sweeps after us can end it. Knows no templates: statements come as they are to be run.

use std::future::Future;
use std::time::Duration;

use conclave_engine_api::{Action, Bounds, Done, Failure, Hidden, Plan, Target};
use tokio_postgres::error::{DbError, Severity, SqlState};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::address;
use crate::pool::{self, Pool};
use crate::tls::Tls;
use crate::{left, there, within};

/// Most accounts listed at once; what is beyond is found when some of these are gone.
const MAX_LISTED: usize = 100_000;
/// How long a session that was told to end is waited for.
const ENDING: Duration = Duration::from_millis(50);

/// Connections to all servers.
#[derive(Default)]
pub struct Postgres {
    pool: Pool<Client>,
}

impl Postgres {
    /// Carries out a plan.
    pub async fn run(&self, plan: &Plan, bounds: &Bounds) -> Result<Vec<String>, Failure> {
        let server = self.pool.server(&plan.target);
        let _turn = server.turn(bounds).await?;
        let naming = format!("SET application_name = {}", literal(&bounds.session)?);
        let mut kept = None;
        while let Some(client) = server.idle() {
            // A connection that broke while it was idle is no failure of the plan.
            if let Ok(Ok(())) = within(bounds, Done::Nothing, client.batch_execute(&naming)).await {
                kept = Some(client);
                break;
            }
        }
        let client = match kept {
            Some(client) => client,
            None => pool::connect(&plan.target, |url| connect(url, &plan.target, bounds)).await?,
        };
        if bounds.alone {
            let ended = end_sessions(&client, "application_name", &bounds.session, bounds).await;
            // Nothing of the plan was sent.
            ended.map_err(|failure| Failure::new(Done::Nothing, failure.text))?;
        }
        let done = carry_out(&client, plan, bounds).await;
        // Whatever failed may have left the session in any state.
        if done.is_ok() && !client.is_closed() {
            server.keep(client);
        }
        done
    }
}

/// A new connection that bears the name of the bounds.
async fn connect(url: Hidden, target: &Target, bounds: &Bounds) -> Result<Client, Failure> {
    let nothing = |text: String| Failure::new(Done::Nothing, text);
    let mut address = address::parse(&url).map_err(nothing)?;
    address.config.application_name(&bounds.session);
    let connecting = async {
        if address.tls {
            let tls = Tls::new(&target.tls).map_err(nothing)?;
            let connected = address.config.connect(tls).await;
            let (client, connection) = connected.map_err(|error| refused(&error))?;
            tokio::spawn(drive(connection));
            Ok(client)
        } else {
            let connected = address.config.connect(NoTls).await;
            let (client, connection) = connected.map_err(|error| refused(&error))?;
            tokio::spawn(drive(connection));
            Ok(client)
        }
    };
    within(bounds, Done::Nothing, connecting).await?
}

/// Ends with its client.
async fn drive(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    if let Err(error) = connection.await {
        tracing::debug!(error = %told(&error), "a connection to a database broke");
    }
}

async fn carry_out(client: &Client, plan: &Plan, bounds: &Bounds) -> Result<Vec<String>, Failure> {
    match &plan.action {
        Action::Check => {
            call(client, "SELECT 1", bounds).await?;
            Ok(Vec::new())
        }
        Action::Run { statements } => {
            transact(client, statements, bounds).await?;
            Ok(Vec::new())
        }
        Action::Make { account, statements } => {
            make(client, account, statements, bounds).await?;
            Ok(Vec::new())
        }
        Action::List { prefix, mark } => call(client, &listing(prefix, mark)?, bounds).await,
        Action::Drop {
            account,
            statements,
            session,
        } => {
            if !session.is_empty() {
                end_sessions(client, "application_name", session, bounds).await?;
            }
            drop_account(client, account, statements, bounds).await?;
            Ok(Vec::new())
        }
    }
}

/// Makes a role. If its name is taken the transaction was rolled back, unless a statement ended that itself.
async fn make(client: &Client, account: &str, statements: &[Hidden], bounds: &Bounds) -> Result<(), Failure> {
    match run(client, statements, bounds).await? {
        Err(error)
            if error.code() == Some(&SqlState::DUPLICATE_OBJECT)
                && !error.is_closed()
                && !statements.iter().any(|statement| ends_transaction(statement)) =>
        {
            Err(there(account))
        }
        done => done.map_err(|error| failure(&error)),
    }
}

/// Whether a statement may end the transaction that it runs in.
fn ends_transaction(statement: &str) -> bool {
    let parts = statement.to_ascii_lowercase();
    parts.split(';').map(str::trim).any(|part| {
        let mut words = part.split(|letter: char| !letter.is_ascii_alphanumeric());
        words.any(|word| word == "commit") || matches!(part, "end" | "end work" | "end transaction")
    })
}

/// Roles that begin so and have this comment.
fn listing(prefix: &str, mark: &str) -> Result<String, Failure> {
    let mut query = "SELECT rolname FROM pg_catalog.pg_roles WHERE true".to_owned();
    if !prefix.is_empty() {
        let prefix = literal(prefix)?;
        query.push_str(&format!(" AND left(rolname, length({prefix})) = {prefix}"));
    }
    if !mark.is_empty() {
        let mark = literal(mark)?;
        query.push_str(&format!(
            " AND pg_catalog.shobj_description(oid, 'pg_authid') = {mark}"
        ));
    }
    query.push_str(&format!(" ORDER BY 1 LIMIT {MAX_LISTED}"));
    Ok(query)
}

/// Ends sessions and waits until they are gone: what they were doing is done or rolled back then.
async fn end_sessions(client: &Client, column: &str, value: &str, bounds: &Bounds) -> Result<(), Failure> {
    let query = format!(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
         WHERE {column} = {} AND pid <> pg_catalog.pg_backend_pid()",
        literal(value)?
    );
    while !call(client, &query, bounds).await?.is_empty() {
        tokio::time::sleep(ENDING.min(left(bounds)?)).await;
    }
    Ok(())
}

async fn drop_account(
    client: &Client,
    account: &str,
    statements: &[Hidden],
    bounds: &Bounds,
) -> Result<(), Failure> {
    let exists = format!(
        "SELECT rolname FROM pg_catalog.pg_roles WHERE rolname = {}",
        literal(account)?
    );
    if call(client, &exists, bounds).await?.is_empty() {
        return Ok(());
    }
    if statements.is_empty() {
        let account_name = identifier(account)?;
        // Nobody may log in while its sessions end. What it owns is kept; what it was granted goes with it. Who is no
        // superuser must be a member of the role for that.
        let close = Hidden::new(format!("ALTER ROLE {account_name} NOLOGIN"));
        transact(client, &[close], bounds).await?;
        end_sessions(client, "usename", account, bounds).await?;
        let superuser = "SELECT rolname FROM pg_catalog.pg_roles WHERE rolname = current_user AND rolsuper";
        let mut drop = Vec::new();
        if call(client, superuser, bounds).await?.is_empty() {
            drop.push(Hidden::new(format!("GRANT {account_name} TO CURRENT_USER")));
        }
        drop.push(Hidden::new(format!(
            "REASSIGN OWNED BY {account_name} TO CURRENT_USER"
        )));
        drop.push(Hidden::new(format!("DROP OWNED BY {account_name}")));
        drop.push(Hidden::new(format!("DROP ROLE IF EXISTS {account_name}")));
        transact(client, &drop, bounds).await
    } else {
        transact(client, statements, bounds).await?;
        end_sessions(client, "usename", account, bounds).await
    }
}

/// Runs statements, all or none.
async fn transact(client: &Client, statements: &[Hidden], bounds: &Bounds) -> Result<(), Failure> {
    let done = run(client, statements, bounds).await?;
    done.map_err(|error| failure(&error))
}

/// The same, with what the server itself says.
async fn run(
    client: &Client,
    statements: &[Hidden],
    bounds: &Bounds,
) -> Result<Result<(), tokio_postgres::Error>, Failure> {
    let limit = left(bounds)?.as_millis().max(1);
    let mut batch = Hidden::new(format!("BEGIN;\nSET LOCAL statement_timeout = {limit};\n"));
    for statement in statements {
        batch.push_str(statement.trim().trim_end_matches(';'));
        batch.push_str(";\n");
    }
    batch.push_str("COMMIT");
    within(bounds, Done::Unknown, client.batch_execute(&batch)).await
}

/// Asks, and answers the first column.
async fn call(client: &Client, query: &str, bounds: &Bounds) -> Result<Vec<String>, Failure> {
    let answer = within(bounds, Done::Unknown, client.simple_query(query)).await?;
    let rows = answer.map_err(|error| failure(&error))?;
    let first = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
        _ => None,
    };
    Ok(rows.iter().filter_map(first).collect())
}

/// An error before any statement was sent.
fn refused(error: &tokio_postgres::Error) -> Failure {
    let denied = [
        SqlState::INVALID_PASSWORD,
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
    ];
    let done = match error.code() {
        Some(code) if denied.contains(code) => Done::Denied,
        _ => Done::Nothing,
    };
    Failure::new(done, told(error))
}

/// An error of a statement. One that ends the session may have come after what it had begun was done.
fn failure(error: &tokio_postgres::Error) -> Failure {
    let ends = |told: &DbError| !matches!(told.parsed_severity(), None | Some(Severity::Error));
    let done = match error.as_db_error() {
        Some(told) if !ends(told) && !error.is_closed() => Done::Refused,
        _ => Done::Unknown,
    };
    Failure::new(done, told(error))
}

/// What is said of an error. A syntax error quotes the statement, which may hold a password.
fn told(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(told) if *told.code() == SqlState::SYNTAX_ERROR => {
            format!("a statement has a syntax error (SQLSTATE {})", told.code().code())
        }
        Some(told) => format!("{} (SQLSTATE {})", told.message(), told.code().code()),
        None => {
            let source = std::error::Error::source(error).map(ToString::to_string);
            source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
        }
    }
}

/// A quoted name.
fn identifier(name: &str) -> Result<String, Failure> {
    check(name)?;
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}

/// A quoted text.
fn literal(text: &str) -> Result<String, Failure> {
    check(text)?;
    let quoted = text.replace('\'', "''");
    Ok(if text.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    })
}

fn check(text: &str) -> Result<(), Failure> {
    if text.is_empty() || text.contains('\0') {
        return Err(Failure::new(Done::Nothing, "a name is empty or holds a NUL"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_transaction_is_seen() {
        assert!(ends_transaction("CREATE ROLE a; commit; SELECT 1") && ends_transaction("SELECT 1; END"));
        assert!(!ends_transaction("DO $x$ BEGIN NULL; END $x$"));
        assert!(!ends_transaction(
            "CREATE ROLE \"v-committee\" LOGIN; GRANT friend TO x"
        ));
    }

    #[test]
    fn names_cannot_end_their_quotes() {
        assert_eq!(identifier("a\"; DROP").unwrap(), "\"a\"\"; DROP\"");
        assert_eq!(literal("it's").unwrap(), "'it''s'");
        assert_eq!(literal("a\\'b").unwrap(), "E'a\\\\''b'");
        for bad in ["", "a\0b"] {
            assert!(identifier(bad).is_err() && literal(bad).is_err());
        }
    }
}
