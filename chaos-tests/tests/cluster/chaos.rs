//! Clients over all nodes while everything that can go wrong does: connections, processes, disks, clocks, members, keys. Then
//! their histories must be explicable, what was acknowledged must be there, every answer must be on record, and all nodes must
//! hold the same. A run that could not have found anything fails too, and says so in other words than a finding.

mod checks;
mod clients;
mod faults;
mod key;
mod linear;
mod network;
mod page;
#[cfg(test)]
mod proofs;
mod record;
mod report;
mod settings;
mod watchers;

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::FutureExt;
use serde_json::{Value, json};

use crate::harness::{Api, Cluster, Lab, SOON, Seed, Tool, eventually};
use checks::audit::Trail;
use checks::keys::{self, Acknowledged};
use checks::metrics::Counters;
use checks::tokens::Tokens;
use checks::{FINDINGS, marks, watches};
use clients::Clients;
use faults::{Fault, Scene};
use network::Network;
use page::Told;
use report::{Report, Span};
use settings::Settings;
use watchers::Watchers;

/// Versions that a key keeps: more than a round writes.
const MAX_VERSIONS: u64 = 4000;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Groups of clients with connections of their own.
const GROUPS: usize = 4;
/// A slow network answers so many times fewer calls: all clients want the same few keys, one after the other.
const SLOWER: u64 = 4;
/// One fault in so many that allow it happens under a hindrance of the network.
const HINDERED: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_chaos() {
    let mut settings = Settings::of_environment();
    if settings.faults.iter().any(|fault| fault.needs_cables()) {
        match Lab::enter("chaos::cluster_chaos", settings.first) {
            Lab::Inside => {}
            Lab::Ran(ended) => return assert!(ended.success(), "the run ended above: {ended}"),
            Lab::Closed => settings.leave_out_cables(),
        }
    }
    let began = Instant::now();
    let mut report = Report::default();
    for number in 0..settings.seeds {
        let seed = settings.first.wrapping_add(number);
        eprintln!("seed {seed}: {}", settings.again(seed));
        let run = AssertUnwindSafe(run(&settings, seed, began, &mut report)).catch_unwind();
        if let Err(panic) = run.await {
            let why = said(&*panic);
            let verdict = format!("{} ({}): {why}", kind_of(&why), report.now);
            show(&settings, &report, began.elapsed(), &verdict, seed);
            std::panic::resume_unwind(Box::new(format!("{verdict}\nagain: {}", settings.again(seed))));
        }
    }
    show(
        &settings,
        &report,
        began.elapsed(),
        "nothing was found",
        settings.first,
    );
    if let Some(document) = &settings.record {
        record::add(document, &recorded(&settings, &report, began.elapsed()));
    }
}

/// A finding, a run that proves nothing, or a failure of the run itself.
fn kind_of(why: &str) -> &'static str {
    if FINDINGS.iter().any(|words| why.contains(words)) {
        "A FINDING"
    } else if why.contains("A POOR RUN") {
        "THE RUN PROVES NOTHING"
    } else {
        "HARNESS ERROR"
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "something that is no text".to_owned())
}

fn show(settings: &Settings, report: &Report, length: Duration, verdict: &str, seed: u64) {
    report.show();
    let again = settings.again(seed);
    let told = Told {
        report,
        length,
        verdict,
        again: &again,
        commit: &settings.commit,
    };
    std::fs::write(&settings.report, told.page()).expect("a page");
    eprintln!(
        "{} operations checked in {:.1} minutes, seeds {} to {}: {verdict}\npicture: {}",
        report.operations(),
        length.as_secs_f64() / 60.0,
        settings.first,
        seed,
        settings.report.display()
    );
}

fn recorded(settings: &Settings, report: &Report, length: Duration) -> record::Run {
    let date = std::process::Command::new("date")
        .args(["-u", "+%F"])
        .output()
        .expect("date runs");
    let last = settings.first.wrapping_add(settings.seeds - 1);
    record::Run {
        date: String::from_utf8_lossy(&date.stdout).trim().to_owned(),
        seeds: if settings.seeds == 1 {
            last.to_string()
        } else {
            format!("{} to {last}", settings.first)
        },
        minutes: length.as_secs_f64() / 60.0,
        nodes: settings.nodes,
        commit: settings.commit.clone(),
        operations: report.operations(),
        faults: report.faults(),
    }
}

