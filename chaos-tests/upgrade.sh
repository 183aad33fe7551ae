#!/usr/bin/env bash
# Builds this tree twice, as it is and as the version after it (feature `next-format`), and upgrades a cluster from one to the
# other under writers.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
scratch=$(mktemp -d "${TMPDIR:-/tmp}/conclave-upgrade.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
# The build under test comes last: it stays where binaries are looked for.
cargo build --quiet --locked -p conclave-cli --features next-format
cp "$target/debug/conclave" "$scratch/next"
cargo build --quiet --locked -p conclave-cli
cp "$target/debug/conclave" "$scratch/this"
CONCLAVE_BIN="$scratch/this" CONCLAVE_NEXT_BIN="$scratch/next" cargo nextest run --locked -p conclave-chaos-tests --features upgrade \
    --test cluster --profile long --no-capture -E 'test(/(^|::)cluster_upgrade_one_by_one$/)'
