"""Reads a dashboard into Grafana's published types and writes it out again: what they do not know is lost, and told."""
import json
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from grafana_foundation_sdk.models.prometheus import Dataquery

register_default_plugins()
with open(sys.argv[1]) as file:
    ours = json.load(file)
read = Dashboard.from_json(ours)
theirs = json.loads(JSONEncoder().encode(read))


def compare(ours, theirs, path):
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key not in theirs:
                sys.exit(f"Grafana does not know {path}/{key}")
            compare(value, theirs[key], f"{path}/{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for at, (one, other) in enumerate(zip(ours, theirs)):
            compare(one, other, f"{path}/{at}")
    elif ours != theirs:
        sys.exit(f"Grafana reads {path} as {theirs!r}, not {ours!r}")


compare(ours, theirs, "")
queries = [target for panel in read.panels for target in getattr(panel, "targets", None) or []]
assert queries and all(isinstance(query, Dataquery) for query in queries), "queries of Prometheus"
print(len(queries))
