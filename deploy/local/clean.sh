#!/usr/bin/env bash
# Stops the test cluster and removes its data, certificates, shares and root token.
set -euo pipefail
# shellcheck source=deploy/local/lib.sh
source "$(dirname "$0")/lib.sh"

[[ -d $DEV ]] || {
    echo "no test cluster in $DEV"
    exit 0
}
"$ROOT/deploy/local/down.sh" >/dev/null
rm -rf -- "$DEV"
echo "removed $DEV"
