#!/usr/bin/env bash
# Makes a .deb of a program that is already there. Equal inputs give equal bytes.
#
#   deb.sh PROGRAM FOLDER      SOURCE_DATE_EPOCH: the time of all that is in it
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
# shellcheck source=compose/setup/shell.sh
source "$root/compose/setup/shell.sh"
readonly program="$1" out="$2"
command -v dpkg-deb >/dev/null || fail "dpkg-deb is missing" "it makes the package" "run this on Debian"
version="$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)"
arch="$(dpkg --print-architecture)"
: "${SOURCE_DATE_EPOCH:=$(git -C "$root" log -1 --format=%ct)}"
export SOURCE_DATE_EPOCH

umask 022
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
tree="$work/tree"
install -D -m 0755 "$program" "$tree/usr/bin/berth"
install -D -m 0644 "$root/compose/berth/berth.service" "$tree/lib/systemd/system/berth.service"
for page in "$root"/docs/*.md; do
  install -D -m 0644 "$page" "$tree/usr/share/doc/berth/$(basename "$page")"
done
install -D -m 0644 "$root/LICENSE" "$tree/usr/share/doc/berth/copyright"
install -d -m 0755 "$tree/etc/berth/manifests"
# Where the unit may write must be there when it starts.
install -d -m 0755 "$tree/opt/dockerstore"
install -D -m 0644 /dev/stdin "$tree/etc/default/berth" <<'CONF'
# Options of `berth run`, a line each: BERTH_LISTEN=127.0.0.1:8000. See /usr/share/doc/berth/cli.md.
BERTH_MANIFESTS=/etc/berth/manifests
BERTH_SECRET_FILES=/run/berth/secrets
# The state folder is for root alone: the socket is where BERTH_API_SOCKET_GROUP gets at it.
BERTH_API_SOCKET=/run/berth/berth.sock
CONF
# What the program writes of itself: the manual's pages, and what shells complete.
mkdir "$work/man"
"$program" man --directory "$work/man" >/dev/null
for page in "$work"/man/*; do
  section="$tree/usr/share/man/man${page##*.}"
  install -d "$section"
  gzip -9nc -- "$page" >"$section/$(basename "$page").gz"
done
# complete SHELL FILE
complete() {
  "$program" completion "$1" >"$work/completion"
  install -D -m 0644 "$work/completion" "$tree/usr/share/$2"
}
complete bash bash-completion/completions/berth
complete zsh zsh/vendor-completions/_berth
complete fish fish/vendor_completions.d/berth.fish

# The C library that it was linked with at least.
libc="$(objdump -T "$program" 2>/dev/null | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1 | cut -d_ -f2)" || true

mkdir "$tree/DEBIAN"
printf '/etc/default/berth\n' >"$tree/DEBIAN/conffiles"
cat >"$tree/DEBIAN/control" <<CONTROL
Package: berth
Version: $version
Architecture: $arch
Maintainer: Berth <berth@localhost>
Section: admin
Priority: optional
Installed-Size: $(du -sk --apparent-size "$tree" | cut -f1)
Depends: libc6${libc:+ (>= $libc)}, libgcc-s1, libssl3 | libssl3t64, zlib1g, ca-certificates
Recommends: docker.io | docker-ce, openssh-client
Suggests: age
Description: keeps the apps that manifests describe running, on plain Docker
 A Kubernetes-style reconciliation controller in one program: it clones, builds,
 starts, checks, heals and removes what files in a folder say.
CONTROL
cat >"$tree/DEBIAN/postinst" <<'SCRIPT'
#!/bin/sh
set -e
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
  systemctl daemon-reload || true
  # Only the first time: who disabled or masked it since means it.
  if [ -z "$2" ]; then
    systemctl enable --quiet berth.service || echo "berth: the service is not enabled" >&2
  fi
  # Apps go on running while it is replaced. That it does not start is no fault of the package.
  if systemctl is-enabled --quiet berth.service; then action=restart; else action=try-restart; fi
  systemctl "$action" berth.service ||
    echo "berth: the service is not up; journalctl -u berth says why" >&2
fi
SCRIPT
cat >"$tree/DEBIAN/prerm" <<'SCRIPT'
#!/bin/sh
set -e
# Whether it is enabled stays, for when it is installed again.
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
  systemctl stop berth.service || true
fi
SCRIPT
cat >"$tree/DEBIAN/postrm" <<'SCRIPT'
#!/bin/sh
set -e
# State, workspaces and what runs are the operator's: they stay, also on purge.
if [ "$1" = purge ]; then
  rm -f /etc/systemd/system/multi-user.target.wants/berth.service
fi
if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
SCRIPT
chmod 0755 "$tree"/DEBIAN/{postinst,prerm,postrm}
find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
mkdir -p "$out"
dpkg-deb --root-owner-group -Zxz -b "$tree" "$out/berth_${version}_$arch.deb" >/dev/null
say "$out/berth_${version}_$arch.deb"
