# shellcheck shell=bash
# shellcheck disable=SC2034  # the scripts that source this use the names
# What the scripts of the local test cluster share: where things are, ports, and questions to a node.
# Sourced, never run. Three nodes, numbered from 1; node N listens at PORT+10*(N-1): API, +1 cluster, +2 operations.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
DEV=${CONCLAVE_DEV_DIR:-$ROOT/.dev}
NODES=(1 2 3)
ZONES=(a b c)
SHARES=5
THRESHOLD=3
DEFAULT_PORT=8200
BIN=$DEV/bin/conclave
TLS=$DEV/tls
SECRETS=$DEV/secrets
INIT=$SECRETS/init.json
ROOT_TOKEN=$SECRETS/root-token
TOKEN_HEADER=$SECRETS/token-header

die() {
    echo "error: $*" >&2
    exit 1
}

# Where cargo puts what it builds: a variable or a file of the user's may say so.
target_directory() {
    (cd "$ROOT" && cargo metadata --format-version 1 --no-deps) | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'
}

# Prints a step with its usual duration, and what the one before it took.
step() {
    step_done
    STEP_STARTED=$SECONDS
    printf '==> %s (usually %s)\n' "$1" "$2"
}

step_done() {
    if [[ -n ${STEP_STARTED:-} ]]; then
        printf '    %d s\n' "$((SECONDS - STEP_STARTED))"
        STEP_STARTED=
    fi
}

# Sets BASE: the port asked for, else the one this cluster was made with, else the default.
choose_base() {
    local recorded=''
    [[ -f $DEV/port ]] && recorded=$(<"$DEV/port")
    BASE=${PORT:-${recorded:-$DEFAULT_PORT}}
    if ! [[ $BASE =~ ^[1-9][0-9]{3,4}$ ]] || ((BASE < 1024 || BASE > 65500)); then
        die "PORT=$BASE is not a port between 1024 and 65500"
    fi
    if [[ -n $recorded && $recorded != "$BASE" ]]; then
        die "the cluster in $DEV lives at PORT=$recorded: leave PORT out, or \`make clean-dev\` first"
    fi
}

api_port() { echo "$((BASE + 10 * ($1 - 1)))"; }
cluster_port() { echo "$((BASE + 10 * ($1 - 1) + 1))"; }
operations_port() { echo "$((BASE + 10 * ($1 - 1) + 2))"; }
balancer_port() { echo "$((BASE + 30))"; }

api_addr() { echo "https://127.0.0.1:$(api_port "$1")"; }
cluster_addr() { echo "https://127.0.0.1:$(cluster_port "$1")"; }
balancer_addr() { echo "https://127.0.0.1:$(balancer_port)"; }

node_dir() { echo "$DEV/node$1"; }
node_config() { echo "$DEV/node$1/conclave.hcl"; }

# Whether the process a pid file names is alive and still the one that was started: a pid is reused after a reboot.
# usage: alive PID_FILE WORD, where WORD is an argument of the process
alive() {
    local pid
    [[ -s $1 ]] || return 1
    pid=$(<"$1")
    [[ $pid =~ ^[0-9]+$ && -r /proc/$pid/cmdline ]] && grep -qzxF -- "$2" "/proc/$pid/cmdline" 2>/dev/null
}

node_alive() { alive "$(node_dir "$1")/pid" "-config=$(node_config "$1")"; }
balancer_alive() { alive "$DEV/haproxy/pid" "$ROOT/deploy/local/haproxy.cfg"; }

# Starts a program that outlives this shell. usage: launch PID_FILE LOG COMMAND...
launch() {
    local pid_file=$1 log=$2
    shift 2
    setsid "$@" >>"$log" 2>&1 </dev/null &
    echo "$!" >"$pid_file"
}

# Whether a process just launched is gone. Its state, not its command line: that is empty for a moment in exec.
ended() {
    local state
    state=$(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$(<"$1")/status" 2>/dev/null) || true
    [[ -z $state || $state == [ZX] ]]
}

# Ends a process gently, after `seconds` by force. usage: stop PID_FILE WORD SECONDS
stop() {
    local pid tries
    if alive "$1" "$2"; then
        pid=$(<"$1")
        kill -TERM "$pid" 2>/dev/null || true
        for ((tries = $3 * 10; tries > 0; tries--)); do
            alive "$1" "$2" || break
            sleep 0.1
        done
        if alive "$1" "$2"; then
            echo "    process $pid did not end within $3 s: killed" >&2
            kill -KILL "$pid" 2>/dev/null || true
        fi
    fi
    rm -f "$1"
}

# Asks node N's HTTP API and prints the answer, errors included. Secrets travel by standard input and a header file,
# never as arguments that `ps` shows. usage: api N METHOD PATH [-], where - sends standard input as JSON
api() {
    local options=(--silent --show-error --max-time 10 --cacert "$TLS/ca.pem" --request "$2")
    [[ ! -s $TOKEN_HEADER ]] || options+=(--header "@$TOKEN_HEADER")
    [[ ${4:-} != - ]] || options+=(--data-binary @- --header 'Content-Type: application/json')
    curl "${options[@]}" "$(api_addr "$1")/v1/$3"
}

# Prints one field of a node's seal status, empty when it does not answer. usage: seal_status N FIELD
seal_status() { api "$1" GET sys/seal-status 2>/dev/null | jq -r ".$2 // false" 2>/dev/null || true; }

answers() { [[ -n $(seal_status "$1" initialized) ]]; }
initialized() { [[ $(seal_status "$1" initialized) == true ]]; }
unsealed() { [[ $(seal_status "$1" sealed) == false && $(seal_status "$1" initialized) == true ]]; }

# Waits for a condition. usage: wait_for SECONDS WHAT COMMAND...
wait_for() {
    local seconds=$1 what=$2 until
    shift 2
    until=$((SECONDS + seconds))
    until "$@"; do
        ((SECONDS < until)) || die "not within $seconds s: $what. Logs: $DEV/node*/log"
        sleep 0.1
    done
}
