#!/usr/bin/env python3
"""Compares a three-node Conclave with a three-node OpenBao on this machine: TLS, file audit and fsync on both sides, rounds
in turn, medians and their ratio. Usage: compare.py --conclave BIN --load BIN [--bao BIN] [--rounds 5] [--seconds 4]."""

import argparse, json, os, shutil, signal, ssl, statistics, subprocess, sys, tempfile, time, urllib.request

ZONES = ["a", "b", "c"]


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
            join = "" if node == 0 else f'retry_join {{ leader_api_addr = "{self.api(0)}" leader_ca_cert_file = "{self.ca}" }}'
            storage = f'storage "raft" {{ path = "{data}" node_id = "node{node}" {join} }}\n'
            extra = f'audit "file" "file" {{ options = {{ file_path = "{self.root}/audit{node}.log" }} }}\n'
        else:
            storage = f'storage "raft" {{ path = "{data}" node_id = "node{node}" }}\n'
            extra = f'zone = "{ZONES[node]}"\noperations_address = "127.0.0.1:{port + 2}"\naudit_directories = ["{self.root}"]\nlog_level = "warn"\n'
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
        def rss(pid):
            with open(f"/proc/{pid}/status") as file:
                return next(int(line.split()[1]) // 1024 for line in file if line.startswith("VmRSS"))
        return max(rss(process.pid) for process in self.processes)

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
        until(f"a write to {self.name}", written)
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

    def stop(self):
        for process in self.processes:
            process.send_signal(signal.SIGKILL)
            process.wait()


def load(options, cluster, work, connections, node):
    command = [options.load, work, "--address", cluster.api(node), "--ca-cert", cluster.ca, "--connections", str(connections), "--seconds", str(options.seconds)]
    done = subprocess.run(command, env={**os.environ, "LOAD_TOKEN": cluster.token}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: {cluster.name} {work}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conclave", required=True)
    parser.add_argument("--load", required=True)
    parser.add_argument("--bao", default=shutil.which("bao"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--failovers", type=int, default=5)
    options = parser.parse_args()
    root = tempfile.mkdtemp(prefix="conclave-bench-")
    tls = os.path.join(root, "tls")
    subprocess.run([options.conclave, "operator", "tls", "create-ca", "-dir", tls], check=True, capture_output=True)
    subprocess.run([options.conclave, "operator", "tls", "create-cert", "-ca-dir", tls, "-out", tls, "-name", "node", "-san", "127.0.0.1"], check=True, capture_output=True)
    clusters = [Cluster("bao", options.bao, root, tls, 21200), Cluster("conclave", options.conclave, root, tls, 22200)]
    rows = [("put", 16, "leader"), ("put", 64, "leader"), ("get", 64, "leader"), ("get", 64, "follower"), ("token", 16, "leader")]
    seen = {(c.name, *row): [] for c in clusters for row in rows}
    try:
        for cluster in clusters:
            cluster.start()
        for number in range(options.rounds):
            for row in rows:
                # Who goes first alternates, so that a machine that warms up or slows down favours neither.
                for cluster in clusters if number % 2 == 0 else reversed(clusters):
                    leader = cluster.leader()
                    result = load(options, cluster, row[0], row[1], leader if row[2] == "leader" else (leader + 1) % 3)
                    seen[(cluster.name, *row)].append(result)
                    print(f"round {number + 1} {cluster.name:9} {row[0]} x{row[1]} {row[2]}: {result['per_second']:.0f}/s, errors {result['errors']}", file=sys.stderr)
        print(f"{'work':24} {'bao/s':>9} {'conclave/s':>11} {'ratio':>6} {'bao p99 ms':>11} {'conclave p99 ms':>16} {'errors':>7}")
        for row in rows:
            median = lambda name, key: statistics.median(result[key] for result in seen[(name, *row)])
            theirs, ours = median("bao", "per_second"), median("conclave", "per_second")
            errors = sum(result["errors"] for c in clusters for result in seen[(c.name, *row)])
            print(f"{row[0] + ' x' + str(row[1]) + ' ' + row[2]:24} {theirs:9.0f} {ours:11.0f} {ours / max(theirs, 1):6.1f} {median('bao', 'p99_ms'):11.1f} {median('conclave', 'p99_ms'):16.1f} {errors:7}")
        print("resident MiB, largest node: " + ", ".join(f"{c.name} {c.resident_mib()}" for c in clusters))
        ours = clusters[1]
        times = [ours.failover_seconds() for _ in range(options.failovers)]
        print(f"kill -9 of the leader to the first write, {ours.name}: median {statistics.median(times):.1f} s, all {[round(t, 1) for t in times]}")
    finally:
        for cluster in clusters:
            cluster.stop()
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
