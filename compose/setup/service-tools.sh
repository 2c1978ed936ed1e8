#!/usr/bin/env bash
# Makes sure that systemd-analyze is there, which checks the unit, and what packages are made with.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=compose/setup/shell.sh
source "$here/shell.sh"

if ! command -v systemd-analyze >/dev/null || ! command -v dpkg-deb >/dev/null; then
  is_debian_root || fail "systemd-analyze or dpkg-deb is missing" \
    "tests check the unit and make the package" \
    "on Debian: apt-get install systemd dpkg"
  apt_install systemd dpkg
fi
