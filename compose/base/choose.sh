#!/usr/bin/env bash
# Prints the base image to build apps on: $BASE_IMAGE if set; else a slim Python
# where an image registry answers; else the offline base, built if need be.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
readonly offline=berth/base:offline
readonly online=python:3.12-slim

is_here() {
  docker image inspect "$1" >/dev/null 2>&1
}

if [[ -n "${BASE_IMAGE:-}" ]]; then
  echo "$BASE_IMAGE"
elif is_here "$offline"; then
  echo "$offline" # chosen before, or by hand
elif is_here "$online" || { timeout 15 docker manifest inspect "$online" && docker pull -q "$online"; } >/dev/null 2>&1; then
  echo "$online"
else
  BASE_TAG="$offline" "$here/offline.sh" >&2
  echo "$offline"
fi
