# Words shared by the setup scripts. Source it; it does nothing by itself.
# shellcheck shell=bash

say() {
  printf '%s: %s\n' "${0##*/}" "$*"
}

# fail WHAT WHY WHAT-TO-DO
fail() {
  printf '%s: error: %s\n' "${0##*/}" "$1" >&2
  printf '  why: %s\n  fix: %s\n' "$2" "$3" >&2
  exit 1
}

is_debian_root() {
  [[ "$(id -u)" == 0 ]] && command -v apt-get >/dev/null
}

is_installed() {
  [[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]
}

# A repository that does not answer is no reason to stop: what we need may well
# be in another one, and the install after this says so if it is not.
apt_update() {
  say "apt-get update"
  apt-get -qq update || say "some package lists could not be refreshed; going on with what there is"
}

# Installs what is missing and upgrades nothing: a package that is already here
# is somebody else's choice.
apt_install() {
  local package missing=()
  for package in "$@"; do
    is_installed "$package" || missing+=("$package")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  is_debian_root || fail "these packages are missing: ${missing[*]}" \
    "they can be installed only by root on a system with apt-get" \
    "install them, or run this again as root"
  apt_update
  say "installing ${missing[*]}"
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 \
    install --no-install-recommends --no-upgrade "${missing[@]}" </dev/null >/dev/null ||
    fail "could not install ${missing[*]}" "apt-get said no (see above)" \
      "check that the package mirror in /etc/apt can be reached, then run this again"
}

# apt_install_off PACKAGE... -- SERVICE...: installs programs whose own services stay off.
apt_install_off() {
  local packages=()
  while [[ $# -gt 0 && "$1" != -- ]]; do
    packages+=("$1")
    shift
  done
  shift
  # Debian starts what it installs, unless this file says no.
  local policy=/usr/sbin/policy-rc.d
  if [[ ! -e "$policy" ]]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  apt_install "${packages[@]}"
  if command -v systemctl >/dev/null; then
    systemctl disable "$@" >/dev/null 2>&1 || true
  fi
}