/// One seed: a cluster for the faults that need cables, one for the others.
async fn run(settings: &Settings, seed: u64, began: Instant, report: &mut Report) {
    let start = Instant::now();
    let faults = settings.faults.iter().copied();
    let (cabled, carried): (Vec<Fault>, Vec<Fault>) = faults.partition(|fault| fault.needs_cables());
    let share = settings
        .each
        .mul_f64(cabled.len() as f64 / settings.faults.len() as f64);
    for (faults, until) in [(cabled, start + share), (carried, start + settings.each)] {
        if !faults.is_empty() {
            let stage = Stage::set(settings, &faults, seed, began).await;
            run_on(stage, settings, &faults, (seed, until), report).await;
        }
    }
    if settings.is_last(seed) {
        report.must_be_enough(&settings.faults);
    }
}

/// One cluster from its first start to its last check.
async fn run_on(
    mut stage: Stage,
    settings: &Settings,
    all: &[Fault],
    (seed, until): (u64, Instant),
    report: &mut Report,
) {
    let is_last = settings.is_last(seed);
    let mut journal = Vec::new();
    let mut faults = Vec::new();
    for round in 0.. {
        if faults.is_empty() {
            if round > 0 && Instant::now() >= until {
                break;
            }
            faults = stage.cluster.seed.shuffled(all);
            // Taken from the end: first what no cluster before this one has met.
            faults.sort_by_key(|fault| !report.has_fired(*fault));
        }
        // A long list of faults does not outlast the time: a seed is one of several, and all of them together must do all.
        let done = !is_last || faults.iter().all(|fault| report.has_fired(*fault));
        if settings.seeds > 1 && round > 0 && done && Instant::now() >= until {
            break;
        }
        let Some(fault) = faults.pop() else {
            panic!("no faults were asked for");
        };
        journal.extend(stage.round(round, fault, settings.enough, report).await);
    }
    "the end".clone_into(&mut report.now);
    keys::are_found_again(&stage.cluster.apis(), &journal, &mut stage.cluster.seed.split()).await;
    all_tell_one_digest(&mut stage.cluster).await;
    marks::are_hidden(&stage.cluster, &stage.mark);
    stage.cluster.assert_alive();
    stage.network.must_have_known(report);
}

/// A cluster with all that stands around it.
struct Stage {
    cluster: Cluster,
    network: Network,
    /// The way to each node, with the authority that vouches for it.
    doors: Vec<String>,
    ca: Vec<u8>,
    groups: Vec<Vec<Api>>,
    trail: Trail,
    counters: Counters,
    mark: String,
    began: Instant,
}

impl Stage {
    async fn set(settings: &Settings, faults: &[Fault], seed: u64, began: Instant) -> Self {
        let cabled = faults.iter().any(|fault| fault.needs_cables());
        let (mut cluster, mut network) = Network::with_cluster(cabled, settings.nodes, Seed::numbered(seed));
        let trail = Trail::kept_by(&cluster);
        let on_disks = faults.iter().any(|fault| fault.needs_disk());
        for node in &mut cluster.nodes {
            if on_disks {
                node.put_on_disk();
            }
            node.start().await;
        }
        cluster.form().await;
        let all = json!({"max_versions": MAX_VERSIONS});
        cluster.api(0).must("POST", "secret/config", all).await;
        let doors: Vec<String> = (0..settings.nodes)
            .map(|at| network.door(at, &cluster.nodes[at]))
            .collect();
        let ca = std::fs::read(cluster.ca()).expect("the authority");
        let group = |_| {
            let apis = doors
                .iter()
                .map(|door| Api::patient(door, &ca, PATIENCE).with_token(&cluster.root));
            apis.collect()
        };
        let groups = (0..GROUPS).map(group).collect();
        let mark = cluster.seed.text(24);
        Self {
            cluster,
            network,
            doors,
            ca,
            groups,
            trail,
            counters: Counters::default(),
            mark,
            began,
        }
    }

