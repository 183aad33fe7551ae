//! Whether members may open each other: the `peer_unseal` setting of a node. Of two nodes the stricter one decides.

use serde::{Deserialize, Serialize};

/// When a node takes the root key from a member, or gives it to one. Ordered from strict to lenient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerUnseal {
    /// Never: every node gathers the shares itself.
    Off,
    /// While the shares are being given: to members whose present start was registered before the last share.
    #[default]
    Ceremony,
    /// At any time: a member that restarts is opened by those that are open.
    Always,
}

impl PeerUnseal {
    /// Reads a setting.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "off" => Self::Off,
            "ceremony" => Self::Ceremony,
            "always" => Self::Always,
            _ => return None,
        })
    }

    /// As one byte of a message.
    pub(crate) fn to_byte(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Ceremony => 1,
            Self::Always => 2,
        }
    }

    /// What [`PeerUnseal::to_byte`] made.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Off, Self::Ceremony, Self::Always]
            .into_iter()
            .find(|setting| setting.to_byte() == byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stricter_of_two_is_the_smaller() {
        assert_eq!(PeerUnseal::Always.min(PeerUnseal::Off), PeerUnseal::Off);
        assert_eq!(PeerUnseal::Always.min(PeerUnseal::Ceremony), PeerUnseal::Ceremony);
        assert_eq!(PeerUnseal::default(), PeerUnseal::Ceremony);
        for setting in [PeerUnseal::Off, PeerUnseal::Ceremony, PeerUnseal::Always] {
            assert_eq!(PeerUnseal::from_byte(setting.to_byte()), Some(setting));
        }
        assert_eq!(PeerUnseal::from_byte(3), None);
        assert_eq!(PeerUnseal::parse("sometimes"), None);
    }
}
