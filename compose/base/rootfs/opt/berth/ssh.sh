# sshd, when there is a public key to let in with. Sourced by init.
# shellcheck shell=bash

# Every valid line of a file, or of the text on standard input.
valid_keys() {
  local line
  while IFS= read -r line || [[ -n "$line" ]]; do
    line="${line%$'\r'}"
    [[ -n "${line//[[:space:]]/}" && "$line" != \#* ]] || continue
    if ssh-keygen -l -f /dev/stdin <<<"$line" >/dev/null 2>&1; then
      printf '%s\n' "$line"
    else
      say "ssh: a line of $1 is not a public key, and is left out" >&2
    fi
  done
}

collect_keys() {
  local file
  valid_keys SSH_PUBKEY <<<"${SSH_PUBKEY:-}"
  for file in /config/authorized_keys "$HOME/.ssh/authorized_keys" /etc/berth/ssh/*.pub; do
    [[ ! -r "$file" || -d "$file" ]] || valid_keys "${file##*/}" <"$file"
  done
}

# Host keys outlive the container where the workspace does, so that clients go on
# knowing it.
host_key() {
  local folder="${SSH_HOST_KEYS:-$WORKSPACE/.ssh-host}"
  if ! mkdir -p "$folder" 2>/dev/null || [[ ! -w "$folder" ]]; then
    say "ssh: $folder can't be written, the host key is for this container alone" >&2
    folder="$BERTH_RUN/ssh"
  else
    # Nobody else reads them, whatever the workspace says.
    setfacl -b -k "$folder" 2>/dev/null || true
    chmod 0700 "$folder"
  fi
  local key="$folder/ssh_host_ed25519_key"
  if [[ ! -s "$key" ]]; then
    rm -f "$key" "$key.pub" "$key.new" "$key.new.pub"
    ssh-keygen -q -t ed25519 -N '' -C berth -f "$key.new"
    mv "$key.new.pub" "$key.pub"
    mv "$key.new" "$key"
  fi
  printf '%s\n' "$key"
}

# The container's environment, for those who log in: `NAME=value` words of one line.
session_environment() {
  local name value
  while IFS='=' read -r -d '' name value; do
    case "$name" in
      HOME | USER | LOGNAME | SHELL | PWD | OLDPWD | SHLVL | _ | HOSTNAME | TERM | SSH_PUBKEY) continue ;;
    esac
    [[ "$name" =~ ^[A-Za-z_][A-Za-z0-9_]*$ && "$value" != *[\"\\$'\n']* ]] || continue
    printf ' "%s=%s"' "$name" "$value"
  done < <(env -0)
}

prepare_ssh() {
  local keys="$BERTH_RUN/ssh/authorized_keys" config="$BERTH_RUN/ssh/sshd_config" user key
  if ! user="$(id -un 2>/dev/null)"; then
    [[ -z "${SSH_PUBKEY:-}" ]] || say "ssh: the user $(id -u) has no name in /etc/passwd, so sshd is not started"
    return 0
  fi
  collect_keys | sort -u >"$keys"
  if [[ ! -s "$keys" ]]; then
    say "ssh: there is no public key (SSH_PUBKEY, config/authorized_keys), so sshd is not started"
    return 0
  fi
  key="$(host_key)"
  # Who is not root keeps the keys below /tmp, where sshd would not believe them, though the folder is
  # this user's own and nobody else is let in.
  local strict=yes
  [[ "$BERTH_RUN" == /run/* ]] || strict=no
  [[ "$(id -u)" != 0 ]] || install -d -m 0755 /run/sshd
  install -m 0600 /dev/null "$config"
  cat >"$config" <<CONF
Port 22
HostKey $key
AuthorizedKeysFile $keys .ssh/authorized_keys
StrictModes $strict
AllowUsers $user
AuthenticationMethods publickey
PubkeyAuthentication yes
PasswordAuthentication no
ChallengeResponseAuthentication no
PermitRootLogin prohibit-password
UsePAM no
X11Forwarding no
PrintMotd no
PidFile none
MaxAuthTries 4
LoginGraceTime 30
Subsystem sftp internal-sftp
SetEnv BERTH=1$(session_environment)
CONF
  program sshd 20 /usr/sbin/sshd -D -e -f "$config"
  say "ssh: $(wc -l <"$keys") key(s) let in as $user on port 22, host key $(ssh-keygen -l -f "$key" | cut -d' ' -f2)"
}
