#!/usr/bin/env bash
# Builds the image that images of apps extend (Dockerfile beside this file), on any
# Debian or Ubuntu parent.
#
#   PARENT      the image below it (berth/base:offline, made first if need be)
#   FAMILY_TAG  its name (berth/workspace:offline; of another parent: its name's words)
#   FORCE=1     build it although nothing has changed
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=compose/setup/shell.sh
source "$here/../setup/shell.sh"
# shellcheck source=compose/base/image.sh
source "$here/image.sh"

readonly offline=berth/base:offline
readonly parent="${PARENT:-$offline}"
slug="$(tr -c 'A-Za-z0-9_.\n' - <<<"${parent##*/}")"
[[ "$parent" != "$offline" ]] || slug=offline
readonly tag="${FAMILY_TAG:-berth/workspace:$slug}"

need_engine "$tag"
if [[ "$parent" == "$offline" ]]; then
  FORCE=0 BASE_TAG="$offline" "$here/offline.sh"
elif ! docker image inspect "$parent" >/dev/null 2>&1; then
  say "pulling $parent"
  docker pull -q "$parent" >/dev/null || fail "could not pull $parent" "docker said no (see above)" \
    "name an image that can be reached with PARENT"
fi

# Equal inputs are built once.
below="$(docker image inspect --format '{{.Id}}' "$parent")"
inputs="$(cd "$here" && {
  printf '%s\n' "$below"
  find Dockerfile rootfs -type f -printf '%m ' -exec sha256sum {} \; | sort -k3
} | sha256sum | cut -c1-16)"
was="$(docker image inspect --format '{{index .Config.Labels "dev.berth.base.inputs"}}' "$tag" 2>/dev/null || true)"
if [[ "$was" == "$inputs" && "${FORCE:-0}" != 1 ]]; then
  say "$tag exists (FORCE=1 builds it again)"
  exit 0
fi

say "building $tag on $parent"
options=()
[[ "${FORCE:-0}" != 1 ]] || options+=(--no-cache)
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
DOCKER_BUILDKIT=0 docker build "${options[@]}" --build-arg "PARENT=$parent" \
  --label "dev.berth.base.inputs=$inputs" -t "$tag" "$here" >"$log" 2>&1 || {
  tail -n 20 "$log" >&2
  fail "could not build $tag" "the end of the build's output is above" \
    "PARENT must be a Debian or Ubuntu image whose package mirror can be reached"
}
say "$tag: $(docker image inspect --format '{{.Size}}' "$tag" | awk '{ printf "%.1f MB", $1 / 1e6 }')"
