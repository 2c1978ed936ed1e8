#!/usr/bin/env bash
# Makes sure that a compose program is here: tests run what Berth writes with it.
# Debian 12 has 1.29, Debian 13 and newer have 2; `make engines` brings both.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=compose/setup/shell.sh
source "$here/shell.sh"

command -v docker-compose >/dev/null || apt_install docker-compose
say "compose $(docker-compose version --short)"