    /// New keys, one fault, and a check of all that was heard.
    async fn round(
        &mut self,
        round: usize,
        fault: Fault,
        enough: u64,
        report: &mut Report,
    ) -> Vec<Acknowledged> {
        let leader = self.cluster.leader().await;
        let directory = format!("round-{round}");
        let tokens = Tokens::made(&mut self.cluster).await;
        let watchers = Watchers::start(&self.doors, &self.ca, &self.cluster.root, &directory).await;
        let clients = Clients::start(
            directory.clone(),
            self.mark.clone(),
            self.groups.clone(),
            leader,
            self.began,
            &mut self.cluster.seed,
        );
        clients.go_on(enough).await;
        let under = self.hindrance(fault);
        let mut scene = Scene {
            cluster: &mut self.cluster,
            network: &self.network,
            clients: &clients,
            enough: if under.is_some() { enough / SLOWER } else { enough },
        };
        let from = self.began.elapsed();
        report.now = format!("round {round}, {}", named(fault, under));
        if let Some(under) = under {
            let other = scene.cluster.others(leader)[0];
            scene.hinder(under, leader, other);
        }
        let met = scene.strike(fault).await;
        scene.mend().await;
        let to = self.began.elapsed();
        clients.go_on(enough).await;
        let mut history = clients.finish().await;
        let heard = watchers.finish(&self.cluster.api(0)).await;
        let name = named(fault, under);
        eprintln!(
            "{:4} s  round {round}: {name}: {} calls, {:.1} s from fault to whole{}",
            self.began.elapsed().as_secs(),
            history.strokes.len(),
            (to - from).as_secs_f64(),
            if met { "" } else { "; IT MET NOTHING" }
        );
        if met {
            report.fired(fault);
        }
        report.spans.push(Span { name, from, to });
        report.told += watches::tell_everything(&heard, &history);
        self.check(&directory, &mut history, tokens, report).await
    }

    async fn check(
        &mut self,
        directory: &str,
        history: &mut clients::History,
        tokens: Tokens,
        report: &mut Report,
    ) -> Vec<Acknowledged> {
        report.count(history);
        keys::are_sensible(history);
        keys::versions_never_fall(history);
        let acknowledged = keys::kept_versions_are_given_once(directory, history);
        keys::are_explicable(history, report);
        report.recorded += self.trail.holds(directory, history);
        tokens.hold(&self.cluster).await;
        self.counters.look(&self.cluster).await;
        self.cluster.digests_agree().await;
        keys::metadata_agrees(&self.cluster.apis(), directory, &acknowledged).await;
        acknowledged
    }

    /// Whether something else goes wrong at the same time.
    fn hindrance(&mut self, fault: Fault) -> Option<Fault> {
        let seed = &mut self.cluster.seed;
        let hindered = seed.below(HINDERED) == 0;
        let under = Fault::UNDER[seed.below(Fault::UNDER.len())];
        (hindered && fault.may_be_hindered()).then_some(under)
    }
}

/// A fault and what it happens under.
fn named(fault: Fault, under: Option<Fault>) -> String {
    under.map_or(fault.name().to_owned(), |under| {
        format!("{} under {}", fault.name(), under.name())
    })
}

/// `conclave operator digest` of every node, one of them sealed: one revision, one digest.
async fn all_tell_one_digest(cluster: &mut Cluster) {
    let nodes = cluster.nodes.len();
    let sealed = cluster.seed.below(nodes);
    cluster.nodes[sealed].kill();
    cluster.nodes[sealed].start().await;
    cluster.digests_agree().await;
    // The cluster's own jobs may write between two questions.
    let told = eventually("all tell of one revision", SOON, async || {
        let mut told = Vec::new();
        for at in 0..nodes {
            let operations = format!("-operations={}", cluster.nodes[at].operations);
            let tool = Tool::conclave(cluster, &[at]);
            let said = tool
                .must(&["operator", "digest", &operations, "-format=json"])
                .await;
            told.push(serde_json::from_str::<Value>(&said).expect("JSON"));
        }
        let same = told
            .iter()
            .all(|digest| digest["revision"] == told[0]["revision"]);
        if same { Ok(told) } else { Err(told) }
    })
    .await;
    assert!(cluster.nodes[sealed].is_sealed().await, "nobody gave it shares");
    assert!(told.iter().all(|digest| *digest == told[0]), "DIVERGED: {told:?}");
    eprintln!("digest, node{} sealed: {}", sealed + 1, told[0]);
}
