#!/usr/bin/env bash
# Makes a release: the program, the .deb, what it is made of, and their checksums, in
# target/release-files. The same commit on the same toolchain gives the same bytes.
#
#   CHECK=1   builds the commit a second time, in another folder, and compares
#   OCI=0     leaves the OCI image out, which takes an engine
set -euo pipefail
OCI="${OCI:-1}"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
# shellcheck source=compose/setup/shell.sh
source "$root/compose/setup/shell.sh"
cd "$root"
SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)"
export SOURCE_DATE_EPOCH
changed="$(git status --porcelain --untracked-files=no)"
[[ -z "$changed" ]] || say "note: there are changes that no commit has; the release is of none"

# build SOURCE TARGET-FOLDER: paths of this machine are not part of the program, be they Rust's or C's.
build() {
  local home="${CARGO_HOME:-$HOME/.cargo}"
  local rust=() c=() pair
  for pair in "$1=/berth" "$home=/cargo" "$2=/target"; do
    rust+=("--remap-path-prefix=$pair")
    c+=("-ffile-prefix-map=$pair")
  done
  (cd "$1" && env CARGO_INCREMENTAL=0 CARGO_TARGET_DIR="$2" CFLAGS="${c[*]}" \
    RUSTFLAGS="${rust[*]} -C link-arg=-Wl,--build-id=none" \
    cargo build --release --locked)
}

build "$root" "$root/target/reproducible"
readonly out="$root/target/release-files"
rm -rf "$out"
mkdir -p "$out"
install -m 0755 target/reproducible/release/berth "$out/berth"
compose/release/deb.sh "$out/berth" "$out"
compose/release/sbom.sh >"$out/berth.cdx.json"
[[ "$OCI" == 0 ]] || compose/release/oci.sh "$out/berth" "$out/berth.oci.tar"
(cd "$out" && sha256sum -- * >SHA256SUMS)
if [[ "${CHECK:-0}" == 1 ]]; then
  [[ -z "$changed" ]] || fail "the second build would be of other sources" \
    "it is of the last commit, and there are changes that no commit has" "commit them first"
  other="$(mktemp -d)"
  trap 'git worktree remove --force "$other/berth"; rm -rf "$other"' EXIT
  git worktree add --quiet --detach "$other/berth" HEAD
  build "$other/berth" "$other/target"
  cmp "$out/berth" "$other/target/release/berth" ||
    fail "two builds differ" "the program has something of the machine or the moment in it" \
      "compare them with diffoscope"
  if [[ "$OCI" != 0 ]]; then
    compose/release/oci.sh "$other/target/release/berth" "$other/berth.oci.tar"
    cmp "$out/berth.oci.tar" "$other/berth.oci.tar" ||
      fail "two images differ" "they are made of the same program" "compare them with diffoscope"
  fi
  say "two builds are the same"
fi
cat "$out/SHA256SUMS"
