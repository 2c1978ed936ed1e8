#!/bin/bash
# Whether every service runs, or has done what it was to do once (EXITED: one that is to run is started
# again at once). A container that was started without them has none to fail.
set -euo pipefail
for run in /run/berth /tmp/berth-run /dev/shm/berth-run; do
  [[ ! -e "$run/supervisord.conf" ]] || break
done
[[ -e "$run/supervisord.conf" ]] || exit 0
[[ -w /tmp ]] || export TMPDIR="$run"
states="$(supervisorctl -c "$run/supervisord.conf" status 2>&1)" || true
if [[ "$states" != *" RUNNING "* ]] || down="$(grep -vE ' (RUNNING|EXITED) ' <<<"$states")"; then
  printf '%s\n' "${down:-$states}"
  exit 1
fi
