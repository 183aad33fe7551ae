#!/usr/bin/env bash
# Makes a Debian package: the program, its manual and completions, the systemd unit, a configuration to fill in.
# usage: deploy/package.sh [DIRECTORY]      writes conclave_VERSION_ARCHITECTURE.deb there, `dist` without it
# Variables: CONCLAVE_BIN (use this binary, build nothing), DEB_COMPRESSION (xz; none is quick).
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$root/dist}
stage=$(mktemp -d)
trap 'rm -rf -- "$stage"' EXIT

main() {
    local version architecture package
    version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml")
    architecture=$(dpkg --print-architecture)
    [[ -n $version ]] || die "no version in Cargo.toml"
    # The same sources give the same bytes.
    SOURCE_DATE_EPOCH=$(git -C "$root" log -1 --format=%ct 2>/dev/null || date +%s)
    export SOURCE_DATE_EPOCH
    umask 022
    chmod 755 "$stage"
    program
    files
    control "$version" "$architecture"
    mkdir -p "$out"
    package=$out/conclave_${version}_$architecture.deb
    dpkg-deb --build --root-owner-group "-Z${DEB_COMPRESSION:-xz}" "$stage" "$package" >/dev/null
    echo "$package"
}

die() {
    echo "error: $*" >&2
    exit 1
}

program() {
    local built=${CONCLAVE_BIN:-}
    if [[ -z $built ]]; then
        (cd "$root" && cargo build --release --locked -p conclave-cli >&2)
        # A variable or a file of the user's may say where cargo puts it.
        built=$(cd "$root" && cargo metadata --format-version 1 --no-deps |
            sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/conclave
    fi
    [[ -x $built ]] || die "$built is not an executable file"
    mkdir -p "$stage/usr/bin"
    strip -o "$stage/usr/bin/conclave" "$built"
    chmod 755 "$stage/usr/bin/conclave"
    mkdir -p "$stage/usr/share/man/man1" "$stage/usr/share/bash-completion/completions"
    "$built" man "$stage/usr/share/man/man1" >/dev/null
    gzip -9n "$stage"/usr/share/man/man1/*
    "$built" completion bash >"$stage/usr/share/bash-completion/completions/conclave"
}

files() {
    install -d "$stage/lib/systemd/system" "$stage/usr/share/doc/conclave"
    install -d -m 750 "$stage/etc/conclave" "$stage/etc/conclave/tls"
    sed 's|/usr/local/bin|/usr/bin|' "$root/deploy/systemd/conclave.service" >"$stage/lib/systemd/system/conclave.service"
    install -m 640 "$root/deploy/debian/conclave.hcl" "$stage/etc/conclave/conclave.hcl"
    install -m 644 "$root/LICENSE" "$stage/usr/share/doc/conclave/copyright"
    gzip -9nc "$root/CHANGELOG.md" >"$stage/usr/share/doc/conclave/changelog.gz"
}

control() {
    mkdir "$stage/DEBIAN"
    cat >"$stage/DEBIAN/control" <<END
Package: conclave
Version: $1
Architecture: $2
Maintainer: The Conclave authors <conclave@localhost>
Installed-Size: $(du -sk --exclude=DEBIAN "$stage" | cut -f1)
Depends: libc6 (>= 2.36), libgcc-s1 (>= 12), libstdc++6 (>= 12), passwd
Recommends: systemd
Section: admin
Priority: optional
Description: cluster that keeps secrets
 Three or five nodes replicate an encrypted key-value state machine. Operators
 unseal it with shares of a key; applications reach it by gRPC or by the HTTP API
 that Vault and OpenBao clients speak.
END
    echo /etc/conclave/conclave.hcl >"$stage/DEBIAN/conffiles"
    install -m 755 "$root"/deploy/debian/{postinst,prerm,postrm} "$stage/DEBIAN/"
}

main
