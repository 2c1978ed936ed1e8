#!/bin/bash
# One remote as a folder: mount.sh remote:path target [ro] [cache=MODE]
set -euo pipefail
readonly spec="$1" target="$2"
shift 2
options=(--allow-other --umask 002)
for option in "$@"; do
  case "$option" in
    ro) options+=(--read-only) ;;
    cache=*) export RCLONE_VFS_CACHE_MODE="${option#cache=}" ;;
    *) echo "mount.sh: \`$option\` is no option" >&2 && exit 64 ;;
  esac
done
# What was written and not yet sent outlives the container, where the workspace does. Each mount
# has a cache of its own: remotes may lie within each other.
cache="${RCLONE_CACHE_DIR:-$WORKSPACE/.rclone}"
if ! mkdir -p "$cache" 2>/dev/null || ! chmod 0700 "$cache" 2>/dev/null || [[ ! -w "$cache" ]]; then
  cache="$BERTH_RUN/rclone"
fi
export RCLONE_CACHE_DIR="$cache/${target//[^A-Za-z0-9]/-}"
export RCLONE_VFS_CACHE_MODE="${RCLONE_VFS_CACHE_MODE:-writes}"
export RCLONE_VFS_WRITE_BACK="${RCLONE_VFS_WRITE_BACK:-1s}"
[[ -z "${WORKSPACE_UID:-}" ]] || options+=(--uid "$WORKSPACE_UID")
# One before this one may have died and left its mount behind. What is no mount of rclone's is
# somebody else's.
if awk -v at="$target" '$2 == at && $3 == "fuse.rclone" { found = 1 } END { exit !found }' /proc/self/mounts; then
  fusermount3 -uzq "$target" 2>/dev/null || true
fi
mkdir -p "$target"

# On a stop, what was written last is sent first; rclone keeps a note of each file that is not.
finish() {
  trap '' TERM INT
  local end=$((SECONDS + 25))
  while ((SECONDS < end)) && grep -rqs '"Dirty": *true' "$RCLONE_CACHE_DIR/vfsMeta"; do
    sleep 0.2
  done
  kill "$mount" 2>/dev/null || true
}
trap finish TERM INT
# It ends with this script, however that ends.
setpriv --pdeathsig KILL rclone mount "$spec" "$target" "${options[@]}" &
mount=$!
code=0
while kill -0 "$mount" 2>/dev/null; do
  code=0
  wait "$mount" || code=$?
done
exit "$code"
