#!/usr/bin/env bash
# Makes sure that clients of the Hugging Face Hub are there, each in a folder of its own below
# target/hub-clients, for tests that run them. What is there already is left alone.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=compose/setup/shell.sh
source "$here/shell.sh"

root="$here/../../target/hub-clients"
versions=("$@")
[ "${#versions[@]}" -gt 0 ] || versions=(2.4.0 1.33.0 0.36.2)

for version in "${versions[@]}"; do
  folder="$root/$version"
  [ -e "$folder/ready" ] && continue
  mkdir -p "$root"
  # Two tests may want the same one.
  exec 9>"$root/$version.lock"
  flock 9
  [ -e "$folder/ready" ] && continue
  rm -rf "$folder"
  python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
  python3 -m venv "$folder" || fail "python3 -m venv does not work" \
    "tests run huggingface_hub $version" "on Debian: apt-get install python3-venv"
  more=()
  # The newest one has what loads models by it.
  [ "$version" != 2.4.0 ] || more=(transformers safetensors numpy)
  "$folder/bin/pip" install -q --no-compile --disable-pip-version-check \
    "huggingface_hub==$version" hf_xet==1.8.0 "${more[@]}"
  touch "$folder/ready"
done
