//! Requests of the query protocol of IAM and STS, as statements of a plan: the service, a space, a form. Knows no role.

use conclave_engine_api::Hidden;

/// The version of each service's protocol.
const IAM_VERSION: &str = "2010-05-08";
const STS_VERSION: &str = "2011-06-15";

/// A request in the making.
pub(super) struct Form(Hidden);

impl Form {
    /// An action of IAM.
    pub fn iam(action: &str) -> Self {
        Self::new("iam", action, IAM_VERSION)
    }

    /// An action of IAM that is let be where it is not allowed.
    pub fn iam_if_allowed(action: &str) -> Self {
        Self::new("iam?", action, IAM_VERSION)
    }

    /// An action of STS.
    pub fn sts(action: &str) -> Self {
        Self::new("sts", action, STS_VERSION)
    }

    fn new(service: &str, action: &str, version: &str) -> Self {
        Self(Hidden::new(format!(
            "{service} Action={action}&Version={version}"
        )))
    }

    /// With one more field.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0.push('&');
        self.0.push_str(name);
        self.0.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                self.0.push(char::from(byte));
            } else if byte == b' ' {
                self.0.push('+');
            } else {
                self.0.push_str(&format!("%{byte:02X}"));
            }
        }
        self
    }

    /// With a field, unless it is empty.
    pub fn with_some(self, name: &str, value: &str) -> Self {
        match value {
            "" => self,
            value => self.with(name, value),
        }
    }

    /// With tags.
    pub fn with_tags<'t>(mut self, tags: impl Iterator<Item = (&'t String, &'t String)>) -> Self {
        for (index, (key, value)) in tags.enumerate() {
            let member = format!("Tags.member.{}", index + 1);
            self = self
                .with(&format!("{member}.Key"), key)
                .with(&format!("{member}.Value"), value);
        }
        self
    }

    /// The statement.
    pub fn done(self) -> Hidden {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_end_their_fields() {
        let form = Form::iam("CreateUser").with("UserName", "a&b=c d/é+~").done();
        assert_eq!(
            form.as_str(),
            "iam Action=CreateUser&Version=2010-05-08&UserName=a%26b%3Dc+d%2F%C3%A9%2B~"
        );
    }
}
