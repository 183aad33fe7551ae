//! A device that shows codes of second factors.

use conclave_raft::local::Clock;
use totp_rs::{Algorithm, Builder, Secret};

use super::Node;

/// A device: what it was told, and its codes.
pub struct Device {
    pub method: String,
    pub url: String,
}

impl Device {
    pub fn part(&self, name: &str) -> &str {
        let (_, query) = self.url.split_once('?').unwrap();
        let mut parts = query.split('&').map(|part| part.split_once('=').unwrap());
        parts.find(|(known, _)| *known == name).unwrap().1
    }

    /// The code it shows now, or some periods later.
    pub fn code(&self, node: &Node, later: i64) -> String {
        let at = node.clock.now() / 1000;
        let at = at.checked_add_signed(later * 30).unwrap();
        let algorithm = match self.part("algorithm") {
            "SHA1" => Algorithm::SHA1,
            "SHA256" => Algorithm::SHA256,
            _ => Algorithm::SHA512,
        };
        let totp = Builder::new()
            .with_algorithm(algorithm)
            .with_digits(self.part("digits").parse().unwrap())
            .with_step_duration(self.part("period").parse().unwrap())
            .with_secret(Secret::try_from_base32(self.part("secret")).unwrap())
            .build();
        totp.unwrap().generate(at).to_string()
    }
}
