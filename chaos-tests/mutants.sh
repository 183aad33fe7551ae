#!/usr/bin/env bash
# Proves that the checks can fail: builds `conclave` with one bug put back at a time and runs the check that must catch
# it. Prints what caught each, after how many seeds, and how to see it again; fails if a bug survives.
# Names of mutants as arguments take those alone.
set -euo pipefail
cd "$(dirname "$0")/.."

# The bug, the test that must fail, and what it must say: a test that fails for another reason has caught nothing.
MUTANTS=(
    "mutant-stale-read|cluster_check_state|NOT LINEARIZABLE"
    "mutant-lost-expectation|cluster_check_state|NOT LINEARIZABLE"
    "mutant-plain-names|cluster_canary|marks were found"
    "mutant-skip-fsync|cluster_power_of_one|corrupt Raft log: .* durable\|was acknowledged and is gone"
)
# Seeds tried before a bug counts as not caught.
SEEDS=${SEEDS:-3}
# How long `cluster_check_state` looks, with one seed.
MINUTES=${MINUTES:-1}

target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
scratch=$(mktemp -d "${TMPDIR:-/tmp}/conclave-mutants.XXXXXX")
# Nobody must find a mutant where the binary is looked for: the good one is put back at once, without a build.
cargo build --quiet --locked -p conclave-cli
cp "$target/debug/conclave" "$scratch/good"
put_back() {
    # Not over what somebody has built meanwhile.
    if [[ -e $target/debug/conclave ]] && ! "$target/debug/conclave" version | grep -q "BROKEN ON PURPOSE"; then
        return
    fi
    cp "$scratch/good" "$target/debug/.conclave" && mv "$target/debug/.conclave" "$target/debug/conclave"
}
trap 'put_back; rm -rf "$scratch"' EXIT

build() {
    local mutant=$1
    cargo build --quiet --locked -p conclave-cli --features "$mutant"
    mv "$target/debug/conclave" "$scratch/$mutant"
    put_back
    if ! "$scratch/$mutant" version | grep -q "BROKEN ON PURPOSE: $mutant"; then
        echo "error: $mutant was built and does not say so" >&2
        exit 1
    fi
}

survivors=0
table=$(printf '%-24s %-22s %-6s %s' MUTANT "CAUGHT BY" SEEDS AGAIN)
for line in "${MUTANTS[@]}"; do
    IFS='|' read -r mutant check says <<<"$line"
    if (($# > 0)) && [[ " $* " != *" $mutant "* ]]; then
        continue
    fi
    printf '==> %s\n' "$mutant"
    build "$mutant"
    caught=
    for ((seed = 1; seed <= SEEDS; seed++)); do
        log="$scratch/$mutant-$seed.log"
        if ! CONCLAVE_BIN="$scratch/$mutant" CONCLAVE_CHAOS_SEED=$seed CONCLAVE_CHAOS_MINUTES=$MINUTES \
            cargo nextest run --locked -p conclave-chaos-tests --profile long -E "test(/(^|::)$check\$/)" --no-capture \
            >"$log" 2>&1 && grep -m 1 "$says" "$log"; then
            caught=$seed
            break
        fi
        echo "    seed $seed: not caught"
    done
    if [[ -z $caught ]]; then
        survivors=$((survivors + 1))
        tail -n 40 "$log"
        table+=$(printf '\n%-24s %-22s %-6s' "$mutant" "NOBODY" "$SEEDS")
        continue
    fi
    again="cargo build -p conclave-cli --features $mutant && CONCLAVE_CHAOS_SEED=$caught cargo nextest run -p conclave-chaos-tests $check"
    table+=$(printf '\n%-24s %-22s %-6s %s' "$mutant" "$check" "$caught" "$again")
done
printf '\n%s\n' "$table"
if ((survivors > 0)); then
    echo "error: $survivors survived" >&2
    exit 1
fi
