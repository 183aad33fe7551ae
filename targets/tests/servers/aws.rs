//! AWS as it seldom is: clocks that are years away, refusals halfway, lists without end, answers that are none. What it is like
//! otherwise is tried with moto, in tests of clusters.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use conclave_engine_api::{Action, Done, Driver, Failure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::{LONG, Scene, hidden, run};

const DATE: &str = "Sun, 01 Jan 2040 00:00:00 GMT";
const OK: &str = "<Response><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></Response>";
const CREATE: &str = "iam Action=CreateUser&Version=2010-05-08&UserName=u";
const KEY: &str = "iam Action=CreateAccessKey&Version=2010-05-08&UserName=u";
const TAG: &str = "iam? Action=TagUser&Version=2010-05-08&UserName=u";
/// How long to wait for what never comes: short, and longer each time, for a loaded machine may not even have asked by then.
const SHORT: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(8),
];

/// A request as it came.
#[derive(Clone, Debug)]
struct Asked {
    /// In lower case, with the request line.
    head: String,
    body: String,
}

impl Asked {
    fn action(&self) -> &str {
        self.field("Action")
    }

    fn field(&self, name: &str) -> &str {
        let pairs = self.body.split('&').filter_map(|pair| pair.split_once('='));
        let mut found = pairs.filter(|(known, _)| *known == name);
        found.next().map_or("", |(_, value)| value)
    }
}

/// What it answers.
enum Answer {
    Http(u16, String),
    /// Whatever is no answer.
    Bytes(Vec<u8>),
    /// The connection ends.
    Close,
    /// Nothing comes.
    Silence,
}

fn ok() -> Answer {
    Answer::Http(200, OK.to_owned())
}

fn refusal(code: &str) -> Answer {
    let xml = format!(
        "<ErrorResponse><Error><Code>{code}</Code><Message>hunter2</Message></Error></ErrorResponse>"
    );
    Answer::Http(if code == "NoSuchEntity" { 404 } else { 403 }, xml)
}

type Answers = dyn Fn(&Asked, usize) -> Answer + Send + Sync;

/// A service that answers as it is told, and remembers what it was asked.
struct Service {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Service {
    async fn start(answers: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (known, answers): (_, Arc<Answers>) = (asked.clone(), Arc::new(answers));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, known.clone(), answers.clone()));
            }
        });
        Self { url, asked }
    }

    fn scene(&self) -> Scene {
        Scene::new(Driver::Aws, &reach(&self.url, "OLD"))
    }

    fn asked(&self) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        let posts = asked.iter().filter(|asked| asked.head.starts_with("post"));
        posts.cloned().collect()
    }

    fn actions(&self) -> Vec<String> {
        self.asked()
            .iter()
            .map(|asked| asked.action().to_owned())
            .collect()
    }
}

fn reach(url: &str, key: &str) -> String {
    format!(
        "{{\"access_key\":\"{key}\",\"secret_key\":\"secret\",\"iam_endpoint\":\"{url}\",\"iam_region\":\"us-east-1\",\
         \"sts_endpoint\":\"{url}\",\"sts_region\":\"us-east-1\"}}"
    )
}

