#!/usr/bin/env bash
# Checks the Debian packages of packages.txt; installs what is missing where it may, else prints the one line to type.
# usage: deploy/packages.sh up|test
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

case ${1:-} in
    up) uses='build|run' ;;
    test) uses='build|run|test' ;;
    *)
        echo "usage: $0 up|test" >&2
        exit 2
        ;;
esac

if ! command -v dpkg-query >/dev/null; then
    echo "packages: not a Debian system: see deploy/packages.txt for what to install here" >&2
    exit 0
fi

missing=()
while read -r name use _; do
    [[ $use =~ ^($uses)$ ]] || continue
    state=$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) || state=absent
    [[ $state == installed ]] || missing+=("$name")
done < <(grep -v '^#' "$here/packages.txt")

((${#missing[@]})) || exit 0

if ((EUID == 0)); then
    echo "packages: installing ${missing[*]}" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
else
    echo "packages: missing. Type:  sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
fi
