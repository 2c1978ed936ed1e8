#!/usr/bin/env bash
# Builds the base image for apps from Debian packages alone, so that Berth can
# build and run apps where no image registry can be reached.
#
#   BASE_TAG  the image's name (berth/base:offline)
#   SUITE     the release to install (the host's)
#   FORCE=1   build it although it exists
#
# Files are sorted and no younger than the release they came from: two builds
# from one state of the mirror hold the same files.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=compose/setup/shell.sh
source "$here/../setup/shell.sh"
# shellcheck source=compose/base/image.sh
source "$here/image.sh"

umask 022
readonly tag="${BASE_TAG:-berth/base:offline}"
readonly bundle=/etc/ssl/certs/ca-certificates.crt
readonly packages=ca-certificates,python3,python3-pip,python3-venv,python-is-python3

skip_if_built "$tag"
is_debian_root || fail "cannot build $tag" \
  "debootstrap installs packages in a chroot: that takes root and apt-get" \
  "run this as root on Debian, or set BASE_IMAGE to an image that has Python and pip"
need_engine "$tag"
apt_install debootstrap ca-certificates
export PATH="$PATH:/usr/sbin:/sbin"

suite="${SUITE:-$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)}"
suite="${suite:-bookworm}"

# The host's own mirrors for this release, as "uri suite component" lines: where
# the host gets its packages, behind whatever proxy, this image can too.
sources() {
  # shellcheck disable=SC2016  # these are apt's own placeholders
  apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    awk -v s="$suite" '$1 ~ /^https?:/ && ($2 == s || $2 == s "-updates" || $2 == s "-security")' |
    sort -u
}

install_packages() {
  local root="$1" mirror components
  mirror="$(sources | awk -v s="$suite" '$2 == s && !n++ { print $1 }')"
  components="$(sources | awk -v s="$suite" '$2 == s { print $3 }' | paste -sd,)"
  http_proxy="${http_proxy:-$(apt-config shell p Acquire::http::Proxy | sed "s/^p='\(.*\)'$/\1/")}"
  [[ -z "$http_proxy" ]] || export http_proxy
  say "installing $suite from ${mirror:-the default mirror}; this takes a minute or two"
  debootstrap --variant=minbase --components="${components:-main}" --include="$packages" \
    "$suite" "$root" ${mirror:+"$mirror"} >"$work/log" 2>&1 || {
    tail -n 15 "$work/log" >&2
    fail "debootstrap could not install $suite" "the end of its output is above" \
      "check that the package mirror can be reached; SUITE chooses another release"
  }
}

# What the release's own archive lacks: updates and security fixes.
install_updates() {
  local root="$1" line
  sources | while read -r line; do printf 'deb %s\n' "$line"; done >"$work/sources.list"
  [[ -s "$work/sources.list" ]] || return 0
  cp "$work/sources.list" "$root/etc/apt/sources.list"
  if ! DEBIAN_FRONTEND=noninteractive chroot "$root" \
    sh -c 'apt-get -qq update && apt-get -qq -y upgrade' </dev/null >"$work/log" 2>&1; then
    tail -n 5 "$work/log" >&2
    say "some updates are not installed (see above); going on without them"
  fi
}

# When the newest package list that was used had been published.
published() {
  local root="$1"
  sed -n 's/^Date: //p' "$root"/var/lib/apt/lists/*Release |
    while read -r date; do date -d "$date" +%s; done | sort -n | tail -n 1
}

# Kept small now and after each later apt-get install; services are never started.
set_habits() {
  local root="$1"
  cat >"$root/etc/dpkg/dpkg.cfg.d/berth" <<'DPKG'
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
DPKG
  cat >"$root/etc/apt/apt.conf.d/berth" <<'APT'
APT::Install-Recommends "false";
Acquire::Languages "none";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin"; };
APT
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
  chmod 755 "$root/usr/sbin/policy-rc.d"
}

# Behind a proxy that opens TLS, what the host trusts is what a build must trust.
# The host's own authorities go in as such, to survive an update of the bundle.
trust_what_the_host_trusts() {
  local root="$1"
  cp -- /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/" 2>/dev/null || true
  chroot "$root" update-ca-certificates >/dev/null 2>&1 || true
  cp -- "$bundle" "$root$bundle"
}

strip() {
  local root="$1"
  find "$root/usr/share/doc" -type f ! -name copyright -delete
  find "$root/usr/share/doc" -depth -type d -empty -delete
  find "$root/usr/share/man" "$root/usr/share/info" "$root/usr/share/locale" -mindepth 1 -delete
  find "$root/var/log" "$root/var/cache" "$root/var/lib/apt/lists" "$root/tmp" -type f -delete
  rm -f "$root"/etc/{hostname,resolv.conf} "$root"/etc/{passwd,group,shadow,gshadow}- \
    "$root"/var/lib/dpkg/*-old
  : >"$root/etc/machine-id"
}

work="$(mktemp -d /var/tmp/berth-base.XXXXXX)"
readonly work
discard_work() {
  umount -lR "$work/root/proc" "$work/root/sys" 2>/dev/null || true
  rm -rf --one-file-system "$work"
}
trap discard_work EXIT

root="$work/root"
install_packages "$root"
set_habits "$root"
install_updates "$root"
trust_what_the_host_trusts "$root"
epoch="$(published "$root")"
strip "$root"
make_image "$tag" "$root" "$epoch" '{
  "Labels": { "dev.berth.base": "offline", "dev.berth.suite": "'"$suite"'" },
  "Env": [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG=C.UTF-8",
    "PYTHONUNBUFFERED=1",
    "PIP_BREAK_SYSTEM_PACKAGES=1",
    "PIP_ROOT_USER_ACTION=ignore",
    "PIP_DISABLE_PIP_VERSION_CHECK=1",
    "PIP_CERT='"$bundle"'",
    "REQUESTS_CA_BUNDLE='"$bundle"'",
    "SSL_CERT_FILE='"$bundle"'"
  ],
  "Cmd": ["python3"]
}'
