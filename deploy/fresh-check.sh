#!/usr/bin/env bash
# Shows that a fresh machine suffices: a Debian 12 made by debootstrap, with stable Rust and the packages of packages.txt and
# nothing else, clones this tree (its last commit) and runs `make up` and `make test`. No compiler cache: RocksDB is built
# from nothing, twice (optimised and not), so the whole takes hours on 2 cores.
# usage: deploy/fresh-check.sh [STEP...]   steps: base packages rust clone fetch smoke up test; without any: all but smoke
# Variables: FRESH_DIR (where the machine lies and stays, default /var/tmp/conclave-fresh; remove it to start over).
set -euo pipefail

ROOT=$(cd "$(dirname "$0")/.." && pwd)
FRESH=${FRESH_DIR:-/var/tmp/conclave-fresh}
MACHINE=$FRESH/root
MIRROR=http://deb.debian.org/debian
SUITE=bookworm
ALL=(base packages rust clone fetch up test)
# Bind mounts are made below the machine and undone in the opposite order, however this ends.
mounted=()

main() {
    ((EUID == 0)) || die "a machine of its own needs root"
    local step started
    (($#)) || set -- "${ALL[@]}"
    for step in "$@"; do
        [[ " ${ALL[*]} smoke " == *" $step "* ]] || die "no step $step: there are ${ALL[*]} smoke"
    done
    trap undo EXIT
    trap 'exit 1' INT TERM HUP
    for step in "$@"; do
        started=$SECONDS
        printf '==> %s\n' "$step"
        if [[ $step != base ]]; then
            [[ -x $MACHINE/bin/bash ]] || die "no machine in $FRESH yet: run the step base"
            prepare
        fi
        "step_$step"
        printf '    %s: %d s\n' "$step" "$((SECONDS - started))"
    done
}

die() {
    echo "error: $*" >&2
    exit 1
}

bind() {
    mkdir -p "$MACHINE$2"
    mount --rbind "$1" "$MACHINE$2"
    mount --make-rslave "$MACHINE$2"
    mounted+=("$MACHINE$2")
}

undo() {
    local index
    for ((index = ${#mounted[@]} - 1; index >= 0; index--)); do
        umount --recursive --lazy "${mounted[index]}" || echo "still mounted: ${mounted[index]}" >&2
    done
    mounted=()
}

# What every machine has from its kernel, and how this one reaches the network.
prepare() {
    ((${#mounted[@]} == 0)) || return 0
    # A root that is a mount of its own, as a machine's is: mount namespaces need one.
    bind "$MACHINE" ""
    bind /proc /proc
    bind /sys /sys
    bind /dev /dev
    cp -L /etc/resolv.conf "$MACHINE/etc/resolv.conf"
}

# Runs a line as root of the machine with its own environment: nothing of this one's shell, caches or folders.
inside() {
    chroot "$MACHINE" /usr/bin/env -i HOME=/builder USER=root TERM=dumb LANG=C.UTF-8 \
        PATH=/builder/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        bash -ec "$1"
}

step_base() {
    command -v debootstrap >/dev/null || die "debootstrap is missing: apt-get install debootstrap"
    if [[ -x $MACHINE/bin/bash ]]; then
        echo "    there already: $MACHINE"
        return
    fi
    mkdir -p "$MACHINE"
    debootstrap --variant=minbase "$SUITE" "$MACHINE" "$MIRROR" >"$FRESH/debootstrap.log" ||
        die "debootstrap failed: $FRESH/debootstrap.log"
}

# Packages as the list names them; mirrors, proxies and keys as this machine has them.
step_packages() {
    if [[ -f /etc/apt/sources.list || -d /etc/apt/sources.list.d ]]; then
        rm -rf "$MACHINE/etc/apt/sources.list" "$MACHINE/etc/apt/sources.list.d"
        mkdir -p "$MACHINE/etc/apt/sources.list.d"
        [[ ! -f /etc/apt/sources.list ]] || cp /etc/apt/sources.list "$MACHINE/etc/apt/"
        find /etc/apt/sources.list.d \( -name 'debian*.sources' -o -name 'debian*.list' \) \
            -exec cp -t "$MACHINE/etc/apt/sources.list.d" {} +
    fi
    # None of these files may speak of it.
    { grep -rlEi 'Acquire::(http|https|Retries)' /etc/apt/apt.conf.d || true; } |
        xargs -r cp -t "$MACHINE/etc/apt/apt.conf.d"
    # A proxy that looks into TLS is trusted by this machine, so by that one.
    mkdir -p "$MACHINE/usr/local/share/ca-certificates"
    [[ ! -d /usr/local/share/ca-certificates ]] ||
        cp -r /usr/local/share/ca-certificates/. "$MACHINE/usr/local/share/ca-certificates/"
    copy_into /tmp/deploy "$ROOT/deploy/packages.sh" "$ROOT/deploy/packages.txt"
    inside '/tmp/deploy/packages.sh test; update-ca-certificates >/dev/null; apt-get clean; rm -rf /tmp/deploy'
}

copy_into() {
    local target=$MACHINE$1
    shift
    mkdir -p "$target"
    cp "$@" "$target/"
}

# Stable Rust as this machine has it: a copy of the toolchain that rust-toolchain.toml names.
step_rust() {
    local sysroot tool
    sysroot=$(cd "$ROOT" && rustc --print sysroot) || die "rustc is missing: https://rustup.rs"
    mkdir -p "$MACHINE/opt/rust" "$MACHINE/builder/.cargo/bin"
    cp -a --update "$sysroot/." "$MACHINE/opt/rust/"
    for tool in "$MACHINE"/opt/rust/bin/*; do
        ln -sfn "/opt/rust/bin/$(basename "$tool")" "$MACHINE/builder/.cargo/bin/"
    done
    registry
    inside 'rustc --version && cargo --version && cargo clippy --version && cargo fmt --version'
}

# How this machine reaches crates.io, if it says so: source replacement and certificates, nothing else of its settings.
registry() {
    local config
    for config in "${CARGO_HOME:-$HOME/.cargo}"/config{.toml,}; do
        [[ -f $config ]] || continue
        awk '/^\[/ { keep = /^\[(source|registries|registry|http|net)[].]/ } keep' "$config" >"$MACHINE/builder/.cargo/config.toml"
        return
    done
}

# The last commit, without this tree's objects or ignored files.
step_clone() {
    # shellcheck disable=SC2016  # the machine's shell expands these, here and below
    local fetch='git init --quiet ~/conclave && cd ~/conclave && git fetch --quiet ~/bundle HEAD && git checkout --quiet FETCH_HEAD
        rm ~/bundle; git log -1 --format="    at %h"; test -z "$(git status --porcelain)"'
    rm -rf "$MACHINE/builder/conclave" "$FRESH/bundle"
    git -c safe.directory="$ROOT" -C "$ROOT" bundle create --quiet "$FRESH/bundle" HEAD
    install -m 644 "$FRESH/bundle" "$MACHINE/builder/bundle"
    inside "$fetch"
}

step_fetch() { inside 'cd ~/conclave && cargo fetch --locked --quiet'; }

# A few minutes instead of hours: some of it compiles, with the C compiler too.
step_smoke() { inside 'cd ~/conclave && cargo check --locked --quiet -p conclave-barrier -p conclave-hcl -p xtask && cargo xtask tidy'; }

step_up() {
    no_cache
    # shellcheck disable=SC2016
    inside 'cd ~/conclave && make up && eval "$(make -s env)" && vault status && vault operator raft list-peers && make down'
}

step_test() {
    no_cache
    inside 'cd ~/conclave && make test'
}

no_cache() { ! inside 'command -v ccache || command -v sccache' || die "the machine has a compiler cache"; }

main "$@"
