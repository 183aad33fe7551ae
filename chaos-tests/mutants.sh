#!/usr/bin/env bash
# Proves that every check can fail: puts one bug back at a time and runs the check that is there for it. Prints, for each
# invariant, the bug, within how many seeds it was caught, and how to see it again; fails if one survives.
#
# Two builds hold all bugs of the product (feature `mutants`); CONCLAVE_MUTANT says which one a process has. SIMULATION and
# RAFT_TESTS (test binaries) and NODE (a `conclave`) name such builds that are there already. Names of mutants as arguments
# take those alone. RECORD=FILE enters each row into the table between the two marks of that document, in place of an older.
set -euo pipefail
cd "$(dirname "$0")/.."

# What must hold; the bug; what runs; what it must say, for a test that fails for another reason has caught nothing.
# `disk` and `client` bugs are put into the simulation around the product, `seeds` into the product under it, `raft` into
# the product under one test of replication, `nodes` into real processes.
MUTANTS=(
    "a vote and an entry are on disk before they are answered for|skip-sync|disk|"
    "a vote survives a loss of power|forgotten-vote|disk|"
    "a write is acknowledged after a quorum has synced it|early-ack|seeds|"
    "two logs that hold an entry of one index and term are the same up to it|unchecked-previous|seeds|"
    "a write that was acknowledged is kept|lost-row|seeds|"
    "a read shows every write that ended before it began|stale-read|seeds|"
    "and so it is through real nodes|stale-read|nodes:cluster_chaos|NOT LINEARIZABLE"
    "a leader that was replaced proves no read|unasked-read|seeds|"
    "a row that was read before is not shown after it was written|stale-row|seeds|"
    "a command is applied only if its expectations hold|lost-expectation|seeds|"
    "and so they are through real nodes|lost-expectation|nodes:cluster_chaos|NOT LINEARIZABLE"
    "a version of a secret has one writer|unguarded-write|seeds|"
    "a list names every key|short-list|nodes:cluster_chaos|NOT LINEARIZABLE"
    "what is derived from the state is as new as the index that was waited for|late-view|seeds|"
    "a policy is in force before the secret written after it|late-catalog|seeds|"
    "nothing is sealed with a key that may be gone|old-term|seeds|"
    "a command is applied once, whoever leads|replayed-proposal|seeds|"
    "a client does not repeat what may be done|blind-retry|client|"
    "equal logs give equal states|divergent-apply|seeds|"
    "a token that was revoked opens nothing, nor do its children|dropped-revocation|seeds|"
    "an account outside ends with its lease, however often its target fails|given-up-lease|seeds|"
    "a sealed node serves nothing|kept-keys|seeds|"
    "a wrapped answer is taken once|taken-twice|seeds|"
    "the password that is shown opens its account|forgotten-outcome|seeds|"
    "a disk that was copied or set back is noticed|cloned-disk|seeds|"
    "a node's id is given once|reused-id|seeds|"
    "no key seals two values with one nonce|nonce-reuse|seeds|"
    "a member speaks for itself alone|unchecked-sender|raft:calls_are_taken_from_the_member_that_sends_them_alone|panicked at"
    "the leader's clock is the cluster's, not a follower's|follower-clock|seeds|"
    "what was synced is there after a loss of power|skip-fsync|nodes:cluster_power_of_one|corrupt Raft log: .* durable\|was acknowledged and is gone"
    "no name is in the clear on a disk or between nodes|plain-names|nodes:cluster_canary|marks were found"
    "no value is in the clear on a disk or between nodes|plain-values|nodes:cluster_canary|marks were found"
    "no share is in the clear between nodes|plain-offers|nodes:cluster_canary|/frames/"
    "no log tells what a request holds|told-in-log|nodes:cluster_canary|marks were found"
    "no key is left in the memory of a node that was sealed|leaked-keys|nodes:cluster_canary_served|no mark in the memory"
    "no answer leaves before it is on record|lost-record|nodes:cluster_chaos|UNRECORDED"
    "a watch tells every write|lost-event|nodes:cluster_chaos|UNTOLD"
    "no counter falls|falling-counter|nodes:cluster_chaos|FELL"
)
# Rounds of faults that take little time and leave every node its process, for bugs that show without any.
FAULTS=step-down,snapshot,clients-cut-off
# Seeds after which a bug counts as not caught, in the simulation and with real processes.
SEEDS=${SEEDS:-200}
NODE_SEEDS=${NODE_SEEDS:-3}
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
scratch=$(mktemp -d "${TMPDIR:-/tmp}/conclave-mutants.XXXXXX")
trap 'put_back; rm -rf "$scratch"' EXIT

# Nobody must find a build that can be broken where the binary is looked for: the good one is put back at once.
put_back() {
    if [[ -e $scratch/good ]] && CONCLAVE_MUTANT=any "$target/debug/conclave" version | grep -q "BROKEN ON PURPOSE"; then
        cp "$scratch/good" "$target/debug/.conclave" && mv "$target/debug/.conclave" "$target/debug/conclave"
    fi
}

# The simulation and the tests of replication, with all bugs; made once, when a check first needs them.
broken_tests() {
    [[ -n ${SIMULATION:-} && -n ${RAFT_TESTS:-} ]] && return
    local made
    made=$(cargo test --locked -p conclave-chaos-sim -p conclave-raft --no-run \
        --features conclave-chaos-sim/mutants,conclave-raft/mutants 2>&1) || { echo "$made" && exit 1; }
    SIMULATION=$(sed -n 's|.*Executable tests/simulation/main.rs (\(.*\))|\1|p' <<<"$made")
    RAFT_TESTS=$(sed -n 's|.*Executable tests/cluster/main.rs (\(.*\))|\1|p' <<<"$made")
}

