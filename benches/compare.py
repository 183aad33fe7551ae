#!/usr/bin/env python3
"""Compares a three-node Conclave with a three-node OpenBao on this machine: TLS, file audit and fsync on both sides, rounds
in turn, medians and their ratio; then how often each process syncs while it writes, memory, reads under a flood of logins, and
the time from kill -9 of the leader to the first acknowledged write.
Usage: compare.py --conclave BIN --load BIN [--bao BIN] [--rounds 5] [--seconds 4] [--only kv,logins,...]."""

import argparse, json, os, re, shutil, signal, ssl, statistics, subprocess, sys, tempfile, time, urllib.request

import audit
import leases

ZONES = ["a", "b", "c"]
# Parts that --only chooses from. Work, connections, node, protocol. The other side speaks HTTP only.
PARTS = {
    "kv": [
        ("put", 16, "leader", "http"),
        ("put", 64, "leader", "http"),
        ("get", 64, "leader", "http"),
        ("get", 64, "follower", "http"),
        ("mixed", 64, "leader", "http"),
        ("token", 16, "leader", "http"),
        ("put", 64, "leader", "grpc"),
        ("get", 64, "leader", "grpc"),
    ],
    "logins": [("approle", 16, "leader", "http"), ("userpass", 16, "leader", "http")],
    "tokens": [("lookup", 16, "leader", "http"), ("revoke", 16, "leader", "http")],
    "transit": [("encrypt", 16, "leader", "http"), ("sign", 16, "leader", "http")],
    "wrapped": [("wrapped", 16, "leader", "http")],
    "list": [("list", 4, "leader", "http")],
    "policies": [("guarded", 16, "leader", "http")],
    # Reads beside a flood of logins by password, against the same reads alone: a table of its own.
    "flood": [],
    # Reads with detection of unusual access on and off, and how long /metrics takes: a table of its own.
    "watch": [],
    # Reads without audit, with a file and with a synced spool: a table of its own.
    "audit": [],
    # Syncs a second and failovers.
    "disk": [],
    "failover": [],
}
READS = ("get", "guarded", "lookup", "encrypt", "sign", "list")
FOLDER = 10_000
POLICIES, RULES = 500, 50
PASSWORD = "a password for measurements"
TICKS = os.sysconf("SC_CLK_TCK")


def call(url, ca, method="GET", token=None, body=None):
    request = urllib.request.Request(url, method=method, data=json.dumps(body).encode() if body is not None else None)
    if token:
        request.add_header("X-Vault-Token", token)
    context = ssl.create_default_context(cafile=ca)
    try:
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else {}
    except urllib.error.HTTPError as error:
        text = error.read()
        return error.code, json.loads(text) if text else {}


def until(what, condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if condition():
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"error: {what} did not happen within {seconds} s")


