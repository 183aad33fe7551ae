#!/usr/bin/env bash
# Stops the test cluster and keeps its data: `make up` brings it back.
set -euo pipefail
# shellcheck source=deploy/local/lib.sh
source "$(dirname "$0")/lib.sh"

[[ -d $DEV ]] || {
    echo "no test cluster in $DEV"
    exit 0
}
stop "$DEV/haproxy/pid" "$ROOT/deploy/local/haproxy.cfg" 5
for node in "${NODES[@]}"; do
    stop "$(node_dir "$node")/pid" "-config=$(node_config "$node")" 20
done
echo "stopped; data stays in $DEV (\`make clean-dev\` removes it)"
