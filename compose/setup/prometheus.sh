#!/usr/bin/env bash
# Makes sure that prometheus and promtool are there: tests scrape Berth with the one and check its
# alerts with the other. The tests start servers of their own on the loopback; where this script has
# installed Prometheus, the machine's own server stays off.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=compose/setup/shell.sh
source "$here/shell.sh"

if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
  exit 0
fi
is_debian_root || fail "prometheus is missing" \
  "tests scrape Berth with a real Prometheus on the loopback" \
  "on Debian: apt-get install prometheus"

apt_install_off prometheus -- prometheus.service prometheus-node-exporter.service
