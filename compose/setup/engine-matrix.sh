#!/usr/bin/env bash
# The tests that need an engine, on each engine that Berth is meant for, with and
# without live-restore. Newer engines come from Debian's newer suites and run
# beside the machine's own one (see second-engine.sh).
#
#   ENGINES   which ones: `NAME=SUITE` each; `here` is the machine's own packages
#   LIVE      with live-restore: `false true`
#   TESTS     a nextest filter
#   CACHE     where fetched engines are kept
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=compose/setup/shell.sh
source "$here/shell.sh"
readonly second="$here/second-engine.sh"
readonly engines="${ENGINES:-20.10=here 26.1=trixie 28.5=sid}"
readonly cache="${CACHE:-$(cd "$here/../.." && pwd)/target/engines}"
readonly tests="${TESTS:-test(/^(e2e|engine_contract::(docker|pull|tools)|engine_failure)::/)}"

cd "$here/../.."
cargo nextest run --no-run
failed=()

# run NAME ROOT LIVE
run() {
  local name="$1" root="$2" live="$3" folder version keep outward
  folder="$(mktemp -d)"
  exec {keep}> >(exec "$second" hold "$folder" >"$folder/held" 2>&1)
  until grep -q ready "$folder/held"; do sleep 0.05; done
  # Builds fetch packages: the way out, without a rule in the machine's own network.
  LD_LIBRARY_PATH="$(dirname "$cache"/network/root/usr/lib/*/libslirp.so.0)" \
    "$cache/network/root/usr/bin/slirp4netns" --configure --mtu=65520 \
    "$(cat "$folder/holder")" tap0 >"$folder/outward" 2>&1 {keep}>&- &
  outward=$!
  printf '{"live-restore": %s}\n' "$live" >"$folder/daemon.json"
  ENGINE="$root" "$second" up "$folder"
  "$second" load "$folder" berth/tiny:offline berth/base:offline berth/workspace:offline
  version="$(docker -H "unix://$folder/engine.sock" version --format '{{.Server.Version}}')"
  [[ "$version" == "$name"* ]] || say "note: $name is $version at present"
  say "Docker Engine $version, live-restore $live"
  # Berth checks health at the containers' addresses: all of it runs in their network.
  ENGINE="$root" BERTH_TEST_ENGINE="unix://$folder/engine.sock" \
    "$second" net "$folder" cargo nextest run --offline --ignore-default-filter -E "$tests" {keep}>&- ||
    failed+=("$version, live-restore $live")
  kill "$outward" || true
  exec {keep}>&-
  while [[ -e "$folder/holder" ]]; do sleep 0.05; done
  rm -rf "$folder"
}

mkdir -p "$cache"
[[ -d "$cache/network/root" ]] ||
  "$second" fetch "$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")" "$cache/network" \
    slirp4netns libslirp0

# What other tools make of Berth's containers, and Berth of a registry.
[[ -d "$cache/tools/root" ]] || "$second" fetch sid "$cache/tools" docker-compose docker-registry
export BERTH_TEST_COMPOSE="$cache/tools/root/usr/libexec/docker/cli-plugins/docker-compose"
export BERTH_TEST_REGISTRY="$cache/tools/root/usr/bin/docker-registry"

for engine in $engines; do
  root=""
  suite="${engine#*=}"
  if [[ "$suite" != here ]]; then
    mkdir -p "$cache/$suite"
    root="$(cd "$cache/$suite" && pwd)/root"
    [[ -x "$root/usr/sbin/dockerd" ]] || "$second" fetch "$suite" "${root%/root}"
  fi
  for live in ${LIVE:-false true}; do
    run "${engine%%=*}" "$root" "$live"
  done
done
[[ ${#failed[@]} == 0 ]] || fail "tests have failed" "on: ${failed[*]}" "see above"
say "all engines pass"
