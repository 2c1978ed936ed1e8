#!/usr/bin/env bash
# Makes sure that clients of OCI registries are there, for tests that run them: skopeo from Debian,
# oras for Python in a folder of its own below target/oci-clients.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=compose/setup/shell.sh
source "$here/shell.sh"

root="$here/../../target/oci-clients"
clients=("$@")
[ "${#clients[@]}" -gt 0 ] || clients=(skopeo oras)
mkdir -p "$root"
# Two tests may want the same one.
exec 9>"$root/lock"
flock 9

for client in "${clients[@]}"; do
  case "$client" in
    skopeo) command -v skopeo >/dev/null || apt_install skopeo ;;
    oras)
      [ -e "$root/oras/ready" ] && continue
      rm -rf "$root/oras"
      python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
      python3 -m venv "$root/oras"
      "$root/oras/bin/pip" install -q --no-compile --disable-pip-version-check oras==0.2.43
      touch "$root/oras/ready"
      ;;
    *) fail "$client is not known" "this script knows skopeo and oras" "name one of them" ;;
  esac
done
