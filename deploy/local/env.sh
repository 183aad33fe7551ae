#!/usr/bin/env bash
# Prints the exports that point a shell at the test cluster:  eval "$(make -s env)"
set -euo pipefail
# shellcheck source=deploy/local/lib.sh
source "$(dirname "$0")/lib.sh"

[[ -s $DEV/port && -s $ROOT_TOKEN ]] || die "no test cluster in $DEV: \`make up\` first"
unset PORT
choose_base

# Other clients take one address: the balancer's, so that they outlive a node too.
single=$(balancer_addr)
balancer_alive || single=$(api_addr 1)

export_line() { printf 'export %s=%q\n' "$1" "$2"; }

export_line CONCLAVE_ADDR "$(api_addr 1),$(api_addr 2),$(api_addr 3)"
export_line BAO_ADDR "$single"
export_line VAULT_ADDR "$single"
for prefix in CONCLAVE BAO VAULT; do
    export_line "${prefix}_CACERT" "$TLS/ca.pem"
done
# One variable alone, which every client reads: a script that sets it means its own token, and another variable would win.
echo 'unset CONCLAVE_TOKEN BAO_TOKEN'
export_line VAULT_TOKEN "$(<"$ROOT_TOKEN")"
# shellcheck disable=SC2016  # the shell that evaluates this expands its own PATH
printf 'export PATH=%q:"$PATH"\n' "$DEV/bin"