async fn serve(stream: TcpStream, known: Arc<Mutex<Vec<Asked>>>, answers: Arc<Answers>) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            let line = line.to_ascii_lowercase();
            if let Some(found) = line.strip_prefix("content-length:") {
                length = found.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let body = String::from_utf8(body).unwrap();
        let asked = Asked { head, body };
        let number = {
            let mut known = known.lock().unwrap();
            known.push(asked.clone());
            known.len() - 1
        };
        let bytes = match answers(&asked, number) {
            Answer::Http(status, body) => {
                let headers = format!("Date: {DATE}\r\nLocation: http://127.0.0.1:1/\r\n");
                let length = body.len();
                // A HEAD has no body.
                let body = if asked.head.starts_with("head") {
                    String::new()
                } else {
                    body
                };
                format!("HTTP/1.1 {status} x\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
            }
            Answer::Bytes(bytes) => bytes,
            Answer::Close => return,
            Answer::Silence => std::future::pending().await,
        };
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

fn is_head(asked: &Asked) -> bool {
    asked.head.starts_with("head")
}

#[tokio::test]
async fn aws_tells_the_time_of_signatures() {
    let date = |year: u32| {
        let head =
            format!("HTTP/1.1 200 x\r\nDate: Thu, 03 Jan {year} 10:00:00 GMT\r\nContent-Length: 0\r\n\r\n");
        Answer::Bytes(head.replace("Thu, ", "").into_bytes())
    };
    let service = Service::start(move |asked, number| match (is_head(asked), number) {
        (true, 0) => date(2040),
        (true, _) => date(2041),
        // The second call: by now the clock there is another.
        (false, 2) => refusal("RequestTimeTooSkewed"),
        _ => ok(),
    })
    .await;
    let scene = service.scene();
    scene.check().await.unwrap();
    scene.check().await.unwrap();
    let times: Vec<String> = service
        .asked()
        .iter()
        .map(|asked| {
            let (_, time) = asked.head.split_once("x-amz-date: ").unwrap();
            time[..8].to_owned()
        })
        .collect();
    assert_eq!(times, ["20400103", "20400103", "20410103"]);
    assert!(
        service.asked()[0]
            .head
            .contains("credential=old/20400103/us-east-1/sts/aws4_request")
    );

    let mute =
        Service::start(|_, _| Answer::Bytes(b"HTTP/1.1 200 x\r\nContent-Length: 0\r\n\r\n".to_vec())).await;
    let failure = mute.scene().check().await.unwrap_err();
    assert_eq!(failure.done, Done::Nothing, "{failure}");
}

/// What is said of a run whose call of this action has this answer.
async fn run_with(action: &'static str, answer: fn() -> Answer) -> Failure {
    let service =
        Service::start(move |asked, _| if asked.action() == action { answer() } else { ok() }).await;
    if !matches!(answer(), Answer::Silence) {
        return service.scene().run(&[CREATE, TAG, KEY]).await.unwrap_err();
    }
    unanswered(&service, &[CREATE, TAG, KEY], action).await
}

/// What is said of a run whose call of this action is not answered, or not to its end.
async fn unanswered(service: &Service, calls: &[&str], action: &str) -> Failure {
    for within in SHORT {
        let failure = service.scene().act(run(calls), "s", within).await.unwrap_err();
        if service.actions().iter().any(|asked| asked == action) {
            return failure;
        }
    }
    panic!("{action} was never asked for");
}

#[tokio::test]
async fn aws_failures_say_what_was_done() {
    for (action, answer, done) in [
        (
            "CreateUser",
            (|| refusal("AccessDenied")) as fn() -> Answer,
            Done::Denied,
        ),
        ("CreateUser", || refusal("EntityAlreadyExists"), Done::There),
        ("CreateUser", || refusal("MalformedInput"), Done::Refused),
        (
            "CreateUser",
            || Answer::Http(503, "busy".to_owned()),
            Done::Unknown,
        ),
        ("CreateUser", || Answer::Close, Done::Unknown),
        ("CreateUser", || Answer::Silence, Done::Unknown),
        ("TagUser", || refusal("Throttling"), Done::Refused),
        ("CreateAccessKey", || refusal("AccessDenied"), Done::Refused),
        ("CreateAccessKey", || refusal("LimitExceeded"), Done::Refused),
        ("CreateAccessKey", || Answer::Close, Done::Unknown),
        ("CreateAccessKey", || Answer::Silence, Done::Unknown),
    ] {
        let failure = run_with(action, answer).await;
        assert_eq!(failure.done, done, "{action}: {failure}");
    }
    let failure = run_with("CreateUser", || refusal("SignatureDoesNotMatch")).await;
    assert!(
        failure.done == Done::Denied && !failure.text.contains("hunter2"),
        "what was signed is not repeated: {failure}"
    );
    // What may not be tagged is made all the same.
    let service = Service::start(|asked, _| match asked.action() {
        "TagUser" => refusal("AccessDenied"),
        _ => ok(),
    })
    .await;
    let told = service.scene().run(&[CREATE, TAG, KEY]).await.unwrap();
    assert_eq!(told, ["RequestId=r"]);
    assert_eq!(service.actions(), ["CreateUser", "TagUser", "CreateAccessKey"]);

    let nobody = Scene::new(Driver::Aws, &reach("http://127.0.0.1:1", "OLD"));
    assert_eq!(nobody.check().await.unwrap_err().done, Done::Nothing);
}

#[tokio::test]
async fn aws_answers_that_are_none() {
    let long = || Answer::Http(200, format!("<a><b>{}</b></a>", "x".repeat(5 * 1024 * 1024)));
    for (answer, says) in [
        (
            (|| Answer::Http(200, "hello".to_owned())) as fn() -> Answer,
            "cannot be read",
        ),
        (|| Answer::Http(200, String::new()), "cannot be read"),
        (|| Answer::Http(200, "<a><b>".to_owned()), "cannot be read"),
        (
            || {
                Answer::Http(
                    200,
                    "<!DOCTYPE x [<!ENTITY a \"b\">]><x><y>&a;</y></x>".to_owned(),
                )
            },
            "cannot be read",
        ),
        (|| Answer::Http(302, OK.to_owned()), "answers 302"),
        (|| Answer::Http(500, "<html>".to_owned()), "answers 500"),
        (long, "too long"),
        (|| Answer::Bytes(b"\0\0\0\0\r\n\r\n".to_vec()), ""),
        (
            || Answer::Bytes(b"HTTP/1.1 200 x\r\nContent-Length: 99\r\n\r\nhalf".to_vec()),
            "",
        ),
    ] {
        let service = Service::start(move |asked, _| if is_head(asked) { ok() } else { answer() }).await;
        let failure = match says {
            "" => unanswered(&service, &[CREATE], "CreateUser").await,
            _ => service.scene().run(&[CREATE]).await.unwrap_err(),
        };
        assert!(
            failure.text.contains(says) && failure.text.len() < 1024,
            "{says:?}: {failure}"
        );
        assert_ne!(failure.done, Done::Nothing, "{failure}");
    }
}

#[tokio::test]
async fn aws_knows_one_of_two_keys() {
    let service = Service::start(|asked, _| match asked.head.contains("credential=old/") {
        true => refusal("InvalidClientTokenId"),
        false => ok(),
    })
    .await;
    let mut scene = service.scene();
    assert_eq!(scene.check().await.unwrap_err().done, Done::Denied);
    scene.target.fallback = Some(hidden(&reach(&service.url, "NEW")));
    scene.check().await.unwrap();
}

#[tokio::test]
async fn aws_users_go_in_order() {
    let list = |leaf: &str, of: &str| {
        let xml =
            format!("<R><IsTruncated>false</IsTruncated><M><member><{leaf}>{of}</{leaf}></member></M></R>");
        Answer::Http(200, xml)
    };
    let service = Service::start(move |asked, number| match asked.action() {
        "ListAccessKeys" if asked.field("Marker").is_empty() => {
            let xml = "<R><M><member><AccessKeyId>K1</AccessKeyId></member></M><IsTruncated>true</IsTruncated><Marker>m</Marker></R>";
            Answer::Http(200, xml.to_owned())
        }
        "ListAccessKeys" => list("AccessKeyId", "K2"),
        "ListSSHPublicKeys" => list("SSHPublicKeyId", "S1"),
        "DeleteLoginProfile" | "ListMFADevices" => refusal("NoSuchEntity"),
        "ListAttachedUserPolicies" => list("PolicyArn", "arn:a"),
        "ListGroupsForUser" => list("GroupName", "g"),
        "ListUserPolicies" => Answer::Http(200, "<R><M><member>p</member></M></R>".to_owned()),
        // It had something that we did not give it.
        "DeleteUser" if number < 15 => refusal("DeleteConflict"),
        _ => ok(),
    })
    .await;
    service.scene().drop_account("u", &["young"], "").await.unwrap();
    let done: Vec<String> = service
        .actions()
        .into_iter()
        .filter(|action| !action.starts_with("List"))
        .collect();
    assert_eq!(
        done,
        [
            "DeleteAccessKey",
            "DeleteAccessKey",
            "DeleteLoginProfile",
            "DeleteUserPolicy",
            "DetachUserPolicy",
            "RemoveUserFromGroup",
            "DeleteUser",
            "DeleteSSHPublicKey",
            "DeleteUser"
        ]
    );

    // Nobody is there: gone, unless it was made just now.
    let empty = Service::start(|asked, _| {
        if is_head(asked) {
            ok()
        } else {
            refusal("NoSuchEntity")
        }
    })
    .await;
    empty.scene().drop_account("u", &[], "").await.unwrap();
    let failure = empty.scene().drop_account("u", &["young"], "").await.unwrap_err();
    assert_eq!(failure.done, Done::Refused);
    // Credentials that end by themselves: nobody is asked.
    let none = Scene::new(Driver::Aws, "");
    none.drop_account("", &[], "").await.unwrap();
}

#[tokio::test]
async fn aws_users_are_found_by_their_tag() {
    let service = Service::start(|asked, _| match (asked.action(), asked.field("UserName")) {
        ("ListUsers", _) => {
            let user = |name: &str| format!("<member><UserName>{name}</UserName></member>");
            let users = ["vault-ours", "vault-theirs", "vault-gone", "other"]
                .map(user)
                .concat();
            Answer::Http(200, format!("<R><M>{users}</M></R>"))
        }
        (_, "vault-gone") => refusal("NoSuchEntity"),
        (_, user) => {
            let mark = if user == "vault-ours" { "m" } else { "another" };
            let tag = format!("<member><Key>conclave-mount</Key><Value>{mark}</Value></member>");
            Answer::Http(
                200,
                format!("<R><Tags><member><Key>m</Key><Value>m</Value></member>{tag}</Tags></R>"),
            )
        }
    })
    .await;
    let list = Action::List {
        prefix: "vault-".to_owned(),
        mark: "m".to_owned(),
    };
    let found = service.scene().act(list, "s", LONG).await.unwrap();
    assert_eq!(found, ["vault-ours"]);

    let endless = Service::start(|_, _| {
        Answer::Http(
            200,
            "<R><IsTruncated>true</IsTruncated><Marker>m</Marker></R>".to_owned(),
        )
    })
    .await;
    let list = Action::List {
        prefix: String::new(),
        mark: "m".to_owned(),
    };
    let failure = endless.scene().act(list, "s", LONG).await.unwrap_err();
    assert!(failure.text.contains("does not end"), "{failure}");
}
