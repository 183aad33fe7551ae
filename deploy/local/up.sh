#!/usr/bin/env bash
# Builds Conclave and brings up a test cluster of three nodes on loopback. Run again, it restarts and unseals what is there.
# Variables: PORT (base port), CONCLAVE_BIN (use this binary, build nothing), CONCLAVE_DEV_DIR (instead of .dev).
set -euo pipefail
# shellcheck source=deploy/local/lib.sh
source "$(dirname "$0")/lib.sh"

main() {
    choose_base
    step "Check Debian packages" "1 s, minutes when some are missing"
    "$ROOT/deploy/packages.sh" up
    step "Check ports $BASE to $(balancer_port)" "1 s"
    check_ports
    step "Build the release binary" "10 s; the first time about 30 minutes on 2 cores: RocksDB is compiled"
    build
    step "Write certificates and node files to $DEV" "1 s"
    umask 077
    mkdir -p "$TLS" "$SECRETS" "$DEV/audit"
    echo "$BASE" >"$DEV/port"
    write_certificates
    for node in "${NODES[@]}"; do write_config "$node"; done
    step "Start three nodes (zones ${ZONES[*]})" "2 s"
    for node in "${NODES[@]}"; do start_node "$node"; done
    step "Initialise: $SHARES shares, threshold $THRESHOLD" "1 s"
    init
    step "Unseal with $THRESHOLD shares" "1 s"
    unseal_all
    step "Join nodes 2 and 3" "5 s; members already, nothing"
    for node in 2 3; do join "$node"; done
    step "Wait for three unsealed voters" "5 s"
    unseal_all
    wait_for 60 "three voters" voters 3
    step "Start the balancer" "1 s"
    start_balancer
    step_done
    epilogue
}

check_ports() {
    local node port
    for node in "${NODES[@]}"; do
        node_alive "$node" && continue
        for port in "$(api_port "$node")" "$(cluster_port "$node")" "$(operations_port "$node")"; do
            ! taken "$port" || die "port $port is taken. Type:  make up PORT=$(free_base)"
        done
    done
    balancer_alive || ! taken "$(balancer_port)" || die "port $(balancer_port) is taken. Type:  make up PORT=$(free_base)"
}

taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The next base port, in steps of 100, at which everything is free.
free_base() {
    local base offset
    for ((base = BASE + 100; base <= 65000; base += 100)); do
        for offset in 0 1 2 10 11 12 20 21 22 30; do
            taken "$((base + offset))" && continue 2
        done
        echo "$base"
        return
    done
    die "no free ports above $BASE"
}

build() {
    local built=${CONCLAVE_BIN:-}
    if [[ -z $built ]]; then
        command -v cargo >/dev/null || die "cargo is missing. Install Rust: https://rustup.rs"
        (cd "$ROOT" && cargo build --release --locked -p conclave-cli)
        built=$(target_directory)/release/conclave
    fi
    [[ -x $built ]] || die "$built is not an executable file"
    # A copy, moved into place: running nodes keep the file they started from.
    mkdir -p "$DEV/bin"
    install -m 755 "$built" "$BIN.new"
    mv -f "$BIN.new" "$BIN"
    ln -sfn conclave "$DEV/bin/vault"
}

# A CA for clients and one listener certificate a node. Between nodes the cluster makes its own.
write_certificates() {
    local node
    [[ -s $TLS/ca.pem ]] || "$BIN" operator tls create-ca -dir "$TLS"
    for node in "${NODES[@]}"; do
        [[ -s $TLS/node$node.pem ]] || "$BIN" operator tls create-cert -ca-dir "$TLS" -out "$TLS" -name "node$node" \
            -san localhost -san 127.0.0.1
    done
}

write_config() {
    local node=$1
    mkdir -p "$(node_dir "$node")/data"
    cat >"$(node_config "$node")" <<END
# Node $node of a test cluster. Written by \`make up\` each time: edit deploy/local/up.sh instead.
cluster_name        = "dev"
zone                = "${ZONES[node - 1]}"
api_addr            = "$(api_addr "$node")"
cluster_addr        = "$(cluster_addr "$node")"
operations_address  = "127.0.0.1:$(operations_port "$node")"
audit_directories   = ["$DEV/audit", "/vault/logs"]

listener "tcp" {
  address         = "127.0.0.1:$(api_port "$node")"
  cluster_address = "127.0.0.1:$(cluster_port "$node")"
  tls_cert_file   = "$TLS/node$node.pem"
  tls_key_file    = "$TLS/node$node-key.pem"
}

storage "raft" {
  path    = "$(node_dir "$node")/data"
  node_id = "node$node"
}
END
}

