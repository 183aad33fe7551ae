#!/usr/bin/env bash
# Searches with libFuzzer: MINUTES for each target named as an argument, or for all. Needs a nightly compiler, and cargo-fuzz,
# which it installs. What it finds is kept in fuzz/libfuzzer/artifacts; put a finding into fuzz/corpus/TARGET, where every
# test run replays it. RECORD=FILE enters a row for each target above the mark of that document.
set -euo pipefail
cd "$(dirname "$0")/.."

MINUTES=${MINUTES:-10}
# Of one input, in bytes: the edges refuse larger ones before they decode.
MAX_LENGTH=${MAX_LENGTH:-16384}

rustup toolchain list | grep -q '^nightly' || rustup toolchain install nightly --profile minimal
command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked

targets=("$@")
if ((${#targets[@]} == 0)); then
    mapfile -t targets < <(find fuzz/corpus -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort)
fi

# The versions that are tested.
cp Cargo.lock fuzz/libfuzzer/Cargo.lock
# No sanitizer: the code is safe Rust, and without it the C++ beneath is built once and not twice.
(cd fuzz/libfuzzer && cargo +nightly fuzz build --sanitizer none --fuzz-dir . target)

found=()
table=$(printf '%-10s %12s %9s %9s  %s' TARGET INPUTS SECONDS EDGES FINDING)
for target in "${targets[@]}"; do
    printf '==> %s, %s min\n' "$target" "$MINUTES"
    grown="fuzz/libfuzzer/corpus/$target"
    findings="fuzz/libfuzzer/artifacts/$target/"
    log="fuzz/libfuzzer/artifacts/$target.log"
    mkdir -p "$grown" "$findings"
    seconds=$SECONDS
    status=0
    (cd fuzz/libfuzzer && CONCLAVE_FUZZ=$target cargo +nightly fuzz run --sanitizer none --fuzz-dir . target \
        "corpus/$target" "../corpus/$target" -- -max_total_time=$((MINUTES * 60)) -max_len="$MAX_LENGTH" -timeout=10 \
        -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="artifacts/$target/") >"$log" 2>&1 || status=$?
    inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    edges=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1 | cut -d ' ' -f 2)
    finding=none
    if ((status != 0)); then
        finding=$(find "$findings" -type f -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2)
        finding=${finding:-"see $log"}
        found+=("$target")
        tail -n 20 "$log"
    fi
    if [[ -z $inputs ]] && ((status == 0)); then
        echo "error: $target ran nothing: see $log" >&2
        exit 1
    fi
    if [[ -n ${RECORD:-} && -n $inputs ]]; then
        row="| $(date -u +%F) | $target | $MINUTES | $inputs | ${edges:--} | $(git describe --always --dirty) | ${finding/none/nothing} |"
        sed -i "s;^<!-- a row for each target above this line -->\$;$row\n&;" "$RECORD"
    fi
    table+=$(printf '\n%-10s %12s %9s %9s  %s' "$target" "${inputs:--}" "$((SECONDS - seconds))" "${edges:--}" "$finding")
done
printf '\n%s\n' "$table"
if ((${#found[@]} > 0)); then
    echo "error: findings in: ${found[*]}" >&2
    exit 1
fi
