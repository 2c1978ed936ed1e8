#!/usr/bin/env bash
# A Docker Engine of its own beside the machine's, for tests that kill, starve or
# replace it. It lives in network, mount and process namespaces of its own: it has
# its own bridges, its own /run and its own containerd, and when it ends nothing
# of it is left running or mounted. (A second dockerd in the machine's own network
# namespace may delete the first one's bridge.)
#
#   hold FOLDER                 makes the namespaces and says `ready`; they last until
#                               standard input ends. DISK=64m: FOLDER/data is a
#                               loop-mounted ext4 of this size
#   up FOLDER [FLAG...]         starts dockerd there, with these flags, listening at
#                               FOLDER/engine.sock; its log is FOLDER/dockerd.log
#   kill FOLDER PROGRAM [SIG]   sends PROGRAM (dockerd, containerd) a signal (KILL)
#   enter FOLDER COMMAND...     runs a command in all of its namespaces
#   net FOLDER COMMAND...       runs a command in its network namespace only
#   load FOLDER IMAGE...        copies images from the engine at $BERTH_TEST_ENGINE
#   fetch SUITE FOLDER [PACKAGE...]   unpacks Docker Engine of another Debian suite
#                               into FOLDER/root; ENGINE=FOLDER/root makes `up` use it
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=compose/setup/shell.sh
source "$here/shell.sh"

readonly patience_s=60
readonly first="${BERTH_TEST_ENGINE:-unix:///var/run/docker.sock}"

need() {
  [[ "$(id -u)" == 0 ]] || fail "a second engine can't be started" "it takes root" "run this as root"
  local program
  for program in unshare nsenter ip dockerd; do
    command -v "$program" >/dev/null || fail "$program is missing" \
      "a second engine is made of dockerd, iproute2 and util-linux" "run 'make setup'"
  done
}

holder_of() {
  cat "$1/holder" 2>/dev/null || fail "nothing is held at $1" "its namespaces are gone" "start with 'hold'"
}

# Process 1 of the namespaces. It takes in what loses its parent, as an init does.
init() {
  local folder="$1" pid
  read -r pid _ </proc/self/stat # as the outside counts: /proc is still the outer one
  mount -t proc proc /proc
  ip link set lo up
  # With a key of its own, so that it has an id of its own.
  mount -t tmpfs none /run
  mount -t tmpfs none /etc/docker
  if [[ -n "${DISK:-}" ]]; then
    truncate -s "$DISK" "$folder/disk"
    mkfs.ext4 -q -m 0 "$folder/disk"
    mount -o loop "$folder/disk" "$folder/data"
  fi
  echo "$pid" >"$folder/holder"
  echo ready
  cat >/dev/null
}

hold() {
  local folder="$1"
  need
  mkdir -p "$folder/data" /etc/docker
  # Named, for a command in the background gets no input of its own accord.
  unshare --net --mount --propagation private --pid --fork --kill-child \
    "$0" init "$folder" <&0 &
  wait $! || true
  rm -f "$folder/holder"
  # The kernel leaves the control groups of what it killed.
  find /sys/fs/cgroup -depth -type d -path "*/$(cgroup_of "$folder")*" \
    -exec rmdir {} + 2>/dev/null || true
}

cgroup_of() {
  printf 'berth-second-%s' "$(printf '%s' "$1" | cksum | cut -d' ' -f1)"
}

enter() {
  local folder="$1" holder
  shift
  holder="$(holder_of "$folder")"
  exec nsenter --target "$holder" --net --mount --pid --wd=/ -- "$@"
}

answers() {
  timeout 10 docker -H "unix://$1/engine.sock" version >/dev/null 2>&1
}

up() {
  local folder="$1" deadline=$((SECONDS + patience_s)) root="${ENGINE:-}"
  shift
  [[ -f "$folder/daemon.json" ]] || echo '{}' >"$folder/daemon.json"
  # A pid file outlives a killed dockerd and keeps the next one from starting.
  # Nothing of the caller's is held open: who reads our output, or holds the input that
  # the namespaces live by, waits for its end.
  (enter "$folder" rm -f /run/docker.pid)
  (
    cd /
    exec </dev/null >>"$folder/dockerd.log" 2>&1
    for fd in /proc/"$BASHPID"/fd/*; do
      [[ "${fd##*/}" -le 2 ]] || eval "exec ${fd##*/}>&-"
    done
    PATH="${root:+$root/usr/sbin:$root/usr/bin:}$PATH:/usr/sbin:/sbin" enter "$folder" \
      dockerd --config-file "$folder/daemon.json" --data-root "$folder/data" \
      --cgroup-parent "/$(cgroup_of "$folder")" --host "unix://$folder/engine.sock" "$@" &
  )
  until answers "$folder"; do
    if ((deadline < SECONDS)); then
      tail -n 20 "$folder/dockerd.log" >&2
      fail "the second engine did not answer within $patience_s s" \
        "dockerd did not come up (the end of its log is above)" "read $folder/dockerd.log"
    fi
    sleep 0.05
  done
}

end() {
  local folder="$1" program="$2" signal="${3:-KILL}"
  (enter "$folder" pkill "-$signal" -x "$program") ||
    fail "no $program runs at $folder" "it has ended already" "read $folder/dockerd.log"
}

load() {
  local folder="$1"
  shift
  docker -H "$first" save "$@" | docker -H "unix://$folder/engine.sock" load >/dev/null
}

# The mirror that this machine already uses, another suite of it. Debian's newer
# engines run here as they are, with this suite's runc.
fetch() {
  local suite="$1" folder="$2" package here_suite
  shift 2
  local packages=("$@")
  [[ $# -gt 0 ]] || packages=(docker.io containerd)
  is_debian_root || fail "no packages can be fetched" "it takes root on a system with apt-get" \
    "run this as root on Debian"
  here_suite="$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")"
  mkdir -p "$folder"/{lists,cache/archives}/partial "$folder/root"
  folder="$(cd "$folder" && pwd)"
  cat >"$folder/apt.conf" <<CONF
Dir::Etc::SourceList "$folder/suite.sources";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$folder/lists";
Dir::State::status "/dev/null";
Dir::Cache "$folder/cache";
APT::Sandbox::User "root";
CONF
  # The first stanza alone: not every suite has updates.
  sed -n '/^Types: deb/,/^$/p;/^$/q' /etc/apt/sources.list.d/debian.sources |
    sed "s/^Suites:.*/Suites: $suite/;s/$here_suite/$suite/g" >"$folder/suite.sources"
  export APT_CONFIG="$folder/apt.conf"
  say "fetching ${packages[*]} of $suite"
  apt-get -qq update
  (cd "$folder/cache" && apt-get -qq download "${packages[@]}")
  for package in "$folder"/cache/*.deb; do
    dpkg-deb -x "$package" "$folder/root"
  done
  rm -rf "$folder"/cache/*.deb
}

verb="${1:-help}"
[[ $# -lt 1 ]] || shift
case "$verb" in
  hold) hold "$@" ;;
  init) init "$@" ;;
  up) up "$@" ;;
  kill) end "$@" ;;
  enter) enter "$@" ;;
  net)
    holder="$(holder_of "$1")"
    exec nsenter --target "$holder" --net -- "${@:2}"
    ;;
  load) load "$@" ;;
  fetch) fetch "$@" ;;
  *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" ;;
esac
