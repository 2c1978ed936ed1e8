#!/bin/bash
# Follows the logs of all services, each line with the service's name. In a shell it
# begins with the last ten lines of each; the container's own output gets them all.
set -euo pipefail
shopt -s nullglob
lines=10
if [[ "${1:-}" == --all ]]; then
  exec python3 -u /opt/berth/follow.py "${BERTH_LOGS:-/var/log/berth}" "$BERTH_RUN/followed"
fi
logs="${BERTH_LOGS:-/var/log/berth}"
[[ -d "$logs" ]] || logs=/run/berth-current/logs
declare -A followed=()
trap 'trap - EXIT; kill -- $(jobs -p) 2>/dev/null || true' EXIT
trap 'exit 0' TERM INT
while :; do
  for file in "$logs"/*.log; do
    [[ -z "${followed[$file]:-}" ]] || continue
    followed[$file]=1
    name="$(basename "$file" .log)"
    # A later file of the same name is another one: it is followed from its beginning.
    { tail -n "$lines" -F -- "$file" 2>/dev/null | sed -u "s|^|[$name] |"; } &
  done
  lines=+1
  sleep 0.5 &
  wait $! || true
done
