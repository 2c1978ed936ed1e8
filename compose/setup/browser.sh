#!/usr/bin/env bash
# Makes sure that the tests of the page can run: Debian's Chromium, Node, and the two packages that
# tests/browser/package-lock.json names. Berth itself needs none of it.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=compose/setup/shell.sh
source "$here/shell.sh"

chromium="${CHROMIUM:-/usr/bin/chromium}"
if [[ ! -x "$chromium" ]] || ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  is_debian_root || fail "Chromium, Node or npm is missing" \
    "tests of the page drive a real browser" \
    "on Debian: apt-get install chromium nodejs npm"
  packages=()
  [[ -x "$chromium" ]] || packages+=(chromium)
  command -v node >/dev/null || packages+=(nodejs)
  command -v npm >/dev/null || packages+=(npm)
  apt_install "${packages[@]}"
fi

# pngquant makes the pictures of the documentation small.
if [[ "${1:-}" == pictures ]] && ! command -v pngquant >/dev/null; then
  apt_install pngquant
fi

tests="$here/../../tests/browser"
if [[ ! -e "$tests/node_modules/.package-lock.json" ||
  "$tests/package-lock.json" -nt "$tests/node_modules/.package-lock.json" ]]; then
  say "npm ci"
  PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm ci --prefix "$tests" --no-audit --no-fund --loglevel error
fi
say "$("$chromium" --version), node $(node --version)"
