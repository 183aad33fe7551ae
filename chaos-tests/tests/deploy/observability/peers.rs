//! The real Prometheus and Alertmanager of Debian, and whom they page: processes with settings of the tree, made faster.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{SOON, eventually, ports};
use crate::shell::{read, root};

/// Most bytes of one page: far above what Alertmanager sends.
const MAX_PAGE: usize = 1 << 20;

/// So many seconds a trouble lasts before it is told of: longer than an election, or than a scrape that a busy machine lets fail.
const LASTS: u64 = 5;

/// Who is paged: the receiver's name and the alert's, in the order in which they came.
#[derive(Clone, Default)]
pub struct Pages(Arc<Mutex<Vec<(String, String)>>>);

impl Pages {
    /// Listens for what Alertmanager sends; the port.
    pub async fn listen(&self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let pages = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pages.clone().take(stream));
            }
        });
        port
    }

    async fn take(self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut taken = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let read = stream.read(&mut piece).await?;
            if read == 0 || taken.len() > MAX_PAGE {
                return Ok(());
            }
            taken.extend_from_slice(&piece[..read]);
            let Some(length) = self.whole(&taken) else {
                continue;
            };
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await?;
            taken.drain(..length);
        }
    }

    /// Notes the first request of `taken` once all of it is there; its length.
    fn whole(&self, taken: &[u8]) -> Option<usize> {
        let end = taken.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&taken[..end]).to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))?;
        let length: usize = length.trim().parse().expect("a length");
        let body = taken.get(end..end + length)?;
        let page: Value = serde_json::from_slice(body).expect("JSON");
        let receiver = page["receiver"].as_str().expect("a receiver");
        let mut pages = self.0.lock().expect("nobody panics here");
        for alert in page["alerts"].as_array().expect("alerts") {
            if alert["status"] == "firing" {
                let name = alert["labels"]["alertname"].as_str().expect("a name");
                pages.push((receiver.to_owned(), name.to_owned()));
            }
        }
        Some(end + length)
    }

    /// Waits until `receiver` was paged for this alert.
    pub async fn paged(&self, receiver: &str, alert: &str) {
        let what = format!("{receiver} is paged for {alert}");
        eventually(&what, SOON * 2, async || {
            let pages = self.all();
            let came = pages.iter().any(|(who, what)| who == receiver && what == alert);
            if came { Ok(()) } else { Err(pages) }
        })
        .await;
    }

    /// Everybody who was paged so far, and for which alert.
    pub fn all(&self) -> Vec<(String, String)> {
        self.0.lock().expect("nobody panics here").clone()
    }

    /// Whether anybody was paged for this alert.
    pub fn knows(&self, alert: &str) -> bool {
        self.all().iter().any(|(_, what)| what == alert)
    }
}

/// A Prometheus that scrapes these targets, and the Alertmanager it tells. Both end with this value.
pub struct Peers {
    processes: Vec<Child>,
    /// URL of Prometheus.
    url: String,
    http: reqwest::Client,
}

impl Peers {
    /// Starts both in `folder` with the rules and routes of the tree, to scrape these targets by job. What waits there for
    /// minutes waits seconds here, and pages go to `port`.
    pub fn start(folder: &Path, jobs: &[(&str, Vec<String>)], port: u16) -> Self {
        let own = ports::free(2);
        let rules = folder.join("rules");
        std::fs::create_dir_all(&rules).expect("a folder");
        for name in ["recording.yml", "alerts.yml"] {
            let text = read(&format!("deploy/observability/rules/{name}"));
            std::fs::write(rules.join(name), quick(&text, "for: ", LASTS)).expect("a file");
        }
        let routes = read("deploy/observability/alertmanager.yml").replace(":9095/", &format!(":{port}/"));
        let routes = quick(&quick(&routes, "group_wait: ", 1), "group_interval: ", 1);
        std::fs::write(folder.join("alertmanager.yml"), routes).expect("a file");
        let settings = read("deploy/observability/prometheus.yml")
            .replace("15s", "1s")
            .replace("127.0.0.1:9093", &format!("127.0.0.1:{}", own[1]));
        let (settings, _) = settings.split_once("scrape_configs:\n").expect("jobs");
        let job = |(name, targets): &(&str, Vec<String>)| {
            format!("  - job_name: {name}\n    static_configs:\n      - targets: {targets:?}\n")
        };
        let jobs: String = jobs.iter().map(job).collect();
        let settings = format!("{settings}scrape_configs:\n{jobs}");
        std::fs::write(folder.join("prometheus.yml"), settings).expect("a file");
        let listen = |port: u16| format!("--web.listen-address=127.0.0.1:{port}");
        let at = |name: &str| folder.join(name).display().to_string();
        let prometheus = [
            format!("--config.file={}", at("prometheus.yml")),
            format!("--storage.tsdb.path={}", at("tsdb")),
            listen(own[0]),
            "--log.level=warn".to_owned(),
        ];
        let alertmanager = [
            format!("--config.file={}", at("alertmanager.yml")),
            format!("--storage.path={}", at("alerts")),
            "--cluster.listen-address=".to_owned(),
            listen(own[1]),
            "--log.level=warn".to_owned(),
        ];
        // It may be installed already: all of this process use the same one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Self {
            processes: vec![
                begin(folder, "prometheus", &prometheus),
                begin(folder, "prometheus-alertmanager", &alertmanager),
            ],
            url: format!("http://127.0.0.1:{}", own[0]),
            http: reqwest::Client::builder()
                .no_proxy()
                .build()
                .expect("an HTTP client"),
        }
    }

    /// What Prometheus answers to a query, now: values, or why there are none.
    pub async fn ask(&self, query: &str) -> Result<Vec<f64>, String> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let url = format!("{}/api/v1/query?query={encoded}", self.url);
        let response = self.http.get(url).send().await;
        let response = response.map_err(|error| error.to_string())?;
        let answer: Value = response.json().await.map_err(|error| error.to_string())?;
        let found = answer["data"]["result"].as_array();
        let found = found.ok_or_else(|| format!("{query}: {answer}"))?;
        let value = |one: &Value| one["value"][1].as_str().and_then(|text| text.parse().ok());
        let values: Vec<f64> = found.iter().filter_map(value).collect();
        match values.iter().all(|value| value.is_finite()) && !values.is_empty() {
            true => Ok(values),
            false => Err(format!("{query}: {answer}")),
        }
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // It may have ended already; nothing is left to do in either case.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Every time after `key` is so many seconds.
fn quick(text: &str, key: &str, seconds: u64) -> String {
    let quick = |line: &str| match line.split_once(key) {
        Some((before, _)) if before.trim().is_empty() => format!("{before}{key}{seconds}s\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(quick).collect()
}

fn begin(folder: &Path, program: &str, arguments: &[String]) -> Child {
    let log = std::fs::File::create(folder.join(format!("{program}.log"))).expect("a log");
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", program])
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("setpriv (of util-linux) starts")
}

/// Serves what `page` makes of the number of the scrape; where.
pub async fn exporter(page: fn(u64) -> String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        for number in 1.. {
            let Ok((mut stream, _)) = listener.accept().await else {
                return;
            };
            let mut head = [0; 4096];
            // A scrape's head is one piece; one that breaks off is followed by another.
            let _ = stream.read(&mut head).await;
            let page = page(number);
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
                page.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}