start_node() {
    local node=$1
    node_alive "$node" ||
        launch "$(node_dir "$node")/pid" "$(node_dir "$node")/log" "$BIN" server "-config=$(node_config "$node")"
    wait_for 30 "node $node answers" answers_or_died "$node"
}

answers_or_died() {
    ! ended "$(node_dir "$1")/pid" || die "node $1 ended: $(tail -n 3 "$(node_dir "$1")/log")"
    answers "$1"
}

# One init in the cluster's life. Shares and root token stay in files only their owner can read.
init() {
    # The shares of an init that was cut off right after it are as good as any.
    [[ -s $INIT ]] || ! jq -e .root_token "$INIT.new" >/dev/null 2>&1 || mv "$INIT.new" "$INIT"
    if [[ -s $INIT ]]; then
        initialized 1 || die "$INIT exists, but node 1 is not initialised: \`make clean-dev\` starts over"
    else
        ! initialized 1 || die "node 1 is initialised, but $INIT is gone: \`make clean-dev\` starts over"
        CONCLAVE_ADDR=$(api_addr 1) CONCLAVE_CACERT=$TLS/ca.pem \
            "$BIN" operator init "-key-shares=$SHARES" "-key-threshold=$THRESHOLD" -format=json >"$INIT.new"
        mv "$INIT.new" "$INIT"
    fi
    jq -er .root_token "$INIT" >"$ROOT_TOKEN"
    echo "X-Vault-Token: $(<"$ROOT_TOKEN")" >"$TOKEN_HEADER"
}

# Gives shares to sealed members until none is left. Shares count for the cluster, so one round opens all that run.
unseal_all() {
    local node
    for node in "${NODES[@]}"; do
        initialized "$node" || continue
        opens_by_itself "$node" || unseal "$node"
    done
}

# Members that were sealed when another was given the shares open within a moment.
opens_by_itself() {
    local tries
    unsealed "$1" && return 0
    [[ $1 != 1 ]] || return 1
    for ((tries = 30; tries > 0; tries--)); do
        unsealed "$1" && return 0
        sleep 0.1
    done
    return 1
}

unseal() {
    local node=$1 index answer
    for ((index = 0; index < THRESHOLD; index++)); do
        answer=$(jq -e "{key: .unseal_keys_b64[$index]}" "$INIT" | api "$node" PUT sys/unseal -)
        jq -e 'has("sealed")' <<<"$answer" >/dev/null 2>&1 || die "node $node refuses share $((index + 1)): $answer"
    done
    wait_for 30 "node $node unseals" unsealed "$node"
}

# A join token is single-use and never touches a file or an argument.
join() {
    local node=$1 token answer
    ! initialized "$node" || return 0
    token=$(jq -n '{ttl: "10m", uses: 1}' | api 1 POST sys/storage/raft/join-token - | jq -er .data.join_token) ||
        die "node 1 gives no join token"
    answer=$(JOIN_TOKEN=$token jq -n --rawfile ca "$TLS/ca.pem" --arg leader "$(api_addr 1)" \
        '{leader_api_addr: $leader, leader_ca_cert: $ca, join_token: env.JOIN_TOKEN}' |
        api "$node" POST sys/storage/raft/join -)
    jq -e '.joined // .data.joined' <<<"$answer" >/dev/null 2>&1 || die "node $node does not join: $answer"
    wait_for 30 "node $node is a member" initialized "$node"
}

# Whether some node lists this many voters.
voters() {
    local node count
    for node in "${NODES[@]}"; do
        count=$(api "$node" GET sys/storage/raft/configuration 2>/dev/null |
            jq '[.data.config.servers[]? | select(.voter)] | length' 2>/dev/null) || continue
        [[ $count == "$1" ]] && return 0
    done
    return 1
}

start_balancer() {
    mkdir -p "$DEV/haproxy"
    balancer_alive || balancer_env launch "$DEV/haproxy/pid" "$DEV/haproxy/log" \
        haproxy -db -f "$ROOT/deploy/local/haproxy.cfg"
    wait_for 10 "the balancer listens" taken "$(balancer_port)"
}

balancer_env() {
    NODE1_PORT=$(api_port 1) NODE2_PORT=$(api_port 2) NODE3_PORT=$(api_port 3) BALANCER_PORT=$(balancer_port) \
        CA_FILE=$TLS/ca.pem "$@"
}

epilogue() {
    cat <<END

Test cluster up: $(api_addr 1) $(api_addr 2) $(api_addr 3), balancer $(balancer_addr)
Root token and unseal shares (test cluster: never keep real ones like this): $SECRETS

  eval "\$(make -s env)"
  vault status
END
}

main
