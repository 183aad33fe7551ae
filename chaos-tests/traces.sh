#!/usr/bin/env bash
# Builds this tree with traces (feature `otlp`) and has a node send those of some requests to a collector that reads them with
# OpenTelemetry's own classes. The ordinary binary is built again at the end: it stays where binaries are looked for.
set -euo pipefail
cd "$(dirname "$0")/.."

PROTO_VERSION=1.45.2
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
scratch=$(mktemp -d "${TMPDIR:-/tmp}/conclave-traces.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
if [[ -n ${CONCLAVE_BIN:-} ]]; then
    cp "$CONCLAVE_BIN" "$scratch/conclave"
else
    cargo build --quiet --locked -p conclave-cli --features otlp
    cp "$target/debug/conclave" "$scratch/conclave"
    cargo build --quiet --locked -p conclave-cli
fi
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet "opentelemetry-proto==$PROTO_VERSION"
"$scratch/venv/bin/python" chaos-tests/traces.py "$scratch/conclave" "$scratch"
