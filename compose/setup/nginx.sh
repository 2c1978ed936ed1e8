#!/usr/bin/env bash
# Makes sure that nginx is there, for measurements beside it. No service of it is started.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=compose/setup/shell.sh
source "$here/shell.sh"

command -v nginx >/dev/null || apt_install_off nginx-light -- nginx
