//! The commands of an article for credentials of MySQL as they stand there, completed by the role that they speak of, on a machine
//! where the database is at the port and has the password that they name: a network namespace.

use std::process::Command;

use crate::shell::{binary, command, folder, must, texts};

/// Begins it all in namespaces of its own, in which it may be root of. The database does not run as root.
const MACHINE: &str = r#"set -eu
ip link set lo up
bin=$HOME/bin data=$HOME/data
mkdir -p "$bin" "$data"
# A database that starts removes temporary tables, of other databases too.
export TMPDIR=$HOME
ln -s "$CONCLAVE" "$bin/vault"
PATH=$bin:$PATH
mariadb-install-db --no-defaults --user=root --datadir="$data" --auth-root-authentication-method=normal --skip-test-db >/dev/null 2>&1
cat > "$HOME/init.sql" <<SQL
ALTER USER root@localhost IDENTIFIED BY 'password';
CREATE USER IF NOT EXISTS root@'%' IDENTIFIED BY 'password';
GRANT ALL PRIVILEGES ON *.* TO root@'%' WITH GRANT OPTION;
SQL
mariadbd --no-defaults --user=root --datadir="$data" --socket="$HOME/socket" --init-file="$HOME/init.sql" \
  --innodb-buffer-pool-size=8M >"$HOME/mariadb.log" 2>&1 &
vault server -dev -dev-root-token-id=root -dev-no-store-token >"$HOME/server.log" 2>&1 &
export VAULT_ADDR=http://127.0.0.1:8200 VAULT_TOKEN=root
wait_for() {
  for _ in $(seq 600); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done
  cat "$HOME"/*.log >&2
  exit 1
}
sql() { mariadb --no-defaults -N -B -h 127.0.0.1 "$@"; }
wait_for sql -uroot -ppassword -e 'SELECT 1'
wait_for vault status
"#;

/// The article's commands.
const ARTICLE: &str = r#"
# Database dynamic secrets (requires database secrets engine)
vault secrets enable database
vault write database/config/my-database \
  plugin_name=mysql-database-plugin \
  connection_url="root:password@tcp(localhost:3306)/" \
  allowed_roles="my-role"
"#;

/// The role it allows, and what comes of it.
const COMPLETED: &str = r#"
vault write database/roles/my-role db_name=my-database default_ttl=1h max_ttl=24h \
  creation_statements="CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}'; GRANT SELECT ON *.* TO '{{name}}'@'%';"
vault read -format=json database/creds/my-role > "$HOME/made"
field() { python3 -c 'import json, sys; made = json.load(open(sys.argv[1])); print({**made, **made["data"]}[sys.argv[2]])' "$HOME/made" "$1"; }
user=$(field username) password=$(field password)
echo "as $(sql "-u$user" "-p$password" -e 'SELECT CURRENT_USER()')"
echo "made $user"
vault lease revoke -sync "$(field lease_id)"
sql "-u$user" "-p$password" -e 'SELECT 1' 2>&1 | grep -o 'Access denied'
echo "left $(sql -uroot -ppassword -e "SELECT COUNT(*) FROM mysql.user WHERE User LIKE 'v-%'")"
"#;

#[test]
fn dynamic_credentials_of_mysql_come_by_the_articles_commands() {
    let home = folder();
    let script = home.path().join("article.sh");
    std::fs::write(&script, [MACHINE, ARTICLE, COMPLETED].concat()).unwrap();
    let root = must(Command::new("id").arg("-u")).trim() == "0";
    let mut machine = command("unshare", home.path());
    machine.args(["--net", "--pid", "--fork", "--kill-child"]);
    if !root {
        machine.args(["--user", "--map-root-user"]);
    }
    let output = machine
        .arg("bash")
        .arg(&script)
        .env("CONCLAVE", binary())
        .output()
        .unwrap();
    let (said, complained) = texts(&output);
    assert!(output.status.success(), "{said}\n{complained}");
    let line = |start: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(start));
        line.unwrap_or_else(|| panic!("no {start:?}: {said}\n{complained}"))
    };
    assert!(
        complained.contains("the password is written into connection_url"),
        "{complained}"
    );
    let user = line("made ");
    assert!(user.starts_with("v-token-my-role-"), "{user}");
    assert_eq!(line("as "), format!("{user}@%"));
    assert_eq!(line("Access denied"), "");
    assert_eq!(line("left "), "0");
}