# The binary whose bug is chosen when it starts; made once, when a check first needs it.
broken_nodes() {
    [[ -e $scratch/broken ]] && return
    if [[ -n ${NODE:-} ]]; then
        cp "$NODE" "$scratch/broken"
        return
    fi
    cargo build --quiet --locked -p conclave-cli
    cp "$target/debug/conclave" "$scratch/good"
    cargo build --quiet --locked -p conclave-cli --features mutants
    cp "$target/debug/conclave" "$scratch/broken"
    put_back
    if ! CONCLAVE_MUTANT=plain-names "$scratch/broken" version | grep -q "BROKEN ON PURPOSE: plain-names"; then
        echo "error: the build with all mutants does not say which one it is" >&2
        exit 1
    fi
}

# Runs a check against one bug. Sets `seeds` (empty if nobody noticed), `found` and `again`.
try() {
    local mutant=$1 how=$2 says=$3 check seed
    local log=$scratch/$mutant.log
    seeds='' found='' again=''
    case $how in
        disk | client | seeds)
            broken_tests
            local variable=MUTANT
            [[ $how == seeds ]] && variable=CONCLAVE_MUTANT
            env "$variable=$mutant" SEEDS="$SEEDS" "$SIMULATION" every_mutant_is_caught --nocapture >"$log" 2>&1 || true
            seeds=$(sed -n "s/.*$mutant: caught within \([0-9]*\) seeds: .*/\1/p" "$log")
            found=$(sed -n "s/.*$mutant: caught within [0-9]* seeds: //p" "$log")
            again=$(sed -n 's/^  again: //p' "$log")
            if [[ $how == seeds ]]; then
                again=${again/conclave-chaos-sim/conclave-chaos-sim --features mutants}
            fi
            ;;
        raft:*)
            broken_tests
            check=${how#*:}
            again="CONCLAVE_MUTANT=$mutant cargo nextest run -p conclave-raft --features mutants $check"
            if ! CONCLAVE_MUTANT=$mutant "$RAFT_TESTS" "$check" >"$log" 2>&1 && grep -q "$says" "$log"; then
                seeds=1
                found="$check fails"
            fi
            ;;
        nodes:*)
            check=${how#*:}
            broken_nodes
            for ((seed = 1; seed <= NODE_SEEDS; seed++)); do
                if ! CONCLAVE_MUTANT=$mutant CONCLAVE_BIN="$scratch/broken" CONCLAVE_CHAOS_SEED=$seed \
                    CONCLAVE_CHAOS_FAULTS=$FAULTS cargo nextest run --locked -p conclave-chaos-tests --profile long --no-capture \
                    -E "test(/(^|::)$check\$/)" >"$log" 2>&1 && grep -q "$says" "$log"; then
                    seeds=$seed
                    found="$check fails"
                    again="CONCLAVE_MUTANT=$mutant CONCLAVE_CHAOS_SEED=$seed"
                    [[ $check != cluster_chaos ]] || again+=" CONCLAVE_CHAOS_FAULTS=$FAULTS"
                    again="cargo build -p conclave-cli --features mutants && $again cargo nextest run -p conclave-chaos-tests $check"
                    break
                fi
            done
            ;;
    esac
}

# Enters the row that begins so into the document, in place of an older one.
record() {
    [[ -z ${RECORD:-} ]] && return
    BEGINS=$1 ROW=$2 awk '
        index($0, ENVIRON["BEGINS"]) == 1 { if (!entered++) print ENVIRON["ROW"]; next }
        $0 == "<!-- end of mutants -->" && !entered { print ENVIRON["ROW"] }
        { print }
    ' "$RECORD" >"$scratch/document"
    cp "$scratch/document" "$RECORD"
}

for name in "$@"; do
    if [[ " ${MUTANTS[*]} " != *"|$name|"* ]]; then
        echo "error: no mutant is called $name" >&2
        exit 2
    fi
done
survivors=0
table=''
for line in "${MUTANTS[@]}"; do
    IFS='|' read -r holds mutant how says <<<"${line//\\|/$'\x01'}"
    says=${says//$'\x01'/\\|}
    if (($# > 0)) && [[ " $* " != *" $mutant "* ]]; then
        continue
    fi
    started=$SECONDS
    try "$mutant" "$how" "$says"
    if [[ -z $seeds ]]; then
        survivors=$((survivors + 1))
        tail -n 40 "$scratch/$mutant.log"
        printf '==> %-20s SURVIVED (%d s)\n' "$mutant" "$((SECONDS - started))"
        continue
    fi
    printf '==> %-20s caught within %s seeds (%d s): %s\n    again: %s\n' \
        "$mutant" "$seeds" "$((SECONDS - started))" "$found" "$again"
    # The invariant's name is the beginning of what it says.
    begins="| $holds | \`$mutant\` |"
    row="$begins $seeds | ${found%%:*} | \`$again\` |"
    table+="$row"$'\n'
    record "$begins" "$row"
done
printf '\n| What must hold | Bug put back | Seeds | Caught by | Again |\n|---|---|---|---|---|\n%s' "$table"
if ((survivors > 0)); then
    echo "error: $survivors survived" >&2
    exit 1
fi
