//! The kinds of databases: under which plugin names they go, what they speak, and what is usual for them.

use conclave_engine_api::{Driver, Error};

/// A plugin of Vault's and what it is here.
struct Plugin {
    name: &'static str,
    /// What it speaks, and how it names accounts unless the connection says otherwise.
    kind: Option<(Driver, &'static str)>,
}

const fn built(name: &'static str, driver: Driver, template: &'static str) -> Plugin {
    Plugin {
        name,
        kind: Some((driver, template)),
    }
}

const fn unbuilt(name: &'static str) -> Plugin {
    Plugin { name, kind: None }
}

const POSTGRESQL: &str = r#"{{ printf "v-%s-%s-%s-%s" (.DisplayName | truncate 8) (.RoleName | truncate 8) (random 20) (unix_time) | truncate 63 }}"#;
const MYSQL: &str = r#"{{ printf "v-%s-%s-%s-%s" (.DisplayName | truncate 10) (.RoleName | truncate 10) (random 20) (unix_time) | truncate 32 }}"#;
/// Names of MySQL before 5.7 have 16 characters.
const SHORT_MYSQL: &str = r#"{{ printf "v-%s-%s" (.RoleName | truncate 4) (random 20) | truncate 16 }}"#;
const REDIS: &str = r#"{{ printf "V_%s_%s_%s_%s" (.DisplayName | truncate 64) (.RoleName | truncate 64) (random 20) (unix_time) | uppercase }}"#;

const PLUGINS: [Plugin; 20] = [
    built("postgresql-database-plugin", Driver::Postgresql, POSTGRESQL),
    built("mysql-database-plugin", Driver::Mysql, MYSQL),
    built("mysql-aurora-database-plugin", Driver::Mysql, SHORT_MYSQL),
    built("mysql-rds-database-plugin", Driver::Mysql, SHORT_MYSQL),
    built("mysql-legacy-database-plugin", Driver::Mysql, SHORT_MYSQL),
    built("redis-database-plugin", Driver::Redis, REDIS),
    built("valkey-database-plugin", Driver::Redis, REDIS),
    unbuilt("cassandra-database-plugin"),
    unbuilt("couchbase-database-plugin"),
    unbuilt("elasticsearch-database-plugin"),
    unbuilt("hana-database-plugin"),
    unbuilt("influxdb-database-plugin"),
    unbuilt("mongodb-database-plugin"),
    unbuilt("mongodbatlas-database-plugin"),
    unbuilt("mssql-database-plugin"),
    unbuilt("oracle-database-plugin"),
    unbuilt("redis-elasticache-database-plugin"),
    unbuilt("redshift-database-plugin"),
    unbuilt("snowflake-database-plugin"),
    unbuilt("vault-plugin-database-oracle"),
];

/// Names of those that are built.
pub(super) fn built_plugins() -> Vec<&'static str> {
    let built = PLUGINS.iter().filter(|plugin| plugin.kind.is_some());
    built.map(|plugin| plugin.name).collect()
}

/// What a plugin speaks.
pub(super) fn driver(plugin: &str) -> Result<Driver, Error> {
    kind(plugin).map(|(driver, _)| driver)
}

/// How names of accounts are made unless the connection says otherwise: as Vault's plugin of that name makes them.
pub(super) fn template(plugin: &str) -> Result<&'static str, Error> {
    kind(plugin).map(|(_, template)| template)
}

fn kind(plugin: &str) -> Result<(Driver, &'static str), Error> {
    match PLUGINS.iter().find(|known| known.name == plugin) {
        Some(Plugin { kind: Some(kind), .. }) => Ok(*kind),
        Some(_) => Err(Error::Unsupported(format!("the database plugin {plugin:?}"))),
        None => Err(Error::invalid(format!("no such database plugin: {plugin:?}"))),
    }
}

/// What every name of a template begins with: what stands before its first field, or in a text that it prints.
pub(super) fn fixed_start(template: &str) -> &str {
    let (before, first) = template.split_once("{{").unwrap_or((template, ""));
    if !before.is_empty() {
        return before;
    }
    let printed = first.trim_start().strip_prefix("printf").map(str::trim_start);
    let text = printed.and_then(|printed| printed.strip_prefix('"'));
    text.and_then(|text| text.split(['%', '"', '\\']).next())
        .unwrap_or_default()
}

/// Statements that extend an account's life, if it has one of its own.
pub(super) fn renew_statements(driver: Driver) -> &'static [&'static str] {
    match driver {
        Driver::Postgresql => &[r#"ALTER ROLE "{{name}}" VALID UNTIL '{{expiration}}'"#],
        Driver::Mysql | Driver::Redis | Driver::Aws | Driver::Kubernetes | Driver::RabbitMq => &[],
    }
}

/// Statements that change an account's password.
pub(super) fn rotate_statements(driver: Driver) -> &'static [&'static str] {
    match driver {
        Driver::Postgresql => &[r#"ALTER ROLE "{{name}}" WITH PASSWORD '{{password}}'"#],
        Driver::Mysql => &[r"ALTER USER '{{name}}'@'%' IDENTIFIED BY '{{password}}'"],
        // Its commands are made elsewhere, or it is no database.
        Driver::Redis | Driver::Aws | Driver::Kubernetes | Driver::RabbitMq => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_of_vault_s_is_refused_by_its_name_and_any_other_is_none() {
        let refused = |plugin| driver(plugin).unwrap_err().to_string();
        for plugin in [
            "mssql-database-plugin",
            "hana-database-plugin",
            "snowflake-database-plugin",
        ] {
            assert_eq!(
                refused(plugin),
                format!("unsupported: the database plugin {plugin:?}")
            );
        }
        assert_eq!(refused("postgres"), r#"no such database plugin: "postgres""#);
    }

    #[test]
    fn names_of_the_usual_templates_begin_as_vault_s_do() {
        for (plugin, start) in [
            ("postgresql-database-plugin", "v-"),
            ("mysql-database-plugin", "v-"),
            ("mysql-rds-database-plugin", "v-"),
            ("redis-database-plugin", "V_"),
        ] {
            assert_eq!(fixed_start(template(plugin).unwrap()), start);
        }
        assert_eq!(fixed_start("app-{{random 8}}"), "app-");
        assert_eq!(fixed_start("{{.RoleName}}-x"), "");
    }
}
