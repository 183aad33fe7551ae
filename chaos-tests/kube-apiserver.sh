#!/usr/bin/env bash
# Builds the API server of Kubernetes that tests ask for accounts, once: about six minutes. Debian has no package of it, but the
# sources; nothing of the system is changed, its own list of packages included.
# usage: chaos-tests/kube-apiserver.sh   needs curl's ca-certificates, golang-go, gcc's make, rsync and jq (deploy/packages.txt)
# Variables: MIRROR (where Debian's packages are, default http://deb.debian.org/debian).
set -euo pipefail

VERSION=1.20.2
MIRROR=${MIRROR:-http://deb.debian.org/debian}
KEYS=/usr/share/keyrings/debian-archive-keyring.gpg
# The tests look here.
PEERS=${XDG_CACHE_HOME:-$HOME/.cache}/conclave/peers
SERVER=$PEERS/kube-apiserver-$VERSION

main() {
    [[ -x $SERVER ]] && return
    echo "    building kube-apiserver $VERSION (about 6 minutes)"
    # Beside where it ends up, so that the last step is one.
    mkdir -p "$PEERS"
    work=$(mktemp -d "$PEERS/.building-XXXXXX")
    trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
    trap 'exit 1' INT TERM HUP
    download
    build
    "$work/kube-apiserver" --version
    mv "$work/kube-apiserver" "$SERVER"
}

# The sources as Debian signed them, by lists of our own.
download() {
    cd "$work"
    mkdir -p lists/partial archives/partial
    printf 'deb-src [signed-by=%s] %s %s main\n' "$KEYS" "$MIRROR" bookworm >sources.list
    local apt=(apt-get -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=-
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work" -o Dir::Cache::archives="$work/archives"
        -o APT::Sandbox::User=)
    "${apt[@]}" update
    "${apt[@]}" source --download-only kubernetes golang-github-modern-go-reflect2
    tar xzf kubernetes_*.orig.tar.gz
    # Its own copy breaks off when Go is 1.18 or newer and a map is written.
    local copy=kubernetes-$VERSION/vendor/github.com/modern-go/reflect2
    rm "$copy"/*.go "$copy"/*.s
    tar xzf golang-github-modern-go-reflect2_*.orig.tar.gz -C "$copy" --strip-components=1
}

build() {
    cd "$work/kubernetes-$VERSION"
    # Its own makefiles look for it where Go looked for packages when it was young.
    mkdir -p .go/src/k8s.io
    ln -sfn ../../.. .go/src/k8s.io/kubernetes
    local log=$work/log
    if ! env GOPATH="$PWD/.go" PATH="/usr/lib/go/bin:$PATH" CGO_ENABLED=0 GOFLAGS=-mod=vendor GOPROXY=off \
        GOCACHE="$work/cache" HOME="$work" make WHAT=cmd/kube-apiserver >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        echo "error: kube-apiserver cannot be built" >&2
        exit 1
    fi
    mv "$(readlink -f _output/bin)/kube-apiserver" "$work/"
}

main
