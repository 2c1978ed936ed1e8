#!/usr/bin/env bash
# Makes the OCI image of a program that is already there: oci.sh PROGRAM OUT-FILE
#
#   PARTS      the image below it, which has the programs that Berth uses (berth/parts:local, made
#              of PARENT where it is not here; FORCE=1 makes it again)
#   PARENT     what that is made of (debian:12-slim, else berth/base:offline where that is here)
#   BERTH_TAG  the name in the file (berth/berth:VERSION)
#
# The same program on the same PARTS gives the same file, with SOURCE_DATE_EPOCH as its time.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=compose/setup/shell.sh
source "$here/../setup/shell.sh"
# shellcheck source=compose/base/image.sh
source "$here/../base/image.sh"

[[ $# == 2 ]] || fail "oci.sh takes two arguments" "it makes an image of a program" "oci.sh PROGRAM OUT-FILE"
readonly program="$1" out="$2" parts="${PARTS:-berth/parts:local}"
need_engine "$out"
[[ -r "$program" ]] || fail "there is no program $program" "the image holds it" "run 'make build' first"
version="$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/../../Cargo.toml" | head -n 1)"
if [[ "${FORCE:-0}" == 1 ]] || ! docker image inspect "$parts" >/dev/null 2>&1; then
  "$here/../berth/image.sh" parts "$parts"
fi
# Its id, not its name: a name may come to mean another one.
id="$(docker image inspect --format '{{.Id}}' "$parts")"
docker save "$id" | python3 -I "$here/oci.py" "$program" "${SOURCE_DATE_EPOCH:-0}" \
  "${BERTH_TAG:-berth/berth:$version}" "$out"
say "$out on $parts ($id)"
