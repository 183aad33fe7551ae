//! What a request did, as far as rules tell acts apart. Numbers are on the wire: once assigned, one never changes.

/// What a request did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Act {
    /// A secret was handed out.
    Read = 1,
    /// Something was written or deleted.
    Write = 2,
    /// Names were listed.
    List = 3,
    /// Somebody logged in.
    Login = 4,
    /// A login failed.
    LoginFailed = 5,
    /// No valid token was shown.
    BadToken = 6,
    /// A valid token was shown, and no policy allowed the request.
    Denied = 7,
    /// Anything else that a valid token did.
    Other = 8,
    /// A canary was read, or somebody with a valid token tried to.
    Canary = 9,
}

impl Act {
    /// By its number.
    pub fn from_number(number: u8) -> Option<Self> {
        [
            Self::Read,
            Self::Write,
            Self::List,
            Self::Login,
            Self::LoginFailed,
            Self::BadToken,
            Self::Denied,
            Self::Other,
            Self::Canary,
        ]
        .into_iter()
        .find(|act| *act as u8 == number)
    }

    /// Whether it is a failure to say who one is.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::LoginFailed | Self::BadToken)
    }
}
