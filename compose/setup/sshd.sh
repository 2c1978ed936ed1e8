#!/usr/bin/env bash
# Makes sure that sshd and ssh-keygen are there, for tests that fetch by ssh. The tests start
# servers of their own on the loopback: where this script has installed it, the machine's own
# server stays off.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=compose/setup/shell.sh
source "$here/shell.sh"

if [[ -x /usr/sbin/sshd ]] && command -v ssh-keygen >/dev/null; then
  exit 0
fi
is_debian_root || fail "sshd is missing" \
  "tests fetch repositories from a real ssh server on the loopback" \
  "on Debian: apt-get install openssh-server"

apt_install_off openssh-server openssh-client -- ssh.service ssh.socket
