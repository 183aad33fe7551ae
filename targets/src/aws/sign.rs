//! Signature Version 4, as Amazon documents it ("Create a signed AWS API request"). Knows no service and no clock.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The one algorithm.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What is signed.
pub struct Signed<'a> {
    /// `POST`.
    pub method: &'a str,
    /// The path, already escaped.
    pub path: &'a str,
    /// The query, in canonical form.
    pub query: &'a str,
    /// Names in lower case, in their order.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a str,
}

/// Who signs, and for which service where.
pub struct Signer<'a> {
    pub access_key: &'a str,
    pub secret_key: &'a str,
    pub region: &'a str,
    pub service: &'a str,
    /// `20150830T123600Z`.
    pub time: &'a str,
}

/// The `Authorization` header. `None`: the time is none.
pub fn authorization(signed: &Signed<'_>, signer: &Signer<'_>) -> Option<String> {
    let date = signer.time.get(..8)?;
    let names: Vec<&str> = signed.headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let mut request = format!("{}\n{}\n{}\n", signed.method, signed.path, signed.query);
    for (name, value) in signed.headers {
        request.push_str(&format!("{name}:{}\n", value.trim()));
    }
    request.push_str(&format!("\n{names}\n{}", hash(signed.body)));
    let scope = format!("{date}/{}/{}/aws4_request", signer.region, signer.service);
    let text = format!("{ALGORITHM}\n{}\n{scope}\n{}", signer.time, hash(&request));
    let mut key = mac(format!("AWS4{}", signer.secret_key).as_bytes(), date)?;
    for part in [signer.region, signer.service, "aws4_request"] {
        key = mac(&key, part)?;
    }
    let signature = hex::encode(mac(&key, &text)?);
    Some(format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        signer.access_key
    ))
}

fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

fn mac(key: &[u8], text: &str) -> Option<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(text.as_bytes());
    Some(mac.finalize().into_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "application/x-www-form-urlencoded";
    const DATE: (&str, &str) = ("x-amz-date", "20150830T123600Z");
    const HOST: (&str, &str) = ("host", "example.amazonaws.com");

    fn signature(signed: &Signed<'_>, service: &str) -> String {
        let signer = Signer {
            access_key: "AKIDEXAMPLE",
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            region: "us-east-1",
            service,
            time: DATE.1,
        };
        let header = authorization(signed, &signer).unwrap();
        header.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    /// `get-vanilla`, `post-vanilla` and `post-x-www-form-urlencoded` of Amazon's test suite, and the worked example of its
    /// documentation.
    #[test]
    fn published_requests_have_their_signatures() {
        let vanilla = |method| Signed {
            method,
            path: "/",
            query: "",
            headers: &[HOST, DATE],
            body: "",
        };
        assert_eq!(
            signature(&vanilla("GET"), "service"),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
        assert_eq!(
            signature(&vanilla("POST"), "service"),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
        let form = Signed {
            body: "Param1=value1",
            headers: &[("content-type", FORM), HOST, DATE],
            ..vanilla("POST")
        };
        assert_eq!(
            signature(&form, "service"),
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
        );
        let users = Signed {
            query: "Action=ListUsers&Version=2010-05-08",
            headers: &[
                ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
                ("host", "iam.amazonaws.com"),
                DATE,
            ],
            ..vanilla("GET")
        };
        assert_eq!(
            signature(&users, "iam"),
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }
}
