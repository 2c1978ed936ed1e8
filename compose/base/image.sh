# Words shared by the scripts that make images. Source it after shell.sh.
# shellcheck shell=bash

skip_if_built() {
  if [[ "${FORCE:-0}" != 1 ]] && docker image inspect "$1" >/dev/null 2>&1; then
    say "$1 exists (FORCE=1 builds it again)"
    exit 0
  fi
}

need_engine() {
  docker version >/dev/null 2>&1 || fail "cannot build $1" "no Docker Engine answers" \
    "run 'make engine' first, or set DOCKER_HOST"
}

# make_image NAME FOLDER EPOCH CONFIG: a folder becomes an image of one layer, its
# files in sorted order and none younger than EPOCH (seconds). CONFIG is the JSON
# of the image's settings. The same input gives the same image, identity included,
# which `docker import` cannot do (nor can it set a stop signal).
make_image() {
  local image="$1" folder="$2" epoch="$3" config="$4" parts digest
  parts="$(mktemp -d "$folder.image.XXXXXX")"
  tar -C "$folder" --sort=name --numeric-owner --mtime="@$epoch" --clamp-mtime \
    --xattrs --xattrs-include='*' --pax-option=delete=atime,delete=ctime -cf "$parts/layer.tar" .
  digest="$(sha256sum "$parts/layer.tar" | cut -d' ' -f1)"
  cat >"$parts/config.json" <<JSON
{
  "architecture": "$(docker version --format '{{.Server.Arch}}')",
  "os": "linux",
  "created": "$(date -u -d "@$epoch" +%FT%TZ)",
  "config": $config,
  "rootfs": { "type": "layers", "diff_ids": ["sha256:$digest"] },
  "history": [{ "created": "$(date -u -d "@$epoch" +%FT%TZ)", "created_by": "${0##*/}" }]
}
JSON
  cat >"$parts/manifest.json" <<JSON
[{ "Config": "config.json", "RepoTags": ["$image"], "Layers": ["layer.tar"] }]
JSON
  tar -C "$parts" -c manifest.json config.json layer.tar | docker load >/dev/null
  rm -rf "$parts"
  say "$image: $(docker image inspect --format '{{.Size}}' "$image" | awk '{ printf "%.1f MB", $1 / 1e6 }')"
}
