# Words shared by the scripts of this image.
# shellcheck shell=bash

say() {
  printf 'init: %s\n' "$*"
}

# die WHAT CODE: the container ends, and says why.
die() {
  printf 'init: error: %s\n' "$1" >&2
  exit "$2"
}

# Words of sysexits: what is asked for makes no sense; what is needed is not there.
# shellcheck disable=SC2034  # used where this is sourced
readonly USAGE=64 UNAVAILABLE=69

# program NAME PRIORITY COMMAND...: a service that is started again when it ends.
program() {
  local name="$1" priority="$2"
  shift 2
  cat >"$BERTH_RUN/services/$name.conf" <<CONF
[program:$name]
command=$*
priority=$priority
autorestart=true
startsecs=1
startretries=1000000
stopwaitsecs=3
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile=$BERTH_LOGS/$name.log
stdout_logfile_maxbytes=5MB
stdout_logfile_backups=1
CONF
}
