"""A node and a collector of its traces: one trace of a write and one of a read, their spans in order, and nothing in them that
nobody may know.

usage: traces.py CONCLAVE SCRATCH
"""

import http.server
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PATIENCE = 60
CANARY = "canary-5e1d"
WRITE, READ, UNSAMPLED, GRPC = ("%032x" % (0xA0 + n) for n in range(4))
PARENT = "00f067aa0ba902b7"
SAID = {"index", "method", "mount_type", "operation", "status", "term", "transport"}


class Collector(http.server.BaseHTTPRequestHandler):
    """Keeps what it is sent."""

    raw = []
    spans = []
    resources = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        assert self.path == "/v1/traces", self.path
        assert self.headers["content-type"] == "application/x-protobuf"
        message = ExportTraceServiceRequest.FromString(body)
        self.raw.append(body)
        for resource in message.resource_spans:
            self.resources.append(resource.resource)
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def free():
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def eventually(what, check):
    end = time.monotonic() + PATIENCE
    last = None
    while time.monotonic() < end:
        try:
            found = check()
            if found:
                return found
        except (OSError, AssertionError) as error:
            last = error
        time.sleep(0.1)
    sys.exit(f"{what}: not within {PATIENCE} s: {last}")


class Node:
    def __init__(self, port, token=""):
        self.url, self.token = f"http://127.0.0.1:{port}", token

    def call(self, method, path, data=None, trace=None, flags="01"):
        request = urllib.request.Request(f"{self.url}/v1/{path}", method=method)
        if data is not None:
            request.data = json.dumps(data).encode()
        if self.token:
            request.add_header("x-vault-token", self.token)
        if trace:
            request.add_header("traceparent", f"00-{trace}-{PARENT}-{flags}")
            request.add_header("tracestate", f"vendor={CANARY}")
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            text = answer.read()
            response = answer.headers.get("traceresponse")
            assert response, "an answer that names no trace"
            assert not trace or response.split("-")[1] == trace, response
            return json.loads(text) if text else {}


def of(trace):
    return [span for span in Collector.spans if span.trace_id.hex() == trace]


def said(span):
    words = {}
    for attribute in span.attributes:
        name = attribute.key.removeprefix("conclave.")
        assert name in SAID, attribute
        words[name] = attribute.value.string_value or attribute.value.int_value
    return words


def chain(trace, names):
    """The spans of these names, each within the one before."""
    spans = {span.name: span for span in of(trace)}
    parent = bytes.fromhex(PARENT)
    found = []
    for name in names:
        assert name in spans, f"{trace}: {name} is not among {sorted(spans)}"
        span = spans[name]
        assert span.parent_span_id == parent, f"{name} is not part of what is before it"
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        if found:
            assert found[-1].start_time_unix_nano <= span.end_time_unix_nano <= found[-1].end_time_unix_nano
        parent = span.span_id
        found.append(span)
    return found


def configure(scratch, collector):
    api, cluster = free(), free()
    config = pathlib.Path(scratch) / "node.hcl"
    (pathlib.Path(scratch) / "data").mkdir()
    config.write_text(
        f"""
cluster_addr       = "https://127.0.0.1:{cluster}"
operations_address = ""
listener "tcp" {{
  address         = "127.0.0.1:{api}"
  cluster_address = "127.0.0.1:{cluster}"
  tls_disable     = true
}}
storage "raft" {{
  path    = "{scratch}/data"
  node_id = "traced"
}}
telemetry {{
  otlp_endpoint = "http://127.0.0.1:{collector}"
}}
""",
        encoding="utf-8",
    )
    return api, config


def requests(node):
    eventually("it answers", lambda: node.call("GET", "sys/seal-status"))
    made = node.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
    node.call("PUT", "sys/unseal", {"key": made["keys"][0]})
    node.token = made["root_token"]
    mount = {"type": "kv", "options": {"version": "2"}}
    eventually("it serves", lambda: node.call("POST", f"sys/mounts/{CANARY}-mount", mount) == {})
    path = f"{CANARY}-mount/data/{CANARY}-name"
    node.call("POST", path, {"data": {CANARY: CANARY}}, WRITE)
    node.call("GET", path, trace=READ)
    node.call("GET", path, trace=UNSAMPLED, flags="00")
    try:
        node.call("GET", f"{CANARY}-nowhere/x")
    except urllib.error.HTTPError as error:
        assert error.code == 404, error
    return made["root_token"]


def main():
    conclave, scratch = sys.argv[1:]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", free()), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    api, config = configure(scratch, server.server_address[1])
    log = open(f"{scratch}/log", "w", encoding="utf-8")
    process = subprocess.Popen([conclave, "server", f"-config={config}"], stdout=log, stderr=log)
    try:
        token = requests(Node(api))
        environment = {"CONCLAVE_ADDR": f"http://127.0.0.1:{api}", "CONCLAVE_TOKEN": token, "HOME": scratch}
        told = subprocess.run(
            [conclave, "anomaly", "rules", "list"], env=environment, capture_output=True, check=False, text=True
        )
        assert told.returncode == 0, told.stderr
        eventually("the traces come", lambda: of(WRITE) and of(READ) and any(
            said(span).get("transport") == "grpc" for span in Collector.spans
        ))
        check(token)
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)
        log.close()
        if sys.exc_info()[0] is not None:
            print(pathlib.Path(f"{scratch}/log").read_text(encoding="utf-8"), file=sys.stderr)


def check(token):
    write = chain(WRITE, ["request", "core.request", "raft.propose", "raft.apply"])
    assert write[0].kind == Span.SPAN_KIND_SERVER
    assert said(write[0]) == {"transport": "http", "method": "POST", "status": 200}, write[0]
    assert said(write[1]) == {"operation": "write", "mount_type": "kv"}, write[1]
    applied = said(write[3])
    assert applied["index"] > 0 and applied["term"] > 0, applied
    read = chain(READ, ["request", "core.request", "raft.read_index"])
    assert said(read[1]) == {"operation": "read", "mount_type": "kv"}, read[1]
    assert not of(UNSAMPLED), "what is not sampled is kept"
    words = {attribute.key: attribute.value.string_value for attribute in Collector.resources[0].attributes}
    assert words["service.name"] == "conclave" and words["service.instance.id"] == "traced", words
    everything = b"".join(Collector.raw)
    for secret in (CANARY, token):
        assert secret.encode() not in everything, "a trace tells what nobody may know"
    for span in write + read:
        took = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
        print(f"{span.trace_id.hex()[-4:]} {span.name:16} {took:8.3f} ms {said(span)}")
    print(f"{len(Collector.spans)} spans in {len(Collector.raw)} messages: ok")


if __name__ == "__main__":
    os.umask(0o077)
    main()
