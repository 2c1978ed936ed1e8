#!/usr/bin/env bash
# Builds a tiny image for tests and benchmarks: one static busybox with all its
# commands (sh, sleep, httpd, nc, wget ...), a few MB, from a Debian package.
# The first process of a container ignores signals that it has no handler for,
# and sleep and httpd have none: the stop signal is SIGKILL, so that a stop takes
# no grace period. What a program does on SIGTERM is not to be tested with this.
#
#   TINY_TAG  the image's name (berth/tiny:offline)     FORCE=1  build it although it exists
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=compose/setup/shell.sh
source "$here/../setup/shell.sh"
# shellcheck source=compose/base/image.sh
source "$here/image.sh"

umask 022
export TAR_OPTIONS="--owner=0 --group=0"
readonly tag="${TINY_TAG:-berth/tiny:offline}"

skip_if_built "$tag"
command -v apt-get >/dev/null || fail "cannot build $tag" \
  "its only program comes from the Debian package busybox-static" "run this on Debian"
need_engine "$tag"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

fetch() {
  (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download busybox-static) 2>"$work/log"
}
say "fetching busybox-static"
fetch || { is_debian_root && apt_update && fetch; } || {
  cat "$work/log" >&2
  fail "could not download busybox-static" "apt-get said no (see above)" \
    "check that the package mirror in /etc/apt can be reached, and run 'apt-get update' as root"
}
dpkg-deb -x "$work"/busybox-static_*.deb "$work/package"
busybox="$(find "$work/package" -type f -path '*/bin/busybox')"
epoch="$(stat -c %Y "$busybox")"

root="$work/root"
mkdir -p "$root"/{bin,sbin,usr/bin,usr/sbin,etc,proc,sys,dev,root,run,tmp,var/tmp,www}
chmod 1777 "$root/tmp" "$root/var/tmp"
cp "$busybox" "$root/bin/busybox"
chmod 755 "$root/bin/busybox"
"$busybox" --list-full | while read -r applet; do
  [[ "$applet" == bin/busybox ]] || ln -s /bin/busybox "$root/$applet"
done
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
printf 'ok\n' >"$root/www/index.html"

make_image "$tag" "$root" "$epoch" '{
  "Labels": { "dev.berth.base": "tiny" },
  "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
  "StopSignal": "SIGKILL",
  "Cmd": ["sleep", "3600"]
}'
