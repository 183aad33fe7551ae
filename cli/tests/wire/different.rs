//! Where our answers differ from the original's on purpose, line by line, and why. Knows no server and no answer.

/// How our answer may differ on purpose.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Differs {
    /// In the texts of errors and warnings.
    Text,
    /// In the status of a failure too.
    Status,
    /// In everything: we do what the original does not, or the other way round.
    Answer,
    /// Not built: 501, and the text says so.
    Unbuilt,
}

use Differs::{Status, Text, Unbuilt};

mod kubernetes;

/// A part of the line between `^` and `$`, what differs, and why.
pub type Difference = (&'static str, Differs, &'static str);

/// All deliberate differences; of a line the first that fits.
pub fn all() -> impl Iterator<Item = &'static Difference> {
    DIFFERENT.iter().chain(kubernetes::DIFFERENT)
}

/// Those of everything but what has a file of its own.
const DIFFERENT: &[Difference] = &[
    (
        "^POST sys/generate-root-token/update {\"key\":\"zz\"",
        Status,
        "a wrong request is 400, never 500",
    ),
    ("\"zz\"", Text, "errors name the field, not the value"),
    (
        "{\"secret_shares\":$",
        Text,
        "where JSON is wrong is said in our words",
    ),
    ("{\"data\":$", Text, "where JSON is wrong is said in our words"),
    ("[1]$", Text, "where JSON is wrong is said in our words"),
    (
        "^PUT sys/unseal {\"key\":\"00\"}",
        Status,
        "a node that belongs to no cluster says so",
    ),
    (
        "^GET nosuch/path",
        Text,
        "a node that belongs to no cluster says so",
    ),
    (
        "^PUT sys/unseal {\"key\":\"00ff\"}",
        Text,
        "a share of no cluster is named as such",
    ),
    ("sealedcode=zz", Text, "a wrong parameter is named"),
    ("list=true&scan=true", Text, "a wrong parameter is named"),
    ("^POST sys/leader", Text, "why a method is not answered is said"),
    (
        "^GET sys/leader",
        Differs::Answer,
        "a sealed node says who leads, for it replicates; since when a leader leads is not kept",
    ),
    (
        "^GET sys/mounts$",
        Differs::Answer,
        "a node that belongs to no cluster says so",
    ),
    (
        "^GET sys/host-info",
        Differs::Answer,
        "a host says less of itself",
    ),
    (
        "^PATCH",
        Status,
        "a PATCH without content type is 415 like one with a wrong one",
    ),
    ("\"version\":\"3\"", Text, "an unknown version is named"),
    (
        "^GET database/roles/pol-no$",
        Differs::Answer,
        "a role's policy of passwords can be taken away again",
    ),
    (
        "^POST sys/remount {\"from\":\"kv1\"",
        Text,
        "a move is done when its request is answered",
    ),
    (
        "{\"policy\":\"zz{\"}",
        Text,
        "where a policy ends too early is counted in our way",
    ),
    (
        "{\"policy\":\"length=\\\"zz\\\"",
        Text,
        "where a policy for passwords is wrong has its line",
    ),
    (
        "^GET sys/policies/detailed/acl?list=true&limit=1",
        Differs::Answer,
        "a list of policies comes in pages too",
    ),
    (
        "PATCH sys/policies/acl/e2 {\"ttl\"",
        Differs::Answer,
        "an answer that says nothing is 204",
    ),
    (
        "^POST sys/decode-token",
        Text,
        "errors name the field, not the value",
    ),
    (
        "sys/internal/specs/openapi",
        Differs::Answer,
        "the document tells of our routes, and less of their fields",
    ),
    (
        "^POST auth/token/renew/",
        Differs::Answer,
        "as in Vault, whose clients call it",
    ),
    (
        "^POST transit/keys/w/import",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST transit/keys/a/import",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST transit/keys/pub/import",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST transit/keys/pub2/import",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST transit/sign/pub",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST transit/keys/p/csr {\"csr\":\"-----BEGIN",
        Text,
        "what is wrong with a template is said in our words",
    ),
    (
        "^POST transit/keys/pub/set-certificate {\"certificate_chain\":\"-----BEGIN CERTIFICATE-----\\naGk=",
        Text,
        "what is wrong with a certificate is said in our words",
    ),
    (
        "^POST transit/keys/q/set-certificate",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^GET transit/export/certificate-chain/p",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST transit/derive-key/a",
        Differs::Answer,
        "a key that came about otherwise gets no version that another party knows",
    ),
    (
        "^POST transit/derive-key/none {\"",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^GET transit/byok-export/r/a?hash=md5",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^GET transit/byok-export/r/nosuch",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^GET transit/byok-export/nosuch",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^GET transit/byok-export/a/p",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST transit/cache-config {\"size\":0}",
        Text,
        "a cache that is not there is not resized",
    ),
    (
        "^POST database/config/pg {\"plugin_name\":\"nosuch\"",
        Text,
        "which plugin there is not is said in our words",
    ),
    (
        "\"username\":\"u\",\"password\":\"pass-word\"}",
        Text,
        "why a database is not reached is said in our words",
    ),
    (
        "^POST database/roles/app {\"max_ttl\":\"-1h\"",
        Text,
        "errors name the field, not the value",
    ),
    (
        "^GET database/creds/app",
        Text,
        "why a database is not reached is said in our words",
    ),
    (
        "^GET database/creds/b",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST database/static-roles/no {",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "\"username\":\"svc\",\"rotation_period\":\"1h\"}",
        Text,
        "why a database is not reached is said in our words",
    ),
    (
        "^POST database/rotate-root/nosuch",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST database/rotate-root/pg",
        Text,
        "why a database is not reached is said in our words",
    ),
    (
        "^POST database/reset/nosuch",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST database/reset/pg",
        Text,
        "why a database is not reached is said in our words",
    ),
    (
        "^POST rabbitmq/config/connection {\"connection_uri\":\"http://127.0.0.1:1\",\"username\":\"a\",\"password\":\"b\"}",
        Text,
        "why a broker is not reached is said in our words",
    ),
    (
        "{\"connection_uri\":\"nowhere\"",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "\"username_template\":\"{{wrong}}\"",
        Text,
        "what is wrong with a template is said in our words",
    ),
    (
        "{\\\"raed\\\":",
        Differs::Answer,
        "a misspelt permission is refused, not left out",
    ),
    (
        "^POST rabbitmq/roles/b {\"vhosts\":\"",
        Text,
        "where JSON is wrong is said in our words",
    ),
    (
        "^GET rabbitmq/creds/a",
        Text,
        "why a broker is not reached is said, not that a user was not made",
    ),
    (
        "/bind-secret-id",
        Differs::Answer,
        "as in Vault, whose clients call it",
    ),
    (
        "{\"bound_cidr_list\":\"\"}",
        Differs::Answer,
        "an empty list is one",
    ),
    (
        "^POST sys/namespaces/shut2 {\"seal\":\"seal \\\"awskms",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST sys/namespaces/shut2 {\"seal\":\"nonsense\"}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST sys/namespaces/shut2 {\"seal\":\"\"}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST sys/namespaces/shut/unseal {}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^GET sys/namespaces/nosuch/seal-status",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST sys/namespaces/nosuch/unseal",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^ns=shut/kid GET sys/mounts",
        Status,
        "what there is in a sealed namespace nobody can tell: 503, not 404",
    ),
    ("^ns=../root", Status, "a header that is no path of names is 400"),
    (
        "^ns=ns1/../ns1",
        Differs::Answer,
        "a header that is no path of names is 400, not made one",
    ),
    (
        "^ns=ns2 POST sys/capabilities",
        Differs::Answer,
        "a token of another namespace is not known by its id",
    ),
    (
        "^GET sys/in-flight-req",
        Differs::Answer,
        "requests have other numbers",
    ),
    (
        "{\"policy\":\"path {\"}",
        Text,
        "where a policy ends too early is counted in our way",
    ),
    (
        "{\"policy\":\"nosuch",
        Text,
        "an unknown key of a policy has its line",
    ),
    (
        "^POST sys/capabilities {\"paths\":[\"a\"]}",
        Status,
        "a wrong request is 400, never 500",
    ),
    ("_period\":\"-1\"", Text, "errors name the field, not the value"),
    ("_period\":-1", Text, "errors name the field, not the value"),
    ("_ttl\":-1", Text, "errors name the field, not the value"),
    (
        "\"token_bound_cidrs\":\"999.1.1.1/8\"",
        Differs::Answer,
        "what is no network is refused, not stored",
    ),
    (
        "^POST auth/people/users/none/password",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^token= POST auth/people/login/ada {}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^token= GET auth/people/login/ada",
        Text,
        "an error is laid out as a list of one, also without a token",
    ),
    (
        "^token= POST auth/people/login/a/b",
        Text,
        "an error is laid out as a list of one, also without a token",
    ),
    (
        "{\"increment\":\"2m\"}",
        Status,
        "a renewal that is refused is 400, never 500",
    ),
    (
        "^POST auth/approle/role/app2",
        Status,
        "a wrong request is 400, never 500",
    ),
    ("999.0.0.1/32", Status, "a wrong request is 400, never 500"),
    (
        "^POST auth/approle/role/none/secret-id/lookup",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^token= POST auth/approle/login {\"secret_id\":\"x\"}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^token= POST auth/approle/login {}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "custom-secret-id {\"secret_id\":\"abc\"}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "secret-id-accessor/destroy {\"secret_id_accessor\":\"nope\"}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "secret-id {\"cidr_list\":\"127.0.0.1/32\"}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "{\"local_secret_ids\":true,\"bind_secret_id\":false}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "\"bound_cidr_list\":\"1.2.3.4\"",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST auth/token/lookup {\"token\":\"$T1\"}",
        Differs::Answer,
        "a token tells its period, also if a role set it",
    ),
    (
        "{\"level\":\"loud\"}",
        Text,
        "errors name the field, not the value",
    ),
    (
        "^GET sys/loggers",
        Differs::Answer,
        "the voices of a log are each program's own",
    ),
    (
        "^GET sys/internal/counters/requests",
        Text,
        "an error is laid out as a list of one",
    ),
    (
        "^GET sys/config/state/sanitized",
        Differs::Answer,
        "settings are each program's own",
    ),
    (
        "^GET sys/internal/inspect/router/",
        Differs::Answer,
        "asked for without a switch in the configuration",
    ),
    (
        "^GET sys/internal/inspect/request",
        Differs::Answer,
        "engines see no headers, and a token is not said back",
    ),
    (
        "^POST sys/config/cors {}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST sys/config/cors {\"allowed_origins\":\"http://a.example,*\"}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "\"allowed_headers\":{\"a\":1}",
        Text,
        "errors name the field, not the value",
    ),
    (
        "^POST sys/config/ui/headers/Content-Length",
        Differs::Answer,
        "what says where an answer ends is no header of pages",
    ),
    (
        "^POST sys/config/ui/headers/X-One {\"values\":\"a\\nb\"}",
        Differs::Answer,
        "a value that no header can have is refused",
    ),
    (
        "^POST sys/config/ui/headers/x-one {\"values\":[\"a\",\"b\"]}",
        Differs::Answer,
        "an answer that says nothing is 204",
    ),
    (
        "^POST sys/config/ui/headers/X-Two",
        Differs::Answer,
        "an answer that says nothing is 204",
    ),
    ("sys/leases/tidy", Text, "there is nothing to tidy"),
    ("\"max_versions\":-1", Differs::Answer, "max_versions is bounded"),
    ("^POST sys/audit/nosuch", Status, "devices can be enabled by API"),
    (
        "^POST sys/rotate/root/init {\"secret_shares\":1,\"secret_threshold\":2}",
        Text,
        "the original prints a Go format error",
    ),
    (
        "^ns=shut POST sys/rotate/root/init {\"secret_shares\":0}",
        Text,
        "the original prints a Go format error",
    ),
    (
        "^POST sys/rotate/root/update {\"key\":\"$K1\",\"nonce\":\"bad\"}",
        Text,
        "a wrong nonce does not earn the right one",
    ),
    (
        "^POST sys/rotate/root/update {\"key\":\"$K1\",\"nonce\":\"$N\"}",
        Text,
        "a rotation is carried on by the node on which it began",
    ),
    (
        "^GET sys/rotate/root/verify",
        Text,
        "a rotation is carried on by the node on which it began",
    ),
    (
        "^POST sys/rotate/root/init {\"secret_shares\":2,\"secret_threshold\":2,\"pgp_keys\"",
        Text,
        "the original prints a Go format error",
    ),
    (
        "\"server_stabilization_time\":-5}",
        Text,
        "errors name the field, not the value",
    ),
    (
        "POST sys/rotate/root {}",
        Differs::Answer,
        "shares are of the root key itself: a new one comes with new shares",
    ),
    (
        "sys/rekey/init",
        Differs::Answer,
        "with a token, the old paths answer",
    ),
    (
        "^POST sys/generate-root-token/update {\"key\":\"$K1\",\"nonce\":\"bad\"}",
        Status,
        "a wrong nonce does not earn the right one",
    ),
    (
        "^POST sys/storage/raft/remove-peer {\"server_id\":\"nosuch\"}",
        Differs::Answer,
        "removing an unknown member is an error that names it",
    ),
    (
        "{\"server_id\":\"nosuch\"}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST sys/storage/raft/join",
        Differs::Answer,
        "a node that belongs to a cluster cannot join another",
    ),
    (
        "^token= POST sys/wrapping/lookup {}",
        Text,
        "who shows no token hears that it is not permitted",
    ),
    (
        "^token=$W2 GET cubbyhole/response",
        Text,
        "reading a wrapped answer where it lies is not warned of",
    ),
    (
        "\"type\":\"ed25519\",\"derived\":true,\"convergent_encryption\":true",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "\"type\":\"rsa-2048\",\"derived\":true",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST transit/keys/h/rotate",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^GET transit/backup/e",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^GET transit/backup/nosuch",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST transit/restore {\"backup\"",
        Status,
        "a wrong request is 400, never 500",
    ),
    ("[{\"x\":1}]", Status, "a wrong request is 400, never 500"),
    (
        "^POST transit/sign/de {\"input\":\"aGk=\"}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST transit/sign/e {\"input\":\"aGk=\",\"key_version\":9}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "\"salt_length\":\"500\"",
        Status,
        "a wrong request is 400, never 500",
    ),
    ("\"prehashed\":true", Status, "a wrong request is 400, never 500"),
    ("^POST transit/hmac/a/zz", Text, "an unknown algorithm is named"),
    (
        "{\"metadata\":{\"a b\":\"x\"}}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "{\"metadata\":{\"vault-a\":\"x\"}}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "{\"custom_metadata\":{\"\":\"x\"}}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "{\"name\":\"new\",\"member_",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST identity/group/id/$IDG {\"member_group_ids\":[\"$IDG\"]}",
        Status,
        "a wrong request is 400, never 500",
    ),
    ("^LIST identity/entity/id", Differs::Answer, "ids are random"),
    (
        "^LIST identity/entity-alias/id",
        Differs::Answer,
        "ids are random",
    ),
    ("^LIST identity/persona/id", Differs::Answer, "ids are random"),
    ("^LIST identity/group/id$", Differs::Answer, "ids are random"),
    ("^LIST identity/group-alias/id", Differs::Answer, "ids are random"),
    (
        "\"from_entity_ids\":[\"$IDA\"]}$",
        Text,
        "aliases that clash are told in the error's text alone",
    ),
    (
        "^GET identity/entity/id/$UNA$",
        Differs::Answer,
        "an alias that is not kept is gone",
    ),
    ("^GET ssh/config/ca", Differs::Answer, ONE_KEY),
    (
        "^GET ssh/public_key",
        Text,
        "that no key is there is said in Vault's words",
    ),
    (
        "^POST ssh/config/ca {\"key_type\":\"none\"}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST ssh/config/ca {\"key_type\":\"rsa\"",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^POST ssh/config/ca {\"key_type\":\"ed25519\"}",
        Differs::Answer,
        ONE_KEY,
    ),
    ("^POST ssh/roles/otp", Unbuilt, "passwords for one login"),
    (
        "\"algorithm_signer\":\"none\"",
        Status,
        "a wrong request is 400, never 500",
    ),
    ("_template\":true}", Unbuilt, "names of entities in roles"),
    ("^POST ssh/sign/b", Differs::Answer, ONE_KEY),
    ("^POST ssh/issue/b", Differs::Answer, ONE_KEY),
    ("^DELETE ssh/config/ca", Differs::Answer, ONE_KEY),
    ("identity/oidc/", Unbuilt, "tokens for others than the cluster"),
    (
        "identity/mfa/method/duo",
        Unbuilt,
        "second factors that another service checks",
    ),
    (
        "identity/mfa/method/okta",
        Unbuilt,
        "second factors that another service checks",
    ),
    (
        "identity/mfa/method/pingid",
        Unbuilt,
        "second factors that another service checks",
    ),
    (
        "\"qr_size\":-1",
        Differs::Answer,
        "a barcode of no size is refused, not stored",
    ),
    (
        "^POST identity/mfa/method/totp/00000000-0000-0000-0000-000000000000",
        Differs::Answer,
        "a method that is not there is not said to be changed",
    ),
    (
        "^POST identity/mfa/method/totp/$MFN {\"issuer\":\"b\",\"method_name\":\"phone\"}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "^DELETE identity/mfa/method/totp/$MFM",
        Status,
        "a wrong request is 400, never 500",
    ),
    ("^LIST identity/mfa/method", Differs::Answer, "ids are random"),
    (
        "^token= GET sys/mfa/validate",
        Text,
        "an error is laid out as a list of one, also without a token",
    ),
    (
        "[\"a=b\"]",
        Text,
        "what is shown for a second factor is not said back",
    ),
    (
        "^token= mfa=phone:000000 POST",
        Text,
        "why a second factor is refused is said",
    ),
    (
        "^token= mfa=nosuch:000000 POST",
        Text,
        "why a second factor is refused is said",
    ),
    (
        "^POST sys/storage/raft/snapshot {}",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "inline=auth/people/login/ada|password=\"new\" POST sys/capabilities-self",
        Differs::Answer,
        "what an inline login may do can be asked by one too",
    ),
    (
        "inline=auth/people/login/ada|!! GET nosuch/path",
        Status,
        "a wrong request is 400, never 500",
    ),
    (
        "inline=auth/people/login/ada GET nosuch/path",
        Status,
        "a wrong request is 400, never 500",
    ),
    ("^inline=", Status, "a wrong request is 400, never 500"),
];

const ONE_KEY: &str = "one key signs, and has no other names";
