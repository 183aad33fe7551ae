//! `sys/health`: which status code a node's condition becomes, and how the client may change that.

use http::StatusCode;
use serde_json::{Map, Value};

use conclave_core::Health;

use super::status::Refusal;

/// The codes a client asked for, or those of Conclave: a follower that serves is as healthy as the leader.
#[derive(Debug, PartialEq, Eq)]
pub struct Codes {
    active: StatusCode,
    standby: StatusCode,
    sealed: StatusCode,
    uninitialized: StatusCode,
}

impl Codes {
    /// Reads `standbyok`, `perfstandbyok`, `activecode`, `standbycode`, `sealedcode` and `uninitcode`.
    /// Others (`performancestandbycode`, `drsecondarycode`, ...) are accepted: there is no such node.
    pub fn read(query: &Map<String, Value>) -> Result<Self, Refusal> {
        let code = |name: &str, usual: StatusCode| match query.get(name) {
            None => Ok(usual),
            Some(value) => value
                .as_str()
                .and_then(|text| text.parse::<u16>().ok())
                .and_then(|code| StatusCode::from_u16(code).ok())
                // An interim status would leave the client waiting for the answer.
                .filter(|code| !code.is_informational())
                .ok_or_else(|| Refusal::Malformed(format!("{name} must be a status code"))),
        };
        let active = code("activecode", StatusCode::OK)?;
        // `standbyok` asks for what is usual here anyway, but wins over `standbycode` as in Vault.
        let standby_ok = ["standbyok", "perfstandbyok"].iter().any(|name| {
            query
                .get(*name)
                .is_some_and(|value| value.as_str() != Some("false"))
        });
        let standby = code("standbycode", StatusCode::OK)?;
        Ok(Self {
            active,
            standby: if standby_ok { active } else { standby },
            sealed: code("sealedcode", StatusCode::SERVICE_UNAVAILABLE)?,
            uninitialized: code("uninitcode", StatusCode::NOT_IMPLEMENTED)?,
        })
    }

    /// The code for a node's condition. Without a leader nobody serves, and no parameter makes that healthy.
    pub fn of(&self, health: &Health) -> StatusCode {
        if !health.initialized {
            self.uninitialized
        } else if health.sealed {
            self.sealed
        } else if !health.has_leader {
            StatusCode::SERVICE_UNAVAILABLE
        } else if health.standby {
            self.standby
        } else {
            self.active
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::form;
    use super::*;

    #[test]
    fn the_matrix() {
        let node = |initialized, sealed, has_leader, standby| Health {
            initialized,
            sealed,
            standby,
            has_leader,
            object: Map::new(),
        };
        let nodes = [
            node(true, false, true, false),
            node(true, false, true, true),
            node(true, false, false, true),
            node(true, true, true, true),
            node(false, true, false, true),
        ];
        let rows = [
            ("", [200, 200, 503, 503, 501]),
            ("standbyok=true", [200, 200, 503, 503, 501]),
            ("standbycode=429", [200, 429, 503, 503, 501]),
            ("standbycode=429&standbyok=true", [200, 200, 503, 503, 501]),
            ("standbycode=429&perfstandbyok", [200, 200, 503, 503, 501]),
            ("standbycode=429&standbyok=false", [200, 429, 503, 503, 501]),
            ("activecode=299&standbyok=1", [299, 299, 503, 503, 501]),
            ("sealedcode=204&uninitcode=200", [200, 200, 503, 204, 200]),
            (
                "performancestandbycode=473&drsecondarycode=472",
                [200, 200, 503, 503, 501],
            ),
        ];
        for (query, want) in rows {
            let codes = Codes::read(&form::parse(query.as_bytes()).unwrap()).unwrap();
            let got: Vec<u16> = nodes.iter().map(|node| codes.of(node).as_u16()).collect();
            assert_eq!(got, want, "{query}");
        }
        for bad in [
            "activecode=abc",
            "standbycode=99",
            "sealedcode=100",
            "uninitcode=1000",
            "activecode=",
        ] {
            assert!(
                Codes::read(&form::parse(bad.as_bytes()).unwrap()).is_err(),
                "{bad}"
            );
        }
    }
}
