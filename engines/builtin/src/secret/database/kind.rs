//! The kinds of databases: under which plugin names they go, what they speak, and what is usual for them.

use conclave_engine_api::{Driver, Error};

/// A plugin of Vault's and what it is here.
struct Plugin {
    name: &'static str,
    driver: Option<Driver>,
}

const fn built(name: &'static str, driver: Driver) -> Plugin {
    Plugin {
        name,
        driver: Some(driver),
    }
}

const fn unbuilt(name: &'static str) -> Plugin {
    Plugin { name, driver: None }
}

const PLUGINS: [Plugin; 11] = [
    built("postgresql-database-plugin", Driver::Postgresql),
    unbuilt("mysql-database-plugin"),
    unbuilt("mysql-aurora-database-plugin"),
    unbuilt("mysql-rds-database-plugin"),
    unbuilt("mysql-legacy-database-plugin"),
    unbuilt("redis-database-plugin"),
    unbuilt("valkey-database-plugin"),
    unbuilt("cassandra-database-plugin"),
    unbuilt("influxdb-database-plugin"),
    unbuilt("mongodb-database-plugin"),
    unbuilt("mssql-database-plugin"),
];

/// What a plugin speaks.
pub(super) fn driver(plugin: &str) -> Result<Driver, Error> {
    match PLUGINS.iter().find(|known| known.name == plugin) {
        Some(Plugin {
            driver: Some(driver), ..
        }) => Ok(*driver),
        Some(_) => Err(Error::Unsupported(format!("the database plugin {plugin:?}"))),
        None => Err(Error::invalid(format!("no such database plugin: {plugin:?}"))),
    }
}

/// How names of accounts are made unless the connection says otherwise: Vault's own templates.
pub(super) fn template(driver: Driver) -> &'static str {
    match driver {
        Driver::Postgresql => {
            r#"{{ printf "v-%s-%s-%s-%s" (.DisplayName | truncate 8) (.RoleName | truncate 8) (random 20) (unix_time) | truncate 63 }}"#
        }
        Driver::Mysql => {
            r#"{{ printf "v-%s-%s-%s-%s" (.DisplayName | truncate 10) (.RoleName | truncate 10) (random 20) (unix_time) | truncate 32 }}"#
        }
        Driver::Redis => {
            r#"{{ printf "V_%s_%s_%s_%s" (.DisplayName | uppercase | truncate 32) (.RoleName | uppercase | truncate 32) (random 20 | uppercase) (unix_time) | replace "-" "_" }}"#
        }
        // No database.
        Driver::Aws => "",
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
        Driver::Mysql | Driver::Redis | Driver::Aws => &[],
    }
}

/// Statements that change an account's password.
pub(super) fn rotate_statements(driver: Driver) -> &'static [&'static str] {
    match driver {
        Driver::Postgresql => &[r#"ALTER ROLE "{{name}}" WITH PASSWORD '{{password}}'"#],
        Driver::Mysql => &[r"ALTER USER '{{name}}'@'%' IDENTIFIED BY '{{password}}'"],
        Driver::Redis => &[r#"["ACL","SETUSER","{{name}}","RESETPASS",">{{password}}"]"#],
        // No database.
        Driver::Aws => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_usual_templates_begin_as_vault_s_do() {
        for (driver, start) in [
            (Driver::Postgresql, "v-"),
            (Driver::Mysql, "v-"),
            (Driver::Redis, "V_"),
        ] {
            assert_eq!(fixed_start(template(driver)), start);
        }
        assert_eq!(fixed_start("app-{{random 8}}"), "app-");
        assert_eq!(fixed_start("{{.RoleName}}-x"), "");
    }
}
