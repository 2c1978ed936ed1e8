#!/bin/sh
# cAdvisor from Debian bullseye, unpacked beside the build; prints where its program is.
# Debian 12 has none, and the older one runs there.
set -eu
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/cadvisor" && cd "$target/cadvisor"
here=$PWD
program=$here/root/usr/bin/cadvisor
if [ ! -x "$program" ]; then
  mkdir -p lists/partial cache/archives/partial root
  printf 'Dir::Etc::SourceList "%s/bullseye.sources";\nDir::Etc::SourceParts "/dev/null";\nDir::State::Lists "%s/lists";\nDir::Cache "%s/cache";\nDir::State::status "/dev/null";\nAPT::Sandbox::User "root";\n' \
    "$here" "$here" "$here" > apt.conf
  sed -n '/^Types: deb/,/^$/p' /etc/apt/sources.list.d/debian.sources | sed 's/bookworm/bullseye/g' > bullseye.sources
  APT_CONFIG=$here/apt.conf apt-get -qq update >&2
  APT_CONFIG=$here/apt.conf apt-get -qq download cadvisor >&2
  dpkg -x ./cadvisor_*.deb root
fi
echo "$program"