class Cluster:
    """Three nodes of one kind."""

    def __init__(self, name, binary, root, tls, base):
        self.name, self.binary, self.tls, self.base = name, binary, tls, base
        self.root = os.path.join(root, name)
        self.processes = []
        self.ca = os.path.join(tls, "ca.pem")

    def api(self, node):
        return f"https://127.0.0.1:{self.base + 10 * node}"

    def config(self, node):
        port, data = self.base + 10 * node, os.path.join(self.root, f"node{node}")
        os.makedirs(data, mode=0o700)
        listener = f'listener "tcp" {{ address = "127.0.0.1:{port}" cluster_address = "127.0.0.1:{port + 1}" tls_cert_file = "{self.tls}/node.pem" tls_key_file = "{self.tls}/node-key.pem" }}\n'
        top = f'api_addr = "https://127.0.0.1:{port}"\ncluster_addr = "https://127.0.0.1:{port + 1}"\n'
        if self.name == "bao":
            others = [] if node == 0 else [other for other in range(3) if other != node]
            join = "".join(f'retry_join {{ leader_api_addr = "{self.api(other)}" leader_ca_cert_file = "{self.ca}" }}\n' for other in others)
            storage = f'storage "raft" {{ path = "{data}" node_id = "node{node}"\n{join} }}\n'
            # The same on all nodes: one that disagrees with the leader's refuses to become active.
            extra = f'audit "file" "file" {{ options = {{ file_path = "{self.root}/audit.log" }} }}\n'
        else:
            storage = f'storage "raft" {{ path = "{data}" node_id = "node{node}" }}\n'
            extra = f'zone = "{ZONES[node]}"\noperations_address = "127.0.0.1:{port + 2}"\naudit_directories = ["{self.root}"]\naudit_targets = ["*"]\nlog_level = "warn"\n'
        path = os.path.join(self.root, f"node{node}.hcl")
        with open(path, "w") as file:
            file.write(top + listener + storage + extra)
        return path

    def start_node(self, node, path):
        log = open(os.path.join(self.root, f"node{node}.log"), "ab")
        process = subprocess.Popen([self.binary, "server", f"-config={path}"], stdout=log, stderr=log)
        if node < len(self.processes):
            self.processes[node] = process
        else:
            self.processes.append(process)

    def start(self):
        os.makedirs(self.root)
        paths = [self.config(node) for node in range(3)]
        self.start_node(0, paths[0])
        until("the first node's answer", lambda: call(f"{self.api(0)}/v1/sys/seal-status", self.ca))
        status, born = call(f"{self.api(0)}/v1/sys/init", self.ca, "PUT", body={"secret_shares": 1, "secret_threshold": 1})
        assert status == 200, born
        self.token, self.share = born["root_token"], born["keys_base64"][0]
        self.unseal(0)
        until("a leader", lambda: call(f"{self.api(0)}/v1/sys/health", self.ca)[0] == 200)
        for node in (1, 2):
            self.start_node(node, paths[node])
            until("a node's answer", lambda: call(f"{self.api(node)}/v1/sys/seal-status", self.ca))
            if self.name != "bao":
                _, made = call(f"{self.api(0)}/v1/sys/storage/raft/join-token", self.ca, "POST", self.token, {})
                body = {"leader_api_addr": self.api(0), "leader_ca_cert": open(self.ca).read(), "join_token": made["data"]["join_token"]}
                status, joined = call(f"{self.api(node)}/v1/sys/storage/raft/join", self.ca, "POST", body=body)
                assert status == 200, joined
            until("a joined node", lambda: call(f"{self.api(node)}/v1/sys/seal-status", self.ca)[1].get("initialized"))
            until("an unsealed node", lambda: self.unseal(node))
        until("three voters", lambda: sum(s["voter"] for s in self.peers()) == 3)
        status, answer = call(f"{self.api(0)}/v1/sys/mounts/secret", self.ca, "POST", self.token, {"type": "kv", "options": {"version": "2"}})
        assert status == 204, answer
        if self.name != "bao":
            for_all = {"type": "file", "options": {"file_path": f"{self.root}/audit.log"}}
            status, answer = call(f"{self.api(0)}/v1/sys/audit/file", self.ca, "POST", self.token, for_all)
            assert status == 204, answer

    def peers(self):
        return call(f"{self.api(0)}/v1/sys/storage/raft/configuration", self.ca, token=self.token)[1]["data"]["config"]["servers"]

    def unseal(self, node):
        return not call(f"{self.api(node)}/v1/sys/unseal", self.ca, "PUT", body={"key": self.share})[1].get("sealed", True)

    def leader(self):
        for node in range(3):
            if call(f"{self.api(node)}/v1/sys/leader", self.ca)[1].get("is_self"):
                return node
        raise SystemExit("error: no leader")

    def resident_mib(self):
        """Of each node."""
        def rss(pid):
            with open(f"/proc/{pid}/status") as file:
                return next(int(line.split()[1]) // 1024 for line in file if line.startswith("VmRSS"))
        return [rss(process.pid) for process in self.processes]

    def cpu_seconds(self):
        """User and system time of all nodes together."""
        def spent(pid):
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / TICKS
        return sum(spent(process.pid) for process in self.processes)

    def syncs_per_second(self, work):
        """How often each process syncs while `work` runs, and what `work` returned."""
        logs = [os.path.join(self.root, f"strace{node}") for node in range(3)]
        traced = ["strace", "-f", "-c", "-e", "trace=fsync,fdatasync,sync_file_range", "-p"]
        tracers = [subprocess.Popen([*traced, str(process.pid), "-o", log], stderr=subprocess.DEVNULL) for process, log in zip(self.processes, logs)]
        time.sleep(1)
        began = time.monotonic()
        result = work()
        for tracer in tracers:
            tracer.send_signal(signal.SIGINT)
        seconds = time.monotonic() - began
        for tracer in tracers:
            tracer.wait()

        def calls(log):
            with open(log) as file:
                rows = [line.split() for line in file if re.search(r" f(data)?sync$", line)]
            return sum(int(row[3]) for row in rows)
        return [calls(log) / seconds for log in logs], result

    def failover_seconds(self):
        """From kill -9 of the leader to the first acknowledged write through either of the others."""
        leader = self.leader()
        others = [self.api((leader + step) % 3) for step in (1, 2)]

        def written():
            body = {"data": {"k": "v"}}
            return any(self.answers(f"{other}/v1/secret/data/failover", body) for other in others)

        began = time.monotonic()
        self.processes[leader].kill()
        self.processes[leader].wait()
        until(f"a write to {self.name}", written, 120)
        seconds = time.monotonic() - began
        self.start_node(leader, os.path.join(self.root, f"node{leader}.hcl"))
        until("a restarted node's answer", lambda: call(f"{self.api(leader)}/v1/sys/seal-status", self.ca))
        until("its unseal", lambda: self.unseal(leader))
        until("its health", lambda: call(f"{self.api(leader)}/v1/sys/health?standbyok=true", self.ca)[0] == 200)
        return seconds

    def answers(self, url, body):
        try:
            return call(url, self.ca, "POST", self.token, body)[0] == 200
        except OSError:
            return False

    def must(self, method, path, body=None):
        status, answer = call(f"{self.api(self.leader())}/v1/{path}", self.ca, method, self.token, body)
        assert status in (200, 204), (self.name, path, status, answer)
        return answer

    def prepare(self, options, parts):
        """What the works of these parts need to be there."""
        self.flags, self.secrets, self.guarded = [], {}, None
        if {"logins", "flood"} & parts:
            self.must("POST", "sys/auth/approle", {"type": "approle"})
            self.must("POST", "sys/auth/userpass", {"type": "userpass"})
            self.must("POST", "auth/approle/role/load", {"token_policies": "default", "token_ttl": "1h"})
            self.flags += ["--role-id", self.must("GET", "auth/approle/role/load/role-id")["data"]["role_id"]]
            self.secrets["LOAD_SECRET_ID"] = self.must("POST", "auth/approle/role/load/secret-id", {})["data"]["secret_id"]
            self.secrets["LOAD_PASSWORD"] = PASSWORD
            for who in range(16):
                self.must("POST", f"auth/userpass/users/load-{who}", {"password": PASSWORD, "token_policies": "default", "token_ttl": "1h"})
        if "transit" in parts:
            self.must("POST", "sys/mounts/transit", {"type": "transit"})
            self.must("POST", "transit/keys/load", {})
            self.must("POST", "transit/keys/sign", {"type": "ed25519"})
        if "list" in parts:
            self.must("POST", "sys/mounts/lists", {"type": "kv", "options": {"version": "2"}})
            load(options, self, ("list", 4, "leader", "http"), seconds=1, prepared=False)
        if "policies" in parts:
            for policy in range(POLICIES):
                rules = "".join(f'path "secret/data/team-{policy}/part-{rule}/*" {{ capabilities = ["read", "update"] }}\n' for rule in range(RULES))
                rules += 'path "secret/data/load/*" { capabilities = ["read"] }\n' if policy == POLICIES - 1 else ""
                self.must("PUT", f"sys/policies/acl/load-{policy}", {"policy": rules})
            names = [f"load-{policy}" for policy in range(POLICIES)]
            self.guarded = self.must("POST", "auth/token/create", {"policies": names, "ttl": "2h"})["auth"]["client_token"]

    def stop(self):
        for process in self.processes:
            process.send_signal(signal.SIGKILL)
            process.wait()


def command(options, cluster, row, seconds, prepared):
    """The load generator's command line and environment."""
    work, connections, where, protocol = row
    leader = cluster.leader()
    node = leader if where == "leader" else (leader + 1) % 3
    words = [options.load, "get" if work == "guarded" else work, "--address", cluster.api(node), "--ca-cert", cluster.ca, *cluster.flags]
    words += ["--connections", str(connections), "--protocol", protocol, "--seconds", str(seconds)] + (["--prepared"] if prepared else [])
    words += ["--mount", "lists", "--keys", str(FOLDER)] if work == "list" else []
    token = cluster.guarded if work == "guarded" else cluster.token
    return words, {**os.environ, **cluster.secrets, "LOAD_TOKEN": token}


def load(options, cluster, row, seconds=None, prepared=True):
    """Runs the load generator; adds what a request cost all nodes together in microseconds of processor time."""
    words, environment = command(options, cluster, row, seconds or options.seconds, prepared)
    before = cluster.cpu_seconds()
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: {cluster.name} {row[0]}: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    # The warm-up of one second is in the processor time, so it has to be in the number of requests too.
    requests = result["requests"] * (1 + 1 / (seconds or options.seconds))
    result["cpu_us"] = (cluster.cpu_seconds() - before) * 1e6 / max(requests, 1)
    return result


def flood(options, clusters):
    """Prints the 99th percentile of reads alone and beside a flood of logins by password, round by round in turn."""
    reads, logins = ("get", 4, "leader", "http"), ("userpass", 32, "leader", "http")
    seen = {cluster.name: [] for cluster in clusters}
    for number in range(options.rounds):
        for cluster in clusters if number % 2 == 0 else reversed(clusters):
            alone = load(options, cluster, reads)
            # It begins before the reads do and ends after them.
            words, environment = command(options, cluster, logins, options.seconds + 3, True)
            beside = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            time.sleep(1)
            flooded = load(options, cluster, reads)
            told, complaint = beside.communicate()
            if beside.returncode:
                raise SystemExit(f"error: {cluster.name} flood: {complaint.strip()}")
            seen[cluster.name].append((alone["p99_ms"], flooded["p99_ms"], flooded["per_second"], json.loads(told)["per_second"]))
    for name, results in seen.items():
        alone, flooded, rate, floods = (statistics.median(column) for column in zip(*results))
        print(f"p99 of get x4, {name}: {alone:.1f} ms alone, {flooded:.1f} ms beside userpass x32 ({flooded / max(alone, 0.1):.1f} times), {rate:.0f} reads/s and {floods:.0f} logins/s")


def scrapes(cluster, times=50):
    """Prints how long the leader takes to tell its numbers after all that was asked of it, and how many there are."""
    port, took = cluster.base + 10 * cluster.leader() + 2, []
    for _ in range(times):
        begun = time.perf_counter()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            page = answer.read().decode()
        took.append((time.perf_counter() - begun) * 1000)
    series = sum(1 for line in page.splitlines() if line and not line.startswith("#"))
    print(f"/metrics of the leader: {series} series (may be 5000), median {statistics.median(took):.1f} ms, longest of {times} {max(took):.1f} ms (may be 20)")


def watch(options, cluster):
    """Prints what detection of unusual access costs reads, round by round in turn."""
    row, seen = ("get", 64, "leader", "http"), {True: [], False: []}
    for number in range(options.rounds):
        for on in (True, False) if number % 2 == 0 else (False, True):
            cluster.must("POST", "sys/anomaly/config", {"enabled": on})
            seen[on].append(load(options, cluster, row))
    rate, cpu = ({on: statistics.median(result[key] for result in results) for on, results in seen.items()} for key in ("per_second", "cpu_us"))
    print(f"get x64 with detection {rate[True]:.0f}/s at {cpu[True]:.1f} us, without {rate[False]:.0f}/s at {cpu[False]:.1f} us: {100 * (1 - rate[True] / rate[False]):.1f} % slower (may be 3), {100 * (cpu[True] / cpu[False] - 1):.1f} % more processor time")


def title(row):
    return f"{row[0]} x{row[1]} {row[2]}" + ("" if row[3] == "http" else f" {row[3]}")


def rounds(options, clusters, rows):
    """All results by cluster and row."""
    speaks = lambda cluster, row: row[3] == "http" or cluster.name == "conclave"
    seen = {(c.name, row): [] for c in clusters for row in rows if speaks(c, row)}
    for number in range(options.rounds):
        for row in rows:
            # Who goes first alternates, so that a machine that warms up or slows down favours neither.
            for cluster in clusters if number % 2 == 0 else reversed(clusters):
                if not speaks(cluster, row):
                    continue
                result = load(options, cluster, row)
                seen[(cluster.name, row)].append(result)
                print(f"round {number + 1} {cluster.name:9} {title(row)}: {result['per_second']:.0f}/s, errors {result['errors']}", file=sys.stderr)
    return seen


def report(seen, rows, invalid):
    head = ["work", "bao/s", "conclave/s", "ratio", "bao p99 ms", "conclave p99 ms", "bao cpu us", "conclave cpu us", "errors"]
    print("{:26} {:>9} {:>11} {:>6} {:>11} {:>16} {:>11} {:>16} {:>7}".format(*head))
    for row in rows:
        def median(name, key):
            results = seen.get((name, row))
            return statistics.median(result[key] for result in results) if results else None
        shown = lambda value, digits: "-" if value is None else f"{value:.{digits}f}"
        theirs, ours = median("bao", "per_second"), median("conclave", "per_second")
        ratio = None if theirs is None else ours / max(theirs, 1)
        errors = sum(result["errors"] for (_, other), results in seen.items() if other == row for result in results)
        mark = " INVALID: " + " and ".join(invalid) + " did not sync" if invalid and row[0] not in READS else ""
        cells = [shown(theirs, 0), shown(ours, 0), shown(ratio, 1)]
        cells += [shown(median(name, key), digits) for key, digits in (("p99_ms", 1), ("cpu_us", 0)) for name in ("bao", "conclave")]
        print("{:26} {:>9} {:>11} {:>6} {:>11} {:>16} {:>11} {:>16} {:>7}".format(title(row), *cells, errors) + mark)


def count_syncs(options, clusters):
    """Prints how often each process syncs under writes; names the clusters of which fewer than two processes do."""
    if shutil.which("strace") is None:
        print("syncs per second: not counted, strace is not installed")
        return []
    invalid = []
    for cluster in clusters:
        rates, result = cluster.syncs_per_second(lambda: load(options, cluster, ("put", 64, "leader", "http"), seconds=3))
        if sum(rate > 1 for rate in rates) < 2:
            invalid.append(cluster.name)
        print(f"fsync and fdatasync per second and process, {cluster.name}, at {result['per_second']:.0f} writes/s (traced, so slower): {[round(rate) for rate in rates]}")
    return invalid


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conclave", required=True)
    parser.add_argument("--load", required=True)
    parser.add_argument("--bao", default=shutil.which("bao"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas: " + ", ".join(PARTS) + "; or leases, alone")
    parser.add_argument("--failovers", type=int, default=10)
    parser.add_argument("--bao-failovers", type=int, default=3)
    leases.add_options(parser)
    options = parser.parse_args()
    if options.bao is None:
        raise SystemExit("error: no bao on PATH: name one with --bao")
    parts = set(options.only.split(","))
    if not parts <= PARTS.keys() and parts != {"leases"}:
        raise SystemExit(f"error: unknown parts: {', '.join(sorted(parts - PARTS.keys()))}")
    rows = [row for part, rows in PARTS.items() if part in parts for row in rows]
    root = tempfile.mkdtemp(prefix="conclave-bench-")
    tls = os.path.join(root, "tls")
    subprocess.run([options.conclave, "operator", "tls", "create-ca", "-dir", tls], check=True, capture_output=True)
    subprocess.run([options.conclave, "operator", "tls", "create-cert", "-ca-dir", tls, "-out", tls, "-name", "node", "-san", "127.0.0.1"], check=True, capture_output=True)
    if parts == {"leases"}:
        try:
            leases.run(options, lambda name, binary, base: Cluster(name, binary, root, tls, base))
        finally:
            shutil.rmtree(root, ignore_errors=True)
        return
    clusters = [Cluster("bao", options.bao, root, tls, 21200), Cluster("conclave", options.conclave, root, tls, 22200)]
    try:
        for cluster in clusters:
            cluster.start()
            cluster.prepare(options, parts)
            load(options, cluster, ("get", 16, "leader", "http"), seconds=1, prepared=False)
        print("resident MiB of each node before the load: " + ", ".join(f"{c.name} {c.resident_mib()}" for c in clusters))
        seen = rounds(options, clusters, rows)
        resident = {c.name: c.resident_mib() for c in clusters}
        invalid = count_syncs(options, clusters) if "disk" in parts else []
        report(seen, rows, invalid)
        ratio = max(resident["conclave"]) / max(resident["bao"])
        print("resident MiB of each node after the load: " + ", ".join(f"{name} {nodes}" for name, nodes in resident.items()) + f", largest to largest {ratio:.2f}")
        if "flood" in parts:
            flood(options, clusters)
        if "watch" in parts:
            watch(options, clusters[1])
            scrapes(clusters[1])
        if "audit" in parts:
            audit.run(options, *clusters, call, load)
        if "failover" not in parts:
            options.bao_failovers = options.failovers = 0
        for cluster, times in zip(clusters, (options.bao_failovers, options.failovers)):
            seconds = [cluster.failover_seconds() for _ in range(times)]
            if seconds:
                print(f"kill -9 of the leader to the first write, {cluster.name}: median {statistics.median(seconds):.1f} s, all {[round(t, 1) for t in seconds]}")
    finally:
        for cluster in clusters:
            cluster.stop()
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
