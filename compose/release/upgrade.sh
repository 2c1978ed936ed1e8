#!/usr/bin/env bash
# Builds an earlier version beside this one, and has both take turns over apps that run: no
# container may be recreated.
#
#   OLD     which (the last tag, else the commit before this one)
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
# shellcheck source=compose/setup/shell.sh
source "$root/compose/setup/shell.sh"
cd "$root"
old="${OLD:-$(git describe --tags --abbrev=0 HEAD^ 2>/dev/null || git rev-parse HEAD^)}"
work="$(mktemp -d)"
trap 'git worktree remove --force "$work/berth"; rm -rf "$work"' EXIT
git worktree add --quiet --detach "$work/berth" "$old"
say "building $(git log -1 --format='%h (%s)' "$old")"
(cd "$work/berth" && CARGO_TARGET_DIR="$root/target/upgrade" cargo build --locked)
BERTH_TEST_OTHER="$root/target/upgrade/debug/berth" cargo nextest run -E 'test(/^e2e::upgrade::/)'
