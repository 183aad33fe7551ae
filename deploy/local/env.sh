#!/usr/bin/env bash
# Prints the exports that point a shell at the test cluster:  eval "$(make -s env)"
set -euo pipefail
# shellcheck source=deploy/local/lib.sh
source "$(dirname "$0")/lib.sh"

[[ -s $DEV/port && -s $ROOT_TOKEN ]] || die "no test cluster in $DEV: \`make up\` first"
unset PORT
choose_base

# One address, which every client takes: the balancer's, so that they outlive a node.
single=$(balancer_addr)
balancer_alive || single=$(api_addr 1)

export_line() { printf 'export %s=%q\n' "$1" "$2"; }

# The variables that every client reads, and no other that would win over them: a script that sets one means its own.
echo 'unset CONCLAVE_ADDR CONCLAVE_CACERT CONCLAVE_TOKEN BAO_ADDR BAO_CACERT BAO_TOKEN'
export_line VAULT_ADDR "$single"
export_line VAULT_CACERT "$TLS/ca.pem"
export_line VAULT_TOKEN "$(<"$ROOT_TOKEN")"
# shellcheck disable=SC2016  # the shell that evaluates this expands its own PATH
printf 'export PATH=%q:"$PATH"\n' "$DEV/bin"
