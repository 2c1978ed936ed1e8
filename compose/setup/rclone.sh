#!/usr/bin/env bash
# Makes sure that rclone is there, for tests of backups that are kept elsewhere.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=compose/setup/shell.sh
source "$here/shell.sh"

if command -v rclone >/dev/null; then
  exit 0
fi
is_debian_root || fail "rclone is missing" \
  "tests send backups to a server of rclone on the loopback" \
  "on Debian: apt-get install rclone"

apt_install rclone
