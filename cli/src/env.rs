//! The environment: `CONCLAVE_X` over `BAO_X` over `VAULT_X`. The only reader of variables; knows no command.

use std::collections::BTreeMap;

/// Prefixes in order of precedence.
const PREFIXES: [&str; 3] = ["CONCLAVE_", "BAO_", "VAULT_"];

/// A copy of the process's environment, so that tests give their own.
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// The process's environment; variables that are not UTF-8 are left out.
    pub fn of_process() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
                .collect(),
        )
    }

    /// Variables given by hand.
    #[cfg(test)]
    pub fn of<const N: usize>(pairs: [(&str, &str); N]) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect(),
        )
    }

    /// A setting by its name without prefix, such as `ADDR`. An empty variable counts as unset, so that a script
    /// can clear one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variable(name).and_then(|variable| self.plain(&variable))
    }

    /// The variable that gives this setting; `None` if none does.
    pub fn variable(&self, name: &str) -> Option<String> {
        let mut variables = PREFIXES.iter().map(|prefix| format!("{prefix}{name}"));
        variables.find(|variable| self.plain(variable).is_some())
    }

    /// A variable by its whole name; `None` if unset or empty.
    pub fn plain(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_wins_over_bao_over_vault() {
        let env = Env::of([
            ("VAULT_ADDR", "v"),
            ("BAO_ADDR", "b"),
            ("CONCLAVE_ADDR", ""),
            ("VAULT_TOKEN", "t"),
        ]);
        assert_eq!(env.get("ADDR"), Some("b"));
        assert_eq!(env.get("TOKEN"), Some("t"));
        assert_eq!(env.get("FORMAT"), None);
        assert_eq!(env.variable("ADDR").as_deref(), Some("BAO_ADDR"));
        assert_eq!(env.variable("TOKEN").as_deref(), Some("VAULT_TOKEN"));
        assert_eq!(env.variable("FORMAT"), None);
    }
}
