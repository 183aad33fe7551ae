#!/usr/bin/env bash
# Builds the image without a registry and without a daemon: on a base that debootstrap makes from Debian's packages, by buildah
# in a chroot. As root, with the packages buildah and debootstrap. BINARY names a program that is built already. The image is
# left in dist/, for `podman load`, `skopeo copy` or `docker load`.
set -euo pipefail
cd "$(dirname "$0")/../.."

for tool in buildah debootstrap; do
    if ! command -v "$tool" > /dev/null; then
        echo "make image needs $tool: apt-get install -y --no-install-recommends buildah crun debootstrap" >&2
        exit 1
    fi
done
if [[ $(id -u) != 0 ]]; then
    echo "make image needs root: debootstrap makes a root file system" >&2
    exit 1
fi
version=$(sed -n 's/^version *= *"\(.*\)"/\1/p' Cargo.toml | head -n 1)
binary=${BINARY:-}
if [[ -z $binary ]]; then
    cargo build --release --locked -p conclave-cli
    binary=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/conclave
fi
scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/conclave-image.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/context"
cp "$binary" "$scratch/context/conclave"

# Layers are plain directories: no kernel has to allow anything.
in_scratch() {
    buildah --root "$scratch/store" --runroot "$scratch/run" --storage-driver vfs "$@"
}
debootstrap --variant=minbase bookworm "$scratch/base" "${MIRROR:-http://deb.debian.org/debian}" > "$scratch/debootstrap.log" \
    || { cat "$scratch/debootstrap.log" >&2; exit 1; }
base=$(in_scratch from scratch)
in_scratch add -q "$base" "$scratch/base" / > /dev/null
in_scratch commit -q "$base" localhost/base:12 > /dev/null
in_scratch build-using-dockerfile --isolation chroot --pull-never --from localhost/base:12 \
    -f deploy/container/Containerfile --build-arg BINARY=conclave -t "localhost/conclave:$version" "$scratch/context"

# The program runs in it, under the user that it is to have.
made=$(in_scratch from --pull-never "localhost/conclave:$version")
in_scratch run --isolation chroot "$made" -- /usr/bin/vault version
in_scratch run --isolation chroot "$made" -- /usr/bin/id -u | grep -qx 10001
mkdir -p dist
archive=dist/conclave-$version-image.tar
rm -f "$archive"
in_scratch push -q "localhost/conclave:$version" "docker-archive:$archive:conclave:$version"
ls -l "$archive"
