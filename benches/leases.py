"""What leases cost, measured against OpenBao where it has the same: part of compare.py, as `--only leases`.

restart   kill -9 of all nodes with many token leases, then all are started and given their share at once: process start to the
          first read, and memory a minute later; beside it the same for a cluster without leases.
burst     token leases that are due in one second: does the leader stay, how long do reads take meanwhile, when are all gone.
lag       token leases that are due evenly, a thousand a second: how late they are ended.
accounts  PostgreSQL leases that are due at once: when are all accounts gone.
issue     credentials of PostgreSQL issued a second.

Sizes are options, so that a small run shows that it works and a large one is made on a quiet machine."""

import glob, json, os, pwd, re, shutil, statistics, subprocess, sys, tempfile, threading, time, urllib.request

PARTS = ["restart", "burst", "lag", "accounts", "issue"]
CREATION = "CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"
PASSWORD = "first-root-password"
EXPIRED = "conclave_expired_total"
# Token leases made a second, at least: what is to end together is made before.
MADE = 400
# Of each cluster, for a median.
RESTARTS = 9


def add_options(parser):
    group = parser.add_argument_group("--only leases")
    group.add_argument("--parts", default=",".join(PARTS), help=", ".join(PARTS))
    group.add_argument("--tokens", type=int, default=1_000_000, help="token leases of Conclave at a restart")
    group.add_argument("--bao-tokens", type=int, default=100_000, help="the same of OpenBao; 0: not measured")
    group.add_argument("--settle", type=int, default=60, help="seconds from the first read to the measurement of memory")
    group.add_argument("--burst", type=int, default=50_000, help="token leases due in one second")
    group.add_argument("--lag-seconds", type=int, default=30, help="seconds of a thousand expiries each")
    group.add_argument("--accounts", type=int, default=2_000, help="PostgreSQL leases due at once")


