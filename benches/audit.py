"""What audit costs reads: a Conclave without a device, with a chained file, with a synced chained spool whose records a socket
drains, and beside them OpenBao with its file. Rounds in turn; medians, and what is left of the reads without a device."""

import os, socket, statistics, subprocess, sys

READS = ("get", 64, "leader", "http")
# What a device may cost of the reads without one.
MAY_COST = {"file": 0.15, "spool": 0.35}
# Takes what comes, and as little of the processor as a program in Python can.
DRAIN = "import socket,sys,threading\ns=socket.socket(fileno=int(sys.argv[1]))\nb=lambda c:[None for _ in iter(lambda:c.recv(1<<20),b'')]\nwhile 1: threading.Thread(target=b,args=(s.accept()[0],),daemon=True).start()"


def run(options, bao, conclave, call, load):
    listener = socket.create_server(("127.0.0.1", 0))
    drain = subprocess.Popen([sys.executable, "-c", DRAIN, str(listener.fileno())], pass_fds=[listener.fileno()])
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    devices = {
        "off": None,
        "file": {"type": "file", "options": {"file_path": os.path.join(conclave.root, "measured.log")}},
        "spool": {"type": "socket", "options": {"address": address, "sync": "true"}},
    }

    def tell(method, name, body=None):
        status, answer = call(f"{conclave.api(0)}/v1/sys/audit/{name}", conclave.ca, method, conclave.token, body)
        assert status == 204, answer

    seen = {name: [] for name in ("bao file", *devices)}
    try:
        tell("DELETE", "file")
        for number in range(options.rounds):
            for name in list(devices) if number % 2 == 0 else list(reversed(devices)):
                if devices[name]:
                    tell("PUT", "measured", devices[name])
                seen[name].append(load(options, conclave, READS))
                tell("DELETE", "measured")
            seen["bao file"].append(load(options, bao, READS))
    finally:
        drain.kill()
        drain.wait()
        listener.close()
    rate = {name: statistics.median(result["per_second"] for result in results) for name, results in seen.items()}
    print("{:26} {:>9} {:>11} {:>9} {:>10} {:>8}".format("kv get x64 leader, audit", "/s", "p99 ms", "cpu us", "of off", "may be"))
    for name, results in seen.items():
        p99, cpu = (statistics.median(result[key] for result in results) for key in ("p99_ms", "cpu_us"))
        part = "-" if name == "bao file" else f"{rate[name] / max(rate['off'], 1):.2f}"
        least = f"{1 - MAY_COST[name]:.2f}" if name in MAY_COST else "-"
        errors = sum(result["errors"] for result in results)
        print(f"{name:26} {rate[name]:9.0f} {p99:11.1f} {cpu:9.0f} {part:>10} {least:>8}" + (f"  {errors} errors" if errors else ""))
