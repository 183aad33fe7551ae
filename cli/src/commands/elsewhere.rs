//! Commands of the original that have nothing to work with here. Each is refused by its name, with what to do instead:
//! "no such command" would leave people in doubt about their spelling.

/// Names, and why they are not there.
const REFUSED: [(&str, &str); 18] = [
    ("-autocomplete-install", COMPLETION),
    ("-autocomplete-uninstall", COMPLETION),
    ("agent", AGENT),
    ("proxy", AGENT),
    (
        "operator migrate",
        "storage is not converted in place; 'migrate' copies from a server that runs",
    ),
    ("pki health-check", PKI),
    ("pki issue", PKI),
    ("pki list-intermediates", PKI),
    ("pki reissue", PKI),
    ("pki verify-sign", PKI),
    ("pki", PKI),
    ("plugin deregister", PLUGINS),
    ("plugin init", PLUGINS),
    ("plugin prune", PLUGINS),
    ("plugin register", PLUGINS),
    ("plugin reload", PLUGINS),
    ("plugin reload-status", PLUGINS),
    (
        "ssh",
        "sessions are not started; 'write -field=signed_key ssh/sign/ROLE public_key=@FILE' signs a key for the ssh command",
    ),
];
const AGENT: &str =
    "there is none in this tool; 'bao agent', 'bao proxy' and their like work with this server as they are";
const COMPLETION: &str = "no file of yours is edited; 'completion bash' prints what completes commands in a shell, also for zsh and fish";
const PKI: &str = "the pki engine is not built";
const PLUGINS: &str = "engines, auth methods and drivers of databases are built in, none can be added";

/// What is said to a command line that begins with one of them.
pub fn refusal(words: &[String]) -> Option<String> {
    let begins = |name: &str| {
        let parts: Vec<&str> = name.split(' ').collect();
        words.get(..parts.len()).is_some_and(|first| first == parts)
    };
    let (name, why) = REFUSED.iter().find(|(name, _)| begins(name))?;
    Some(format!("unsupported: {name}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::all;

    #[test]
    fn refused_commands_are_named_and_no_command_is_hidden_by_one() {
        let said = |line: &str| refusal(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert!(
            said("agent -config=a.hcl")
                .unwrap()
                .starts_with("unsupported: agent: ")
        );
        let completion = said("-autocomplete-install").unwrap();
        assert!(completion.contains("'completion bash'"), "{completion}");
        assert!(
            said("pki issue a b")
                .unwrap()
                .starts_with("unsupported: pki issue: ")
        );
        assert!(
            said("plugin register -sha256=x secret y")
                .unwrap()
                .starts_with("unsupported: plugin register: ")
        );
        for line in ["plugin", "plugin list", "agents", "operator", "nosuch", ""] {
            assert_eq!(said(line), None, "{line}");
        }
        for command in all() {
            assert_eq!(said(command.name), None, "{}", command.name);
        }
    }
}