def load(options, cluster, work, node=None, **more):
    """Runs the load generator against a node, the leader unless told otherwise."""
    node = leader(cluster) if node is None else node
    command = [options.load, work, "--address", cluster.api(node), "--ca-cert", cluster.ca]
    for name, value in more.items():
        flag = f"--{name.replace('_', '-')}"
        command += [flag] if value is True else [flag, str(value)]
    done = subprocess.run(command, env={**os.environ, "LOAD_TOKEN": cluster.token}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: {cluster.name} {work}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def leader(cluster, patience=60):
    """Who leads; waited for, as after a restart."""
    end = time.monotonic() + patience
    while True:
        try:
            return cluster.leader()
        except (OSError, SystemExit):
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def metrics(cluster):
    """Numbers of each node of a Conclave, by name and labels."""
    nodes = []
    for node in range(3):
        with urllib.request.urlopen(f"http://127.0.0.1:{cluster.base + 10 * node + 2}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        nodes.append({name: float(value) for name, value in pairs})
    return nodes


def total(cluster, name):
    """Of all nodes: what a leader counts is counted where it led."""
    return sum(node.get(name, 0) for node in metrics(cluster))


def make_tokens(options, cluster, count, **more):
    print(f"{cluster.name}: {count} tokens", file=sys.stderr, flush=True)
    made = load(options, cluster, "ending", connections=64, requests=count, seconds=7200, **more)
    if made["errors"] or made["requests"] != count:
        raise SystemExit(f"error: {cluster.name} made {made['requests']} tokens with {made['errors']} errors")
    return made


def restart(cluster):
    """Kills all nodes and starts them; seconds from the start to the first read through any of them."""
    from compare import call, until

    for process in cluster.processes:
        process.kill()
    for process in cluster.processes:
        process.wait()
    began = time.monotonic()
    for node in range(3):
        cluster.start_node(node, os.path.join(cluster.root, f"node{node}.hcl"))
    givers = [
        threading.Thread(target=until, args=[f"an unsealed node of {cluster.name}", lambda node=node: cluster.unseal(node), 900])
        for node in range(3)
    ]
    for giver in givers:
        giver.start()

    def reads(node):
        try:
            return call(f"{cluster.api(node)}/v1/secret/data/bench", cluster.ca, token=cluster.token)[0] == 200
        except OSError:
            return False

    until(f"a read of {cluster.name}", lambda: any(reads(node) for node in range(3)), 900)
    took = time.monotonic() - began
    for giver in givers:
        giver.join()
    return took


def restarts(options, cluster):
    """Some of them, and the memory of each node some time after the last: when a leader stands is left to chance."""
    times = [restart(cluster) for _ in range(RESTARTS)]
    time.sleep(options.settle)
    return times, cluster.resident_mib()


def measure_restart(options, make):
    sides = (("conclave", options.conclave, 22200, options.tokens), ("bao", options.bao, 21200, options.bao_tokens))
    for name, binary, base, count in sides:
        if count == 0:
            continue
        cluster = make(name, binary, base)
        try:
            cluster.start()
            cluster.must("POST", "secret/data/bench", {"data": {"k": "v"}})
            empty, empty_mib = restarts(options, cluster)
            made = make_tokens(options, cluster, count, ends_in=86_400)
            full, full_mib = restarts(options, cluster)
        finally:
            cluster.stop()
        one, other = statistics.median(empty), statistics.median(full)
        shown = lambda times: [round(seconds, 2) for seconds in times]
        print(
            f"restart {name}: {count} token leases, made at {made['per_second']:.0f}/s: process start to first read {other:.2f} s "
            f"{shown(full)}, empty {one:.2f} s {shown(empty)}, ratio {other / one:.2f}; MiB {options.settle} s later {full_mib}, "
            f"empty {empty_mib}, largest to largest {max(full_mib) / max(empty_mib):.2f}",
            flush=True,
        )


def wait_expired(cluster, before, count, patience):
    """Waits until so many rows more have ended; the seconds that took."""
    began = time.monotonic()
    while (ended := total(cluster, EXPIRED) - before) < count:
        if time.monotonic() - began > patience:
            raise SystemExit(f"error: {ended:.0f} of {count} ended within {patience} s")
        time.sleep(0.1)
    return time.monotonic() - began


def measure_burst(options, make):
    count = options.burst
    cluster = make("conclave", options.conclave, 22200)
    try:
        cluster.start()
        load(options, cluster, "get", connections=16, seconds=1)
        follower = (leader(cluster) + 1) % 3
        idle = load(options, cluster, "get", follower, connections=16, seconds=5, prepared=True)
        # As long as making them takes, and a little for the measurement to begin before.
        ends_in = count // MADE + 15
        before = metrics(cluster)
        began = time.monotonic()
        make_tokens(options, cluster, count, ends_in=ends_in)
        wait = began + ends_in - 1 - time.monotonic()
        if wait < 0:
            raise SystemExit(f"error: making {count} tokens took longer than the {ends_in} s they have")
        time.sleep(wait)
        busy = {}
        reader = threading.Thread(
            target=lambda: busy.update(load(options, cluster, "get", follower, connections=16, seconds=8, prepared=True, warm_up=0))
        )
        reader.start()
        took = wait_expired(cluster, sum(node.get(EXPIRED, 0) for node in before), count, 120)
        reader.join()
        after = metrics(cluster)
    finally:
        cluster.stop()
    term = lambda nodes: max(node["conclave_raft_term"] for node in nodes)
    print(
        f"burst: {count} token leases due in one second: all gone {took:.1f} s after it began, elections meanwhile "
        f"{term(after) - term(before):.0f}; reads through a follower p99 {busy['p99_ms']:.1f} ms, idle {idle['p99_ms']:.1f} ms, "
        f"ratio {busy['p99_ms'] / idle['p99_ms']:.2f}, errors {busy['errors']}",
        flush=True,
    )


def lags(cluster):
    """Buckets of the histogram of lags of all nodes together: upper bound in seconds -> count."""
    buckets = {}
    for node in metrics(cluster):
        for name, value in node.items():
            found = re.match(r'conclave_lease_expiry_lag_seconds_bucket\{le="([^"]+)"\}', name)
            if found:
                bound = float(found[1].replace("+Inf", "inf"))
                buckets[bound] = buckets.get(bound, 0) + value
    return buckets


def measure_lag(options, make):
    count = 1000 * options.lag_seconds
    cluster = make("conclave", options.conclave, 22200)
    try:
        cluster.start()
        # They are made before the first of them ends, so that nothing else goes on.
        ends_in = count // MADE + 15
        expired, before = total(cluster, EXPIRED), lags(cluster)
        make_tokens(options, cluster, count, ends_in=ends_in, spread=options.lag_seconds)
        wait_expired(cluster, expired, count, ends_in + options.lag_seconds + 120)
        after = lags(cluster)
    finally:
        cluster.stop()
    between = {bound: after[bound] - before.get(bound, 0) for bound in sorted(after)}
    within = lambda quantile: next(bound for bound, seen in between.items() if seen >= quantile * between[float("inf")])
    print(
        f"lag: {count} token leases due evenly within {options.lag_seconds} s: half ended within {within(0.5)} s of their time, "
        f"99 % within {within(0.99)} s, 99.9 % within {within(0.999)} s",
        flush=True,
    )


class Postgres:
    """A server of its own on a port of loopback, with fsync on."""

    def __init__(self, port=23999):
        self.port, self.root = port, tempfile.mkdtemp(prefix="conclave-bench-pg-")
        os.chmod(self.root, 0o777)
        bins = max(glob.glob("/usr/lib/postgresql/*/bin"))
        password, data = os.path.join(self.root, "password"), os.path.join(self.root, "data")
        with open(password, "w") as file:
            file.write(PASSWORD)
        made = self.run([f"{bins}/initdb", "-D", data, "-A", "scram-sha-256", "-U", "root", "--pwfile", password], "initdb.log")
        if made.wait():
            raise SystemExit("error: initdb failed")
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200"]
        self.process = self.run([f"{bins}/postgres", "-D", data, "-p", str(port), *(word for s in settings for word in ("-c", s))], "log")
        end = time.monotonic() + 60
        while self.query("SELECT 1") != "1":
            if time.monotonic() > end:
                raise SystemExit("error: PostgreSQL does not answer")
            time.sleep(0.1)

    def run(self, command, log):
        """As PostgreSQL's own account for root, whom it does not serve."""
        user = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        out = open(os.path.join(self.root, log), "wb")
        return subprocess.Popen(command, cwd="/", stdout=out, stderr=out, **who)

    def query(self, text):
        command = ["psql", "-X", "-A", "-t", "-h", "127.0.0.1", "-p", str(self.port), "-U", "root", "-d", "postgres", "-c", text]
        return subprocess.run(command, env={**os.environ, "PGPASSWORD": PASSWORD}, capture_output=True, text=True).stdout.strip()

    def accounts(self):
        return int(self.query("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'v-%'"))

    def configure(self, cluster):
        cluster.must("POST", "sys/mounts/database", {"type": "database"})
        url = f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{self.port}/postgres?sslmode=disable"
        connection = {"plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "connection_url": url}
        cluster.must("POST", "database/config/pg", {**connection, "username": "root", "password": PASSWORD, "max_open_connections": 16})
        role = {"db_name": "pg", "default_ttl": "1h", "max_ttl": "2h", "creation_statements": CREATION}
        cluster.must("POST", "database/roles/app", role)

    def stop(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.root, ignore_errors=True)


def measure_accounts(options, make):
    server = Postgres()
    cluster = make("conclave", options.conclave, 22200)
    try:
        cluster.start()
        server.configure(cluster)
        made = load(options, cluster, "creds", connections=16, requests=options.accounts, seconds=3600)
        there = server.accounts()
        began = time.monotonic()
        cluster.must("PUT", "sys/leases/revoke-prefix/database", {})
        while left := server.accounts():
            if time.monotonic() - began > 600:
                raise SystemExit(f"error: {left} accounts are left after 600 s")
            time.sleep(0.25)
        took = time.monotonic() - began
    finally:
        cluster.stop()
        server.stop()
    print(
        f"accounts: {there} PostgreSQL leases due at once (issued at {made['per_second']:.0f}/s, errors {made['errors']}): all "
        f"accounts gone after {took:.1f} s",
        flush=True,
    )


def measure_issue(options, make):
    rates = {}
    for name, binary, base in (("bao", options.bao, 21200), ("conclave", options.conclave, 22200)):
        server = Postgres()
        cluster = make(name, binary, base)
        try:
            cluster.start()
            server.configure(cluster)
            results = [load(options, cluster, "creds", connections=16, seconds=options.seconds) for _ in range(options.rounds)]
        finally:
            cluster.stop()
            server.stop()
        rates[name] = statistics.median(result["per_second"] for result in results)
        p99 = statistics.median(result["p99_ms"] for result in results)
        errors = sum(result["errors"] for result in results)
        print(f"issue {name}: {rates[name]:.0f} PostgreSQL credentials/s, p99 {p99:.0f} ms, errors {errors}", flush=True)
    print(f"issue: ratio {rates['conclave'] / max(rates['bao'], 1):.2f}", flush=True)


def run(options, make):
    """Runs the parts that were asked for, each with clusters of its own."""
    parts = options.parts.split(",")
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise SystemExit(f"error: no such part: {', '.join(unknown)}")
    number = 0

    def fresh(name, binary, base):
        nonlocal number
        number += 1
        cluster = make(name, binary, base)
        cluster.root = f"{cluster.root}-{number}"
        return cluster

    for part in parts:
        globals()[f"measure_{part}"](options, fresh)
