#!/usr/bin/env bash
# Makes sure that age and age-keygen are there, for tests of secrets that are encrypted in
# manifests.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=compose/setup/shell.sh
source "$here/shell.sh"

if command -v age >/dev/null && command -v age-keygen >/dev/null; then
  exit 0
fi
is_debian_root || fail "age is missing" \
  "tests decrypt secrets with the real program" \
  "on Debian: apt-get install age"

apt_install age
