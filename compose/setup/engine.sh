#!/usr/bin/env bash
# Makes sure that a Docker Engine answers, at $DOCKER_HOST or the usual socket.
# One that answers is left alone. Where none does, and we are root on a system
# with apt-get, it is installed and started, with or without systemd.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=compose/setup/shell.sh
source "$here/shell.sh"

readonly usual=unix:///var/run/docker.sock
readonly host="${DOCKER_HOST:-$usual}"
readonly log=/var/log/berth-dockerd.log
readonly patience_s=60

# The engine's version, or nothing.
engine_version() {
  local socket="${host#unix://}"
  if command -v docker >/dev/null; then
    timeout 10 docker -H "$host" version --format '{{.Server.Version}}' 2>/dev/null || true
  elif [[ "$host" == unix://* && -S "$socket" ]] && command -v curl >/dev/null; then
    curl -fsS -m 10 --unix-socket "$socket" http://localhost/version 2>/dev/null |
      sed -n 's/.*"Version":"\([^"]*\)","ApiVersion".*/\1/p' || true
  fi
}

# The process a pid file names, if it lives and is the program we think it is.
pid_of() {
  local program="$1" file="$2" pid
  pid="$(cat "$file" 2>/dev/null || true)"
  [[ -n "$pid" && "$(cat "/proc/$pid/comm" 2>/dev/null)" == "$program" ]] && printf '%s' "$pid"
}

# A pid file outlives a killed daemon, its number is given to another process,
# and the next daemon refuses to start. The same holds for its containerd.
drop_stale_pid_files() {
  local program file
  while read -r program file; do
    if [[ -e "$file" ]] && ! pid_of "$program" "$file" >/dev/null; then
      say "removing $file: no $program runs under that number"
      rm -f "$file"
    fi
  done <<'PIDS'
dockerd /var/run/docker.pid
containerd /var/run/docker/containerd/containerd.pid
PIDS
}

# Without systemd nobody may have mounted the control groups.
mount_cgroups() {
  if ! grep -q ' /sys/fs/cgroup' /proc/mounts; then
    say "mounting control groups at /sys/fs/cgroup"
    mount -t cgroup2 cgroup2 /sys/fs/cgroup || true
  fi
}

# Detached in every way: no terminal, not in our folder, none of our pipes (a caller
# that waits for its pipe to close would wait for ever).
start_dockerd() {
  (
    cd /
    exec </dev/null >>"$log" 2>&1
    for fd in /proc/"$BASHPID"/fd/*; do
      [[ "${fd##*/}" -le 2 ]] || eval "exec ${fd##*/}>&-"
    done
    exec setsid --fork dockerd
  )
}

start_engine() {
  if [[ -d /run/systemd/system ]]; then
    say "starting docker.service"
    systemctl start docker || true
    return
  fi
  drop_stale_pid_files
  if pid_of dockerd /var/run/docker.pid >/dev/null; then
    say "dockerd is running but does not answer yet"
    return
  fi
  mount_cgroups
  say "starting dockerd (log: $log)"
  start_dockerd
}

await_engine() {
  local deadline=$((SECONDS + patience_s))
  until [[ -n "$(engine_version)" ]]; do
    if ((deadline < SECONDS)); then
      tail -n 15 "$log" >&2 2>/dev/null || true
      fail "no Docker Engine answered at $host within $patience_s s" \
        "dockerd was started but did not come up (the end of its log is above)" \
        "read $log, or 'journalctl -u docker' under systemd, and run this again"
    fi
    sleep 0.5
  done
}

explain_absence() {
  local socket="${host#unix://}"
  if [[ "$host" == unix://* && -S "$socket" && ! -w "$socket" ]]; then
    fail "no Docker Engine answers at $host" "$(id -un) may not write to that socket" \
      "add yourself to the group that owns it (usermod -aG docker $(id -un)), or run this as root"
  fi
  case "$host" in
    unix:///var/run/docker.sock | unix:///run/docker.sock) ;;
    *) fail "no Docker Engine answers at $host" \
      "DOCKER_HOST names an engine that this script does not manage" \
      "start that engine, or unset DOCKER_HOST to use $usual" ;;
  esac
  is_debian_root || fail "no Docker Engine answers at $host" \
    "it can be installed and started here only by root on a system with apt-get" \
    "install and start Docker Engine (docs.docker.com/engine/install), or run this as root"
}

version="$(engine_version)"
if [[ -z "$version" ]]; then
  explain_absence
  export PATH="$PATH:/usr/sbin:/sbin"
  packages=(iptables ca-certificates curl)
  command -v dockerd >/dev/null || packages+=(docker.io)
  apt_install "${packages[@]}"
  start_engine
  command -v docker >/dev/null || apt_install docker-cli # its own package since Debian 13
  await_engine
  version="$(engine_version)"
fi
say "Docker Engine $version answers at $host"
