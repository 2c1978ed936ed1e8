# rclone's remotes, each a folder where the host lets them be mounted. Sourced by init.
# shellcheck shell=bash

# What stands in the way of mounting, each with what gives it.
missing_conditions() {
  local profile bits
  grep -qw fuse /proc/filesystems ||
    printf '%s\n' "the kernel module fuse (\`modprobe fuse\` on the host)"
  { [[ -c /dev/fuse ]] && : <>/dev/fuse; } 2>/dev/null ||
    printf '%s\n' "the device /dev/fuse (\`devices: [/dev/fuse]\`)"
  bits="$(sed -n 's/^CapEff:\s*//p' /proc/self/status)"
  (((0x$bits >> 21) & 1)) ||
    printf '%s\n' "the capability SYS_ADMIN (\`cap_add: [SYS_ADMIN]\`)"
  [[ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" == Y ]] || return 0
  profile="$(tr -d '\0' 2>/dev/null </proc/self/attr/current || true)"
  case "$profile" in
    "" | unconfined*) ;;
    *) printf '%s\n' "a profile that allows mounts, it is $profile (\`security_opt: [apparmor:unconfined]\`)" ;;
  esac
}

# A configuration that is mounted as a file is copied: rclone writes to its own.
take_config() {
  local given
  for given in /config/rclone/rclone.conf /config/rclone.conf; do
    [[ -r "$given" && ! -d "$given" ]] || continue
    if [[ -w "$given" ]]; then
      export RCLONE_CONFIG="${RCLONE_CONFIG:-$given}"
    else
      install -m 0600 "$given" "$BERTH_RUN/rclone.conf"
      export RCLONE_CONFIG="${RCLONE_CONFIG:-$BERTH_RUN/rclone.conf}"
    fi
    return 0
  done
  # An empty one is there, so that rclone does not miss it in every log.
  [[ -e "${RCLONE_CONFIG:-$HOME/.config/rclone/rclone.conf}" ]] || rclone config touch 2>/dev/null || true
}

# Whether RCLONE_CONFIG_<NAME>_TYPE is no remote but an option of one with a shorter name, as
# OneDrive's `drive_type` is: RCLONE_CONFIG_OD_DRIVE_TYPE=business beside RCLONE_CONFIG_OD_TYPE.
is_option() {
  [[ "$1" =~ ^[A-Za-z0-9_]+$ ]] || return 1
  local own="RCLONE_CONFIG_${1^^}_TYPE" part="${1^^}" above kinds
  [[ -n "${!own-}" ]] || return 1
  while [[ "$part" == *_* ]]; do
    part="${part%_*}"
    above="RCLONE_CONFIG_${part}_TYPE"
    [[ -n "${!above-}" ]] || continue
    # A remote beside another one is of a kind that rclone knows.
    kinds="$(rclone help backends 2>/dev/null)" || return 1
    ! grep -qE "^ +${!own//[^A-Za-z0-9]/.} " <<<"$kinds"
    return
  done
  return 1
}

# The names of all remotes: those of the configuration, and those of RCLONE_CONFIG_<NAME>_TYPE.
remote_names() {
  local name
  {
    rclone listremotes 2>/dev/null | sed 's/:$//' || true
    while IFS= read -r name; do
      [[ ! "$name" =~ ^RCLONE_CONFIG_(.+)_TYPE$ ]] || printf '%s\n' "${BASH_REMATCH[1],,}"
    done < <(compgen -e)
  } | while IFS= read -r name; do
    is_option "$name" || printf '%s\n' "$name"
  done
}

# mount_service SPEC TARGET [OPTION...]
mount_service() {
  local spec="$1" target="$2" name
  shift 2
  name="rclone-${target//[^A-Za-z0-9]/-}"
  if [[ "$spec$target" == *[$' \t\n"\x27\\%;']* ]]; then
    say "rclone: \`$spec\` at \`$target\` has characters that no mount may have, and is left out"
    return 1
  fi
  program "$name" 30 /opt/berth/mount.sh "$spec" "$target" "$@"
  # It is told alone, and has time to send what was written last.
  sed -i -e 's/^stopwaitsecs=.*/stopwaitsecs=30/' -e 's/^stopasgroup=.*/stopasgroup=false/' \
    "$BERTH_RUN/services/$name.conf"
}

# REMOTE_MOUNTS, a line each: `remote:path target [ro] [cache=MODE]`. The app waits for these.
wanted_mounts() {
  local spec target options
  while read -r spec target options; do
    [[ -n "$spec" ]] || continue
    [[ "$spec" == *:* && "$target" == /* ]] ||
      die "REMOTE_MOUNTS has \`$spec $target\`, not \`remote:path /folder\`" "$USAGE"
    # shellcheck disable=SC2086  # these are words
    mount_service "$spec" "$target" $options || exit "$USAGE"
    printf '%s\n' "$target" >>"$BERTH_RUN/awaited"
  done <<<"${REMOTE_MOUNTS:-}"
}

prepare_remotes() {
  take_config
  local names missing wanted
  names="$(remote_names | sort -u)"
  if [[ -z "$names" && -z "${REMOTE_MOUNTS:-}" ]]; then
    return 0
  fi
  missing="$(missing_conditions | paste -sd'|' | sed 's/|/, /g')"
  wanted="$(paste -sd' ' <<<"$names")"
  if [[ -n "$missing" ]]; then
    local line="what is missing: $missing"
    [[ -z "${REMOTE_MOUNTS:-}" ]] ||
      die "rclone: not mounted ($(sed 's/ .*//' <<<"$REMOTE_MOUNTS" | paste -sd' ')); $line" "$UNAVAILABLE"
    say "rclone: not mounted ($wanted); $line; the command rclone works all the same"
    return 0
  fi
  wanted_mounts
  local name target
  while IFS= read -r name; do
    target="$WORKSPACE/remote/$name"
    [[ -n "$name" && ! -e "$BERTH_RUN/services/rclone-${target//[^A-Za-z0-9]/-}.conf" ]] || continue
    mount_service "$name:" "$target" && say "rclone: $name is mounted at $target"
  done <<<"$names"
  return 0
}
