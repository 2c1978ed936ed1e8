#!/usr/bin/env bash
# Builds the family of the base image on parents that it was not made on, and holds the
# family's own tests to each. Downloads packages; takes minutes.
#
#   PARENTS   releases of Debian, installed bare, or images (`bullseye trixie`)
#   TESTS     a nextest filter
#   KEEP=1    keep the images
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=compose/setup/shell.sh
source "$here/../setup/shell.sh"
# shellcheck source=compose/base/image.sh
source "$here/image.sh"

readonly tests="${TESTS:-test(/^e2e::base::/)}"
read -r -a parents <<<"${PARENTS:-bullseye trixie}"
need_engine "the base image on other parents"

# bare SUITE: a release with nothing but what each has, as images of it have.
bare() {
  local suite="$1" tag="berth/bare:$1" mirror root
  if docker image inspect "$tag" >/dev/null 2>&1; then
    say "$tag exists"
    return 0
  fi
  is_debian_root || fail "cannot install $suite" \
    "debootstrap installs packages in a chroot: that takes root and apt-get" \
    "run this as root on Debian, or name images in PARENTS"
  apt_install debootstrap
  # Where this machine has its own release from, there are the others, too.
  # shellcheck disable=SC2016  # this is apt's own placeholder
  mirror="$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
    awk '/^https?:/ && !/security/ && !n++')"
  root="$(mktemp -d /var/tmp/berth-bare.XXXXXX)"
  # shellcheck disable=SC2064  # the folder of this call
  trap "rm -rf --one-file-system '$root'" EXIT
  say "installing $suite from ${mirror:-the default mirror}"
  PATH="$PATH:/usr/sbin:/sbin" debootstrap --variant=minbase "$suite" "$root/root" \
    ${mirror:+"$mirror"} >"$root/log" 2>&1 || {
    tail -n 15 "$root/log" >&2
    fail "debootstrap could not install $suite" "the end of its output is above" \
      "check that the package mirror has $suite, or name others in PARENTS"
  }
  tar -C "$root/root" --numeric-owner -c . |
    docker import --change 'CMD ["bash"]' --message "debootstrap $suite" - "$tag" >/dev/null
  rm -rf --one-file-system "$root"
  trap - EXIT
}

failed=()
cd "$here/../.."
for parent in "${parents[@]}"; do
  image="$parent"
  if [[ "$parent" != *[:/]* ]]; then
    bare "$parent"
    image="berth/bare:$parent"
  fi
  tag="berth/workspace:on-$(tr -c 'A-Za-z0-9_.\n' - <<<"$image")"
  PARENT="$image" FAMILY_TAG="$tag" "$here/family.sh"
  say "$(docker run --rm --entrypoint sh "$tag" -c '. /etc/os-release && printf "%s: " "$PRETTY_NAME" &&
    dpkg-query -W -f "\${Package} \${Version}, " openssh-server supervisor rclone tini fuse3')"
  BERTH_TEST_BASE_IMAGE="$tag" cargo nextest run -E "$tests" || failed+=("$parent")
  [[ "${KEEP:-0}" == 1 ]] || docker rmi "$tag" >/dev/null || true
done
[[ ${#failed[@]} == 0 ]] || fail "tests have failed" "on: ${failed[*]}" "see above"
say "the base image passes its tests on: ${parents[*]}"
