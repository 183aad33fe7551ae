//! Users of IAM: dropped with everything that hangs on them, and found by the tag that says who made them.

use conclave_engine_api::Failure;

use super::answer::Answer;
use super::call::Refusal;
use super::{Calls, MARK};

/// Most pages of one list: more is nothing that one plan can go through.
const MAX_PAGES: usize = 100;
/// What IAM says of what is not there.
const GONE: &str = "NoSuchEntity";

/// One kind of thing that hangs on a user: how it is listed, the leaf that names it, how it goes, and as what it is named then.
struct Hanging {
    list: &'static str,
    leaf: &'static str,
    delete: &'static str,
    field: &'static str,
}

const fn hanging(
    list: &'static str,
    leaf: &'static str,
    delete: &'static str,
    field: &'static str,
) -> Hanging {
    Hanging {
        list,
        leaf,
        delete,
        field,
    }
}

/// Keys first: from then on nobody acts as the user.
const KEYS: Hanging = hanging("ListAccessKeys", "AccessKeyId", "DeleteAccessKey", "AccessKeyId");

/// What else a user that we make has.
const OWN: [Hanging; 3] = [
    hanging("ListUserPolicies", "member", "DeleteUserPolicy", "PolicyName"),
    hanging(
        "ListAttachedUserPolicies",
        "PolicyArn",
        "DetachUserPolicy",
        "PolicyArn",
    ),
    hanging(
        "ListGroupsForUser",
        "GroupName",
        "RemoveUserFromGroup",
        "GroupName",
    ),
];

/// What a user with rights on itself may have been given since: looked for only if it keeps the user from going.
const FOREIGN: [Hanging; 4] = [
    hanging(
        "ListMFADevices",
        "SerialNumber",
        "DeactivateMFADevice",
        "SerialNumber",
    ),
    hanging(
        "ListSSHPublicKeys",
        "SSHPublicKeyId",
        "DeleteSSHPublicKey",
        "SSHPublicKeyId",
    ),
    hanging(
        "ListSigningCertificates",
        "CertificateId",
        "DeleteSigningCertificate",
        "CertificateId",
    ),
    hanging(
        "ListServiceSpecificCredentials",
        "ServiceSpecificCredentialId",
        "DeleteServiceSpecificCredential",
        "ServiceSpecificCredentialId",
    ),
];

/// Drops a user that may be there or not. One that is `young` must be there: IAM does not know at once and everywhere what it
/// made, and a user that is forgotten for that would stay.
pub async fn drop_user(calls: &Calls<'_>, user: &str, young: bool) -> Result<Vec<String>, Failure> {
    let name = [("UserName", user)];
    clear(calls, user, &KEYS).await?;
    gone(calls.iam("DeleteLoginProfile", &name).await)?;
    for kind in &OWN {
        clear(calls, user, kind).await?;
    }
    match calls.iam("DeleteUser", &name).await {
        Err(refusal) if refusal.is(GONE) && young => Err(refusal)?,
        Err(refusal) if refusal.is("DeleteConflict") => {
            for kind in &FOREIGN {
                clear(calls, user, kind).await?;
            }
            gone(calls.iam("DeleteUser", &name).await)?;
        }
        other => gone(other)?,
    }
    Ok(Vec::new())
}

/// Takes away everything of one kind.
async fn clear(calls: &Calls<'_>, user: &str, kind: &Hanging) -> Result<(), Failure> {
    let pages = match pages(calls, kind.list, &[("UserName", user)]).await {
        Err(refusal) if refusal.is(GONE) => return Ok(()),
        other => other?,
    };
    for item in pages.iter().flat_map(|page| page.all(kind.leaf)) {
        let named = [("UserName", user), (kind.field, item)];
        gone(calls.iam(kind.delete, &named).await)?;
    }
    Ok(())
}

/// What is not there any more is as gone as it should be.
fn gone(done: Result<Answer, Refusal>) -> Result<(), Failure> {
    match done {
        Err(refusal) if !refusal.is(GONE) => Err(refusal.into()),
        _ => Ok(()),
    }
}

/// The names of users that begin so and bear this mark.
pub async fn list(calls: &Calls<'_>, prefix: &str, mark: &str) -> Result<Vec<String>, Failure> {
    let pages = pages(calls, "ListUsers", &[]).await?;
    let users = pages.iter().flat_map(|page| page.all("UserName"));
    let mut found = Vec::new();
    for user in users.filter(|user| user.starts_with(prefix)) {
        if mark.is_empty() || has_mark(calls, user, mark).await? {
            found.push(user.to_owned());
        }
    }
    Ok(found)
}

async fn has_mark(calls: &Calls<'_>, user: &str, mark: &str) -> Result<bool, Failure> {
    let found = match pages(calls, "ListUserTags", &[("UserName", user)]).await {
        Err(refusal) if refusal.is(GONE) => return Ok(false),
        other => other?,
    };
    let mut tags = found.iter().flat_map(|page| page.pairs("Key", "Value"));
    Ok(tags.any(|tag| tag == (MARK, mark)))
}

/// All pages of a list.
async fn pages(calls: &Calls<'_>, action: &str, fields: &[(&str, &str)]) -> Result<Vec<Answer>, Refusal> {
    let mut pages = Vec::new();
    let mut marker = String::new();
    while pages.len() < MAX_PAGES {
        let mut fields = fields.to_vec();
        if !marker.is_empty() {
            fields.push(("Marker", &marker));
        }
        let page = calls.iam(action, &fields).await?;
        let more = page.first("IsTruncated") == Some("true");
        let next = page.first("Marker").unwrap_or_default().to_owned();
        pages.push(page);
        if !more || next.is_empty() {
            return Ok(pages);
        }
        marker = next;
    }
    Err(Refusal::unreadable("a list of IAM does not end"))
}
