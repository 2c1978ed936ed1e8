#!/usr/bin/env bash
# Builds the image of Berth from a program that is already there; `image.sh parts NAME` builds what is
# below the program alone.
#
#   PROGRAM    the program (target/release/berth)
#   PARENT     the image below it (debian:12-slim, else berth/base:offline where that is here)
#   BERTH_TAG  its name (berth/berth:local)
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=compose/setup/shell.sh
source "$here/../setup/shell.sh"
# shellcheck source=compose/base/image.sh
source "$here/../base/image.sh"

readonly program="${PROGRAM:-$here/../../target/release/berth}"
tag="${BERTH_TAG:-berth/berth:local}"
only=()
[[ "${1:-}" != parts ]] || { tag="${2:?a name}" && only=(--target parts); }
readonly tag
parent="${PARENT:-debian:12-slim}"
need_engine "$tag"
[[ ${#only[@]} -gt 0 || -x "$program" ]] || fail "there is no program $program" "the image holds it" "run 'make build' first"
if [[ -z "${PARENT:-}" ]] && ! docker image inspect "$parent" >/dev/null 2>&1 &&
  docker image inspect berth/base:offline >/dev/null 2>&1; then
  parent=berth/base:offline
fi
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cp "$here/Dockerfile" "$work/"
if [[ ${#only[@]} == 0 ]]; then
  cp "$program" "$work/berth"
  strip --strip-debug "$work/berth" 2>/dev/null || true
fi
DOCKER_BUILDKIT=0 docker build -q ${only[@]+"${only[@]}"} --build-arg "PARENT=$parent" -t "$tag" "$work" 2>"$work/log" >/dev/null || {
  tail -n 20 "$work/log" >&2
  fail "could not build $tag" "the end of the build's output is above" "PARENT must be a Debian image"
}
say "$tag on $parent"
